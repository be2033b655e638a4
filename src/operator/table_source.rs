//! `table`: reads a topic as the changes of a table.

use std::cell::RefCell;

use super::Change;
use super::scratch::{Scratch, decode_row};
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process, View};

/// Makes a change of each record; keeps the row where the table has a store.
///
/// A null key is dropped; a null value deletes the row. The later record wins whatever its timestamp.
/// Source: `KTableSource`.
pub struct TableSource<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: Option<KeyValueStore>,
    sends_old: bool,
    scratch: RefCell<Scratch>,
}

impl<K, V> TableSource<K, V> {
    /// A table over `store`, or one that nothing looks into; `sends_old` puts the old row into each
    /// change.
    pub fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: Option<KeyValueStore>,
        sends_old: bool,
    ) -> Self {
        Self {
            key,
            value,
            store,
            sends_old,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> Process for TableSource<K, V> {
    type KeyIn = K;
    type ValueIn = Option<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Option<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let value = value.filter(|value| !self.value.is_null(value));
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let mut old = None;
        if let Some(store) = &self.store {
            if self.sends_old {
                let row = store.get(&scratch.key, |row| decode_row(&*self.value, row))??;
                old = row.map(|(row, _)| row);
            }
            match &value {
                Some(row) if scratch.encode_row(&*self.value, row, timestamp_ms)? => {
                    store.put(&scratch.key, Some(&scratch.row))?;
                }
                _ => store.put(&scratch.key, None)?,
            }
        }
        drop(scratch);
        out.push(
            Record {
                key,
                value: Change { new: value, old },
                timestamp_ms,
                headers,
            },
            cx,
        )
    }
}

/// The view of a store: its current rows.
pub struct StoreView<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: KeyValueStore,
    scratch: RefCell<Scratch>,
}

impl<K, V> StoreView<K, V> {
    /// A view of a store of timestamped rows.
    pub fn new(key: SharedCodec<K>, value: SharedCodec<V>, store: KeyValueStore) -> Self {
        Self {
            key,
            value,
            store,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> View<K, V> for StoreView<K, V> {
    fn get(&self, key: &K, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, key)? {
            return Ok(None);
        }
        self.store
            .get(&scratch.key, |row| decode_row(&*self.value, row))?
    }
}
