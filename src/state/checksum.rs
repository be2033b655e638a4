//! What the runtime asks of a state beside its commits: what may be purged, and how it reads.

use std::ops::Bound;

use super::Direction;
use super::task_state::{Store, TaskState};
use crate::base::{Offset, Result};

impl TaskState {
    /// The first offset on a window store's changelog that can still have a live row, as committed:
    /// records below may be deleted. `None` where that is not known, and for other stores.
    pub fn purge_before(&self, store: usize) -> Option<Offset> {
        let Some(Store::Window(window)) = self.stores.get(store) else {
            return None;
        };
        let position = self.position(store)?;
        if !self.specs[store].logged {
            return None;
        }
        let segments = window.segments().borrow();
        Some(
            segments
                .values()
                .flatten()
                .min()
                .copied()
                .unwrap_or(position),
        )
    }

    /// Of every store, and of all times as the entry "times": the number of rows that reading gives,
    /// and the CRC-32C of their keys and rows in order. Two states that read alike have the same.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn checksum(&self) -> Result<Vec<(String, u64, u32)>> {
        let mut sums = Vec::with_capacity(self.stores.len() + 1);
        for (spec, store) in self.specs.iter().zip(&self.stores) {
            let mut sum = Sum::default();
            match store {
                Store::KeyValue(store) => {
                    let mut rows =
                        store.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
                    while let Some((key, row)) = rows.next()? {
                        sum.add(&[key, row]);
                    }
                }
                Store::Window(store) => {
                    let mut rows = store.all()?;
                    while let Some(row) = rows.next()? {
                        sum.add(&[row.key, &row.start_ms.to_be_bytes(), row.row]);
                    }
                }
            }
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
