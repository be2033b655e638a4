//! Tables with a history of rows: the versioned variants of a table's source and view.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::Change;
use crate::dsl::scratch::Scratch;
use crate::state::{Version, VersionedPut, VersionedStore};
use crate::task::{Context, DropReason, Edges, Process, View, ViewPort, Wiring};

/// Makes a change from each record and inserts its row into the history of its key.
///
/// A null key is dropped; a null value deletes the row from its time on. A record older than the history
/// is dropped and changes nothing. One older than the newest row of its key is passed on as out of order;
/// the old row sent along is the newest one until then, whatever their times. Source: `KTableSource`.
pub(in crate::dsl) struct VersionedSource<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: VersionedStore,
    sends_old: bool,
    scratch: RefCell<Scratch>,
}

impl<K, V> VersionedSource<K, V> {
    /// A table over `store`; `sends_old` puts the old row into each change.
    pub(in crate::dsl) fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: VersionedStore,
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

impl<K: 'static, V: 'static> Process for VersionedSource<K, V> {
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
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let old = match self.sends_old {
            true => self
                .store
                .get(&scratch.key, |version| decode(&self.value, version))??,
            false => None,
        };
        scratch.row.clear();
        let has_row = match &value {
            Some(value) => self.value.encode(value, &mut scratch.row)? == Encoded::Bytes,
            None => false,
        };
        let row = has_row.then_some(&scratch.row[..]);
        let put = self.store.put(&scratch.key, row, timestamp_ms)?;
        drop(scratch);
        let is_overtaken = match put {
            VersionedPut::Expired => {
                cx.drop_record(DropReason::Expired);
                return Ok(());
            }
            VersionedPut::Stored(until_ms) => until_ms.is_some(),
        };
        let value = Change {
            new: value.filter(|_| has_row),
            old: old.map(|(old, _)| old),
        };
        let record = Record {
            key,
            value,
            timestamp_ms,
            headers,
        };
        cx.with_overtaken(is_overtaken, |cx| out.push(record, cx))
    }
}

/// The view of a versioned store: its newest rows, and earlier ones.
pub(in crate::dsl) struct VersionedView<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: VersionedStore,
    scratch: RefCell<Scratch>,
}

impl<K: 'static, V: 'static> VersionedView<K, V> {
    /// Makes the view of a store within a task.
    pub(in crate::dsl) fn make(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: String,
    ) -> impl Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync + 'static {
        move |wiring| {
            Ok(Rc::new(Self {
                key: key.clone(),
                value: value.clone(),
                store: wiring.store(&store)?,
                scratch: RefCell::default(),
            }))
        }
    }
}

impl<K: 'static, V: 'static> View<K, V> for VersionedView<K, V> {
    fn get(&self, key: &K, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, key)? {
            return Ok(None);
        }
        self.store
            .get(&scratch.key, |version| decode(&self.value, version))?
    }

    fn get_at(&self, key: &K, time_ms: i64, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, key)? {
            return Ok(None);
        }
        let read = |version: Option<Version<'_>>| decode(&self.value, version);
        self.store.get_as_of(&scratch.key, time_ms, read)?
    }
}

fn decode<V: 'static>(
    codec: &SharedCodec<V>,
    version: Option<Version<'_>>,
) -> Result<Option<(V, i64)>> {
    let decode = |version: Version<'_>| Ok((codec.decode(Some(version.row))?, version.since_ms));
    version.map(decode).transpose()
}
