//! Where the rows of a store with one value per key are: in tasks, or in every instance.

use std::ops::Bound;
use std::vec::IntoIter;

use super::{RowTypes, Typed};
use crate::base::Result;
use crate::codec::SharedCodec;
use crate::runtime::View;
use crate::state::kinds::lru::LruStore;
use crate::state::{Direction, GlobalRows, KeyValueStore, RowIter, StoreKind};

/// A row with its key, both as bytes.
type GlobalRow = (Vec<u8>, Vec<u8>);

/// How much of a global store is copied at a time, in bytes; at least one row.
const COPIED_BYTES: usize = 64 << 10;

/// A store with one value per key.
pub(super) enum OnePerKey<'a, K, V> {
    /// As of a commit of each task.
    KeyValue(Typed<'a, K, V>),
    /// The same; reading does not count as use.
    Lru(Typed<'a, K, V>),
    /// As it is at the moment.
    Global(GlobalRows, RowTypes<K, V>),
}

impl<'a, K: 'static, V: 'static> OnePerKey<'a, K, V> {
    pub(super) fn open(
        view: &'a View,
        store: &str,
        codecs: (SharedCodec<K>, SharedCodec<V>),
    ) -> Result<Self> {
        if let Some(global) = view.global(store) {
            let types = RowTypes::of(global.spec, codecs)?;
            return Ok(Self::Global(global.rows, types));
        }
        let is_lru = view.store(store)?.spec.kind.name() == StoreKind::lru(0).name();
        let typed = Typed::open(view, store, codecs)?;
        Ok(match is_lru {
            true => Self::Lru(typed),
            false => Self::KeyValue(typed),
        })
    }

    pub(super) fn types(&self) -> &RowTypes<K, V> {
        match self {
            Self::KeyValue(typed) | Self::Lru(typed) => &typed.types,
            Self::Global(_, types) => types,
        }
    }

    /// Calls `read` with the row of a key.
    pub(super) fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match self {
            Self::KeyValue(typed) => typed.store_of::<KeyValueStore>(key)?.get(key, read),
            Self::Lru(typed) => typed.store_of::<LruStore>(key)?.peek(key, read),
            Self::Global(rows, _) => rows.get(key, read),
        }
    }

    /// The rows between two keys: an iterator for each task.
    pub(super) fn walks(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Vec<Walk>> {
        match self {
            Self::KeyValue(typed) => {
                let stores = typed.stores::<KeyValueStore>()?.into_iter();
                let walk = |store: KeyValueStore| store.range(from, to, Direction::Forward);
                stores.map(|store| Ok(Walk::Task(walk(store)?))).collect()
            }
            Self::Lru(typed) => {
                let stores = typed.stores::<LruStore>()?.into_iter();
                stores
                    .map(|store| Ok(Walk::Task(store.range(from, to)?)))
                    .collect()
            }
            Self::Global(rows, _) => Ok(vec![Walk::Global(GlobalWalk {
                rows: rows.clone(),
                from: from.map(<[u8]>::to_vec),
                to: to.map(<[u8]>::to_vec),
                copied: Vec::new().into_iter(),
                row: None,
            })]),
        }
    }
}

/// Reads rows one after the other.
pub(super) enum Walk {
    Task(RowIter),
    Global(GlobalWalk),
}

/// Reads the rows of a global store in parts, since a copy of all of them may be large: so the last ones are newer
/// than the first.
pub(super) struct GlobalWalk {
    rows: GlobalRows,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    copied: IntoIter<GlobalRow>,
    row: Option<GlobalRow>,
}

impl Walk {
    /// The next key and row.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Task(rows) => rows.next(),
            Self::Global(walk) => walk.next(),
        }
    }
}

impl GlobalWalk {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.copied.len() == 0 {
            let to = self.to.as_ref().map(Vec::as_slice);
            let from = self.from.as_ref().map(Vec::as_slice);
            self.copied = self.rows.first(from, to, COPIED_BYTES)?.into_iter();
            if let Some((last, _)) = self.copied.as_slice().last() {
                self.from = Bound::Excluded(last.clone());
            }
        }
        self.row = self.copied.next();
        let row = self.row.as_ref();
        Ok(row.map(|(key, row)| (key.as_slice(), row.as_slice())))
    }
}
