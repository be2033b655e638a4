//! The keys of window rows, on disk and on the changelog.
//!
//! ```text
//! persistent  segment (8) | key | start (8) | sequence (4)     numbers big-endian, never negative
//! in memory   start (8)   | key | sequence (4)
//! changelog   key | start (8) | sequence (4)                   the JVM's layout
//! ```

use super::{StoreType, WindowRules};

/// How a store lays out its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) store_type: StoreType,
    interval_ms: i64,
}

/// The parts of a row key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) segment: i64,
    pub(super) key: &'a [u8],
    pub(super) start_ms: i64,
    pub(super) sequence: [u8; 4],
}

impl Layout {
    pub(super) fn new(store_type: StoreType, rules: &WindowRules) -> Self {
        Self {
            store_type,
            interval_ms: match store_type {
                StoreType::Persistent => rules.segment_interval_ms(),
                StoreType::InMemory => 1,
            },
        }
    }

    /// The unit of physical expiry for a start; in an in-memory store each start is one.
    #[inline]
    pub(super) fn segment(&self, start_ms: i64) -> i64 {
        match self.store_type {
            StoreType::Persistent => start_ms.div_euclid(self.interval_ms),
            StoreType::InMemory => start_ms,
        }
    }

    /// The smallest start of a segment.
    pub(super) fn first_start_ms(&self, segment: i64) -> i64 {
        segment.saturating_mul(self.interval_ms)
    }

    /// Writes a row key to `out`.
    #[inline]
    pub(super) fn row_key(&self, key: &[u8], start_ms: i64, sequence: u32, out: &mut Vec<u8>) {
        self.row_key_in(self.segment(start_ms), key, start_ms, sequence, out);
    }

    /// Writes the key that a row would have in `segment` to `out`: a bound of a range, or a key whose
    /// segment is already known, which saves a division.
    #[inline]
    pub(super) fn row_key_in(
        &self,
        segment: i64,
        key: &[u8],
        start_ms: i64,
        sequence: u32,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.extend_from_slice(&segment.to_be_bytes());
        out.extend_from_slice(key);
        if self.store_type == StoreType::Persistent {
            out.extend_from_slice(&start_ms.to_be_bytes());
        }
        out.extend_from_slice(&sequence.to_be_bytes());
    }

    /// Splits a row key; `None` if it is too short.
    #[inline]
    pub(super) fn parts<'a>(&self, row_key: &'a [u8]) -> Option<Parts<'a>> {
        let (segment, rest) = row_key.split_first_chunk::<8>()?;
        let (rest, sequence) = rest.split_last_chunk::<4>()?;
        let segment = i64::from_be_bytes(*segment);
        let (key, start_ms) = match self.store_type {
            StoreType::Persistent => {
                let (key, start) = rest.split_last_chunk::<8>()?;
                (key, i64::from_be_bytes(*start))
            }
            StoreType::InMemory => (rest, segment),
        };
        Some(Parts {
            segment,
            key,
            start_ms,
            sequence: *sequence,
        })
    }
}

impl Parts<'_> {
    /// Writes the changelog's key to `out`.
    pub(super) fn changelog_key(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.key);
        out.extend_from_slice(&self.start_ms.to_be_bytes());
        out.extend_from_slice(&self.sequence);
    }
}

/// Splits a changelog key: key, start, sequence. `None` if it is too short.
pub(super) fn from_changelog(key: &[u8]) -> Option<(&[u8], i64, u32)> {
    let (rest, sequence) = key.split_last_chunk::<4>()?;
    let (key, start) = rest.split_last_chunk::<8>()?;
    Some((
        key,
        i64::from_be_bytes(*start),
        u32::from_be_bytes(*sequence),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let rules = WindowRules {
            window_size_ms: 10,
            retention_ms: 240_000,
            duplicates: true,
        };
        let (mut row_key, mut changelog) = (Vec::new(), Vec::new());
        for store_type in [StoreType::Persistent, StoreType::InMemory] {
            let layout = Layout::new(store_type, &rules);
            layout.row_key(b"key", 250_000, 7, &mut row_key);
            let parts = layout.parts(&row_key).expect("long enough");
            assert_eq!((parts.key, parts.start_ms), (&b"key"[..], 250_000));
            assert_eq!(parts.segment, layout.segment(250_000));
            parts.changelog_key(&mut changelog);
            assert_eq!(
                from_changelog(&changelog),
                Some((&b"key"[..], 250_000, 7)),
                "{store_type:?}"
            );
        }
        assert_eq!(
            Layout::new(StoreType::Persistent, &rules).segment(250_000),
            2
        );
        assert_eq!(from_changelog(b"short"), None);
    }
}
