//! `materialized`: keeps the rows of a table in a store of its own.

use std::cell::RefCell;

use super::scratch::{Scratch, decode_row};
use super::{Change, OldRows};
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

/// Writes each new row to a store and passes it on. The old row that goes along, where somebody asked
/// for it, is the one that the store had.
pub struct TableKeep<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    store: KeyValueStore,
    sends_old: bool,
    scratch: RefCell<Scratch>,
}

impl<K, V> TableKeep<K, V> {
    /// A table in `store`.
    pub fn new(
        key: SharedCodec<K>,
        row: SharedCodec<V>,
        store: KeyValueStore,
        old_rows: &OldRows,
    ) -> Self {
        Self {
            key,
            row,
            store,
            sends_old: old_rows.are_asked(),
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> Process for TableKeep<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &record.key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let old = match self.sends_old {
            true => {
                let row = self
                    .store
                    .get(&scratch.key, |row| decode_row(&*self.row, row))??;
                row.map(|(row, _)| row)
            }
            false => None,
        };
        let timestamp_ms = record.timestamp_ms;
        let new = record.value.new.as_ref();
        match new {
            Some(row) if scratch.encode_row(&*self.row, row, timestamp_ms)? => {
                self.store.put(&scratch.key, Some(&scratch.row))?;
            }
            _ => self.store.put(&scratch.key, None)?,
        }
        drop(scratch);
        let is_row = |row: &V| !self.row.is_null(row);
        let kept = record.map_value(|_, change| Change {
            new: change.new.filter(is_row),
            old,
        });
        out.push(kept, cx)
    }
}
