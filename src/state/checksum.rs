//! What the runtime needs of a state besides its commits: what may be purged, and a checksum.

use super::NO_TIME;
use super::task_state::TaskState;
use crate::base::{Offset, Result};

impl TaskState {
    /// The first offset on a changelog that can still have a live row, as committed: records below may be
    /// deleted. `None` if that is not known, and for stores whose rows do not expire.
    pub fn purge_before(&self, store: usize) -> Option<Offset> {
        let expiry = self.stores.get(store)?.store.expiry()?;
        let position = self.position(store)?;
        if !self.specs[store].is_logged() || !expiry.purges() {
            return None;
        }
        let segments = expiry.segments().borrow();
        let first = segments.values().flatten().min().copied();
        Some(first.unwrap_or(position))
    }

    /// For every store, and for all times as the entry "times": the number of rows that reading returns,
    /// and the CRC-32C of their keys and rows in order. Equal for states that read the same.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn checksum(&self) -> Result<Vec<(String, u64, u32)>> {
        let mut sums = Vec::with_capacity(self.stores.len() + 1);
        for (spec, store) in self.specs.iter().zip(&self.stores) {
            let mut sum = Sum::default();
            store.store.each_row(&mut |row| {
                let (start_ms, end_ms) = row.window.unwrap_or((NO_TIME, NO_TIME));
                let since_ms = row.since_ms.unwrap_or(NO_TIME);
                let times = [start_ms, end_ms, since_ms].map(i64::to_be_bytes).concat();
                sum.add(&[row.key, &times, row.row]);
                Ok(())
            })?;
            sums.push((spec.name.clone(), sum.rows, sum.crc));
        }
        let mut sum = Sum::default();
        self.times
            .all(|name, time| sum.add(&[name.as_bytes(), &time.to_be_bytes()]));
        sums.push(("times".to_owned(), sum.rows, sum.crc));
        Ok(sums)
    }
}

#[derive(Default)]
struct Sum {
    rows: u64,
    crc: u32,
}

impl Sum {
    fn add(&mut self, parts: &[&[u8]]) {
        self.rows += 1;
        for part in parts {
            self.crc = crc32c::crc32c_append(self.crc, &(part.len() as u64).to_le_bytes());
            self.crc = crc32c::crc32c_append(self.crc, part);
        }
    }
}
