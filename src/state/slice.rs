//! Rows of a stretch of time, by key: where a join looks up its partners.
//!
//! ```text
//!   index: hash of key --> chain: key, rows in the order of (start, sequence)
//!   rows:  one behind the other in the order of their puts; the last are taken back first
//! ```

use super::index::Index;

/// The overhead of a row and its place in a chain, besides its bytes; and of a chain, besides its key.
const ROW_BYTES: usize = size_of::<Row>() + 4;
const CHAIN_BYTES: usize = size_of::<Chain>() + 16;
/// Number of rows of a key that need no separate allocation.
const FEW: usize = 4;

/// A row, wherever its bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    at: usize,
    len: u32,
    chain: u32,
    pub(super) start_ms: i64,
    pub(super) sequence: u32,
}

impl Row {
    pub(super) fn order(&self) -> (i64, u32) {
        (self.start_ms, self.sequence)
    }
}

#[derive(Debug)]
struct Chain {
    key_at: usize,
    key_len: u32,
    hash: u32,
    ids: Ids,
}

/// Numbers of rows; most keys have few in a slice.
#[derive(Debug)]
enum Ids {
    Few([u32; FEW], u8),
    Many(Vec<u32>),
}

impl Ids {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few(ids, len) => &ids[..usize::from(*len)],
            Self::Many(ids) => ids,
        }
    }

    fn insert(&mut self, at: usize, id: u32, spares: &mut Vec<Vec<u32>>) {
        match self {
            Self::Few(ids, len) if usize::from(*len) < FEW => {
                ids.copy_within(at..usize::from(*len), at + 1);
                ids[at] = id;
                *len += 1;
            }
            Self::Few(ids, _) => {
                let mut many = spares.pop().unwrap_or_default();
                many.extend_from_slice(ids);
                many.insert(at, id);
                *self = Self::Many(many);
            }
            Self::Many(ids) => ids.insert(at, id),
        }
    }

    fn remove(&mut self, at: usize) {
        match self {
            Self::Few(ids, len) => {
                ids.copy_within(at + 1..usize::from(*len), at);
                *len -= 1;
            }
            Self::Many(ids) => {
                ids.remove(at);
            }
        }
    }
}

/// The rows whose starts lie in one stretch of time. Clearing keeps the memory.
#[derive(Debug, Default)]
pub(super) struct Slice {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    chains: Vec<Chain>,
    index: Index,
    last_start_ms: i64,
    spares: Vec<Vec<u32>>,
}

impl Slice {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The largest start, including rows that were rolled back; 0 at first.
    pub(super) fn last_start_ms(&self) -> i64 {
        self.last_start_ms
    }

    /// Its approximate memory use.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.rows.len() * ROW_BYTES + self.chains.len() * CHAIN_BYTES
    }

    /// The memory use of a row, if there are others with its key.
    pub(super) fn row_cost(row: &[u8]) -> usize {
        ROW_BYTES + row.len()
    }

    /// Adds a row and returns its number.
    pub(super) fn put(
        &mut self,
        hash: u32,
        key: &[u8],
        (start_ms, sequence): (i64, u32),
        row: &[u8],
    ) -> u32 {
        let id = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        assert!(id < u32::MAX, "a slice holds fewer than 2^32 rows");
        let number = match self.find(hash, key) {
            Some(number) => number,
            None => self.add_chain(hash, key),
        };
        let at = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.rows.push(Row {
            at,
            len: row.len() as u32,
            chain: number,
            start_ms,
            sequence,
        });
        self.last_start_ms = self.last_start_ms.max(start_ms);
        let place = self.seek(number, |row| row.order() < (start_ms, sequence));
        let chain = &mut self.chains[number as usize];
        chain.ids.insert(place, id, &mut self.spares);
        id
    }

    fn add_chain(&mut self, hash: u32, key: &[u8]) -> u32 {
        // There are no more chains than rows.
        let number = self.chains.len() as u32;
        self.chains.push(Chain {
            key_at: self.bytes.len(),
            key_len: key.len() as u32,
            hash,
            ids: Ids::Few([0; FEW], 0),
        });
        self.bytes.extend_from_slice(key);
        self.index.insert(hash, number);
        number
    }

    /// Removes the row that was put last.
    pub(super) fn take_back(&mut self) {
        let Some(row) = self.rows.pop() else { return };
        let id = self.rows.len() as u32;
        let place = {
            let ids = self.chains[row.chain as usize].ids.as_slice();
            ids.iter().rposition(|other| *other == id)
        };
        let chain = &mut self.chains[row.chain as usize];
        place.into_iter().for_each(|place| chain.ids.remove(place));
        self.bytes.truncate(row.at);
        if chain.ids.as_slice().is_empty() {
            // It was added with this row, and those added later are gone.
            self.bytes.truncate(chain.key_at);
            self.index.remove(chain.hash, row.chain);
            self.chains.pop();
        }
    }

    /// The number of the key's chain.
    #[inline]
    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |number| {
            let chain = &self.chains[number as usize];
            self.bytes[chain.key_at..].get(..chain.key_len as usize) == Some(key)
        })
    }

    /// The place in a chain of the first row that is not `before`, which must hold for the first rows and
    /// for no others. Usually it is near the end.
    #[inline]
    pub(super) fn seek(&self, chain: u32, before: impl Fn(&Row) -> bool) -> usize {
        let ids = self.chains[chain as usize].ids.as_slice();
        match ids.last() {
            Some(last) if before(&self.rows[*last as usize]) => ids.len(),
            _ => ids.partition_point(|id| before(&self.rows[*id as usize])),
        }
    }

    /// The row at a place of a chain.
    #[inline]
    pub(super) fn at(&self, chain: u32, place: usize) -> Option<(&Row, &[u8])> {
        let id = *self.chains[chain as usize].ids.as_slice().get(place)?;
        let row = &self.rows[id as usize];
        Some((row, self.bytes_of(row)))
    }

    /// The key and row of a number.
    pub(super) fn row(&self, id: u32) -> (&[u8], &Row, &[u8]) {
        let row = &self.rows[id as usize];
        let chain = &self.chains[row.chain as usize];
        let key = &self.bytes[chain.key_at..chain.key_at + chain.key_len as usize];
        (key, row, self.bytes_of(row))
    }

    /// The hash of the key of a row.
    pub(super) fn hash(&self, id: u32) -> u32 {
        self.chains[self.rows[id as usize].chain as usize].hash
    }

    /// The hash of each key.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.chains.iter().map(|chain| chain.hash)
    }

    fn bytes_of(&self, row: &Row) -> &[u8] {
        &self.bytes[row.at..row.at + row.len as usize]
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        for chain in self.chains.drain(..) {
            if let Ids::Many(mut ids) = chain.ids {
                ids.clear();
                self.spares.push(ids);
            }
        }
        self.index.clear();
        self.last_start_ms = 0;
    }
}
