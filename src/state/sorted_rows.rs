//! Many rows of one column, collected in any order and sorted once: how a restore writes.

use std::cmp::Ordering;

/// Rows of one column: collected with [`SortedRows::put`] and [`SortedRows::delete`], then sorted, so
/// that each key occurs once, with its last row. Clearing keeps the memory.
#[derive(Debug, Default)]
pub struct SortedRows {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// The memory of `bytes` before the last sort, or after the next.
    spare: Vec<u8>,
    /// Length of the prefix that all keys share.
    shared: usize,
}

/// A key and its row, one after the other in `bytes`.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The eight bytes of the key after the shared prefix: most comparisons need no more.
    head: u64,
    start: usize,
    key_len: u32,
    row_len: u32,
}

/// The `row_len` of a key without a row.
const DELETED: u32 = u32::MAX;

impl Place {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.start + self.key_len as usize]
    }

    /// Whether two keys with equal heads are equal: both are as long, and the heads hold all that follows
    /// the shared prefix.
    fn is_decided_by_head(&self, other: &Self, shared: usize) -> bool {
        self.key_len == other.key_len && self.key_len as usize <= shared + size_of::<u64>()
    }
}

impl SortedRows {
    /// Sets the row of `key` to the concatenated parts.
    #[inline]
    pub fn put(&mut self, key: &[u8], row: [&[u8]; 2]) {
        let row_len = row[0].len() + row[1].len();
        self.push(key, row_len as u32);
        self.bytes.extend_from_slice(row[0]);
        self.bytes.extend_from_slice(row[1]);
    }

    /// Removes the row of `key`.
    #[inline]
    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, DELETED);
    }

    #[inline]
    fn push(&mut self, key: &[u8], row_len: u32) {
        self.shared = match self.places.first() {
            None => key.len(),
            Some(first) => {
                let first = &first.key(&self.bytes)[..self.shared];
                match key.starts_with(first) {
                    true => self.shared,
                    false => first.iter().zip(key).take_while(|(a, b)| a == b).count(),
                }
            }
        };
        // No two places begin alike: an empty key without a row would take no byte.
        if key.is_empty() {
            self.bytes.push(0);
        }
        self.places.push(Place {
            head: 0,
            start: self.bytes.len(),
            key_len: key.len() as u32,
            row_len,
        });
        self.bytes.extend_from_slice(key);
    }

    /// Its memory use, in bytes; sorting needs about as much again.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<Place>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Sorts by key. If a key occurs more than once, the last occurrence is kept.
    pub fn sort(&mut self) {
        let Self {
            bytes,
            places,
            spare,
            shared,
        } = self;
        for place in &mut *places {
            let rest = &place.key(bytes)[*shared..];
            let mut head = [0; 8];
            let len = rest.len().min(8);
            head[..len].copy_from_slice(&rest[..len]);
            place.head = u64::from_be_bytes(head);
        }
        let shared = *shared;
        // Later bytes came later: the last of equal keys comes first, and stays below.
        places.sort_unstable_by(|a, b| {
            a.head
                .cmp(&b.head)
                .then_with(|| match a.is_decided_by_head(b, shared) {
                    true => Ordering::Equal,
                    false => a.key(bytes)[shared..].cmp(&b.key(bytes)[shared..]),
                })
                .then_with(|| b.start.cmp(&a.start))
        });
        places.dedup_by(|later, kept| {
            later.head == kept.head
                && (later.is_decided_by_head(kept, shared) || later.key(bytes) == kept.key(bytes))
        });
        // Copied in order here, many rows come from memory at once; the reader then finds the next one in
        // the cache.
        spare.clear();
        for place in places {
            let start = spare.len();
            let row_len = match place.row_len {
                DELETED => 0,
                row_len => row_len as usize,
            };
            let end = place.start + place.key_len as usize + row_len;
            spare.extend_from_slice(&bytes[place.start..end]);
            place.start = start;
        }
        std::mem::swap(bytes, spare);
    }

    /// The keys and their rows in order; `None` is a key to be removed. They are sorted by key only after
    /// [`SortedRows::sort`].
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.places.iter().map(|place| {
            let key = place.key(&self.bytes);
            let row = (place.row_len != DELETED).then(|| {
                let start = place.start + place.key_len as usize;
                &self.bytes[start..start + place.row_len as usize]
            });
            (key, row)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys share first bytes, are first bytes of each other, and end in zeroes.
        #[test]
        fn rows_are_sorted_and_the_last_of_a_key_stays(
            shared in prop::collection::vec(any::<u8>(), 0..3),
            rows in prop::collection::vec(
                (prop::collection::vec(0u8..3, 0..12), prop::option::of(any::<u8>())),
                0..60,
            ),
        ) {
            let mut sorted = SortedRows::default();
            let mut model = BTreeMap::new();
            for (key, row) in &rows {
                let key = [&shared[..], key].concat();
                match row {
                    Some(row) => sorted.put(&key, [&[*row], b"tail"]),
                    None => sorted.delete(&key),
                }
                model.insert(key, row.map(|row| [&[row], &b"tail"[..]].concat()));
            }
            sorted.sort();
            let found: Vec<_> = sorted
                .iter()
                .map(|(key, row)| (key.to_vec(), row.map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        }
    }
}
