//! Which keys have rows that were dropped from memory, by stretches of time: if a key has none there, the
//! backend need not be asked for it.
//!
//! ```text
//!   ..... not known ..... | stretch | stretch | stretch | what memory holds
//!                           hashes of the keys of its rows
//! ```
//!
//! A hash that is present may be that of another key; a hash that is absent is certain.

use std::collections::VecDeque;

/// How many stretches the memory is divided into: the oldest is dropped as a whole when it runs short.
const STRETCHES: usize = 12;
/// Hashes that are not sorted yet.
const LATER_MAX: usize = 64;

/// Hashes of the keys of all rows that start in a stretch of time.
#[derive(Debug)]
struct Stretch {
    from_ms: i64,
    to_ms: i64,
    /// Sorted, each once.
    hashes: Vec<u32>,
    /// Of rows that were put later.
    later: Vec<u32>,
}

impl Stretch {
    fn may_have(&self, hash: u32) -> bool {
        self.later.contains(&hash) || find(&self.hashes, hash)
    }

    fn note(&mut self, hash: u32) {
        if self.may_have(hash) {
            return;
        }
        self.later.push(hash);
        if self.later.len() == LATER_MAX {
            self.hashes.append(&mut self.later);
            self.hashes.sort();
        }
    }

    /// Merges the following one into it.
    fn join(&mut self, mut next: Self) {
        self.to_ms = next.to_ms;
        self.hashes.reserve_exact(next.hashes.len());
        self.hashes.append(&mut next.hashes);
        self.later.append(&mut next.later);
        // Two sorted runs: this merges them.
        self.hashes.sort();
        self.hashes.dedup();
    }
}

/// Whether a hash is among sorted ones. Hashes are evenly distributed, so its approximate place is known.
fn find(hashes: &[u32], hash: u32) -> bool {
    let len = hashes.len();
    let near = ((u64::from(hash) * len as u64) >> 32) as usize;
    let around = 2 * len.isqrt() + 8;
    let (from, until) = (near.saturating_sub(around), (near + around).min(len));
    let in_part = |at: usize| at == 0 || hashes[at - 1] < hash;
    match in_part(from) && (until == len || hashes[until] > hash) {
        true => hashes[from..until].binary_search(&hash).is_ok(),
        false => hashes.binary_search(&hash).is_ok(),
    }
}

/// The stretches, without gaps, the oldest first; they end where memory begins.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    stretches: VecDeque<Stretch>,
    bytes: usize,
}

impl GivenUp {
    /// Its memory use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn count(&mut self) {
        let capacity = |stretch: &Stretch| stretch.hashes.capacity() + stretch.later.capacity();
        let hashes = self.stretches.iter().map(capacity).sum::<usize>();
        self.bytes = hashes * size_of::<u32>();
    }

    /// Memory dropped the rows that start in this stretch, which is after all others; these are the
    /// hashes of their keys.
    /// Forgets the oldest of all, until what is left takes `bytes_max`.
    pub(super) fn push(
        &mut self,
        (from_ms, to_ms): (i64, i64),
        hashes: impl Iterator<Item = u32>,
        bytes_max: usize,
    ) {
        let hashes_max = bytes_max / size_of::<u32>() / STRETCHES;
        let mut hashes: Vec<u32> = hashes.collect();
        hashes.sort_unstable();
        hashes.dedup();
        self.stretches.push_back(Stretch {
            from_ms,
            to_ms,
            hashes,
            later: Vec::new(),
        });
        // Few stretches, and each hash is merged few times.
        while let [.., one, other] = &self.ends()[..]
            && *one < 2 * *other
            && one + other <= hashes_max
            && let Some(last) = self.stretches.pop_back()
            && let Some(stretch) = self.stretches.back_mut()
        {
            stretch.join(last);
        }
        self.count();
        self.shrink_to(bytes_max);
    }

    /// How many hashes the last two have.
    fn ends(&self) -> Vec<usize> {
        let last = self.stretches.len().saturating_sub(2);
        let len = |stretch: &Stretch| stretch.hashes.len();
        self.stretches.range(last..).map(len).collect()
    }

    /// A row arrives in a time range that was dropped from memory.
    pub(super) fn note(&mut self, start_ms: i64, hash: u32) {
        let from = self
            .stretches
            .partition_point(|stretch| stretch.to_ms < start_ms);
        if let Some(stretch) = self.stretches.get_mut(from)
            && stretch.from_ms <= start_ms
        {
            stretch.note(hash);
            self.count();
        }
    }

    /// Narrows the time range from both sides to where the key may have rows; `None` if it has none.
    pub(super) fn cut(&self, hash: u32, (from_ms, to_ms): (i64, i64)) -> Option<(i64, i64)> {
        let known_from_ms = self
            .stretches
            .front()
            .map_or(i64::MAX, |first| first.from_ms);
        let mut cut = (from_ms < known_from_ms).then_some((from_ms, to_ms.min(known_from_ms - 1)));
        let first = self
            .stretches
            .partition_point(|stretch| stretch.to_ms < from_ms);
        for stretch in self.stretches.range(first..) {
            if stretch.from_ms > to_ms {
                break;
            }
            if stretch.may_have(hash) {
                let (from_ms, _) = cut.unwrap_or((stretch.from_ms.max(from_ms), to_ms));
                cut = Some((from_ms, stretch.to_ms.min(to_ms)));
            }
        }
        cut
    }

    /// Drops the oldest stretches until the rest uses no more than that.
    pub(super) fn shrink_to(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.stretches.pop_front().is_some() {
            self.count();
        }
    }

    /// No rows are left that start before this.
    pub(super) fn forget_before(&mut self, first_live_ms: i64) {
        while let Some(oldest) = self.stretches.front()
            && oldest.to_ms < first_live_ms
        {
            self.stretches.pop_front();
            self.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> u32 {
        number.wrapping_mul(0x9e37_79b9)
    }

    #[test]
    fn what_is_among_sorted_hashes_is_found_and_nothing_else() {
        for len in [0, 1, 2, 10, 1_000, 100_000] {
            let mut hashes: Vec<u32> = (0..len).map(hash).collect();
            hashes.sort_unstable();
            assert!((0..len).all(|number| find(&hashes, hash(number))), "{len}");
            let found = (len..2 * len + 10).filter(|number| find(&hashes, hash(*number)));
            assert_eq!(found.count(), 0, "{len}");
        }
        // However they are distributed.
        let hashes = [1, 2, 3, u32::MAX - 1];
        assert!(hashes.iter().all(|hash| find(&hashes, *hash)));
        assert!(
            ![0, 4, 1 << 31, u32::MAX]
                .iter()
                .any(|hash| find(&hashes, *hash))
        );
        let crowded: Vec<u32> = (0..100_000).collect();
        assert!(crowded.iter().all(|hash| find(&crowded, *hash)));
        assert!(!find(&crowded, 100_000));
    }

    #[test]
    fn a_stretch_is_cut_to_where_the_key_may_be() {
        let mut given_up = GivenUp::default();
        assert_eq!(given_up.cut(1, (0, 9)), Some((0, 9)), "nothing is known");
        // Sizes that are not merged.
        given_up.push((100, 199), (0..100).map(hash), 1 << 20);
        given_up.push((200, 299), (0..30).map(hash), 1 << 20);
        given_up.push((300, 399), (0..10).map(hash), 1 << 20);
        assert_eq!(given_up.stretches.len(), 3);
        assert_eq!(given_up.cut(hash(50), (120, 380)), Some((120, 199)));
        assert_eq!(given_up.cut(hash(20), (120, 380)), Some((120, 299)));
        assert_eq!(given_up.cut(hash(5), (250, 380)), Some((250, 380)));
        assert_eq!(given_up.cut(hash(20), (310, 380)), None);
        assert_eq!(given_up.cut(hash(500), (100, 399)), None);
        assert_eq!(given_up.cut(hash(500), (50, 399)), Some((50, 99)));
        given_up.note(310, hash(500));
        given_up.note(50, hash(501));
        assert_eq!(given_up.cut(hash(500), (100, 399)), Some((300, 399)));
        given_up.forget_before(200);
        assert_eq!(given_up.cut(hash(50), (200, 399)), None);
        let bytes = given_up.bytes();
        given_up.shrink_to(bytes - 1);
        assert_eq!(given_up.cut(hash(50), (200, 399)), Some((200, 299)));
        given_up.shrink_to(0);
        assert_eq!((given_up.stretches.len(), given_up.bytes()), (0, 0));
    }

    #[test]
    fn many_stretches_become_few() {
        let mut given_up = GivenUp::default();
        for number in 0..1_000 {
            let hashes = (0..50).map(|n| hash(number * 50 + n));
            given_up.push((number.into(), number.into()), hashes, 1 << 20);
        }
        assert!(
            given_up.stretches.len() < 20,
            "{}",
            given_up.stretches.len()
        );
        assert!((0..50_000).all(|n| given_up.cut(hash(n), (0, 999)).is_some()));
        for n in 0..1_000 {
            given_up.note(n, hash(60_000 + n as u32));
        }
        assert!((60_000..61_000).all(|n| given_up.cut(hash(n), (0, 999)).is_some()));
        assert!(given_up.bytes() < 51_000 * 4 * 2);
        // With room for a tenth of them the youngest tenth is known, or nearly.
        let mut given_up = GivenUp::default();
        for number in 0..1_000 {
            let hashes = (0..50).map(|n| hash(number * 50 + n));
            given_up.push((number.into(), number.into()), hashes, 20_000);
            assert!(given_up.bytes() <= 20_000);
        }
        let known_from_ms = given_up.stretches[0].from_ms;
        assert!((900..930).contains(&known_from_ms), "{known_from_ms}");
    }
}
