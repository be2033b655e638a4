//! From the hash of a key to the numbers of the entries that may have it.

/// Open addressing with linear probing. A slot holds the hash and, one higher, the number of the
/// entry, so that most probes touch one cache line; zero is empty.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<u64>,
    len: usize,
}

const SLOTS_MIN: usize = 16;

impl Default for Index {
    fn default() -> Self {
        Self {
            slots: vec![0; SLOTS_MIN],
            len: 0,
        }
    }
}

impl Index {
    /// The entry with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == hash {
                let id = slot as u32 - 1;
                if is_it(id) {
                    return Some(id);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![0; old.len() * 2];
            old.into_iter()
                .filter(|slot| *slot != 0)
                .for_each(|slot| self.place(slot));
        }
        self.place(u64::from(hash) << 32 | u64::from(id + 1));
        self.len += 1;
    }

    /// Removes an entry that is there.
    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let mask = self.slots.len() - 1;
        let sought = u64::from(hash) << 32 | u64::from(id + 1);
        let mut hole = hash as usize & mask;
        while self.slots[hole] != sought {
            assert!(self.slots[hole] != 0, "an entry is removed once");
            hole = (hole + 1) & mask;
        }
        // Close the gap, so that no probe ends early: entries that may not follow the hole are moved.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
        self.len -= 1;
    }

    /// Removes all entries and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    fn place(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}
