//! The views of windowed tables: the row of a key and a window, or a session.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::Result;
use crate::codec::{SharedCodec, Windowed};
use crate::dsl::scratch::{Scratch, decode_row};
use crate::state::{SessionStore, WindowStore};
use crate::task::{Context, View, ViewPort, Wiring};

/// Shows the rows of a window store, as long as it keeps them.
pub(in crate::dsl) struct WindowView<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    store: WindowStore,
    scratch: RefCell<Scratch>,
}

impl<K, V> WindowView<K, V> {
    /// A view of a store of timestamped rows; `key` is the codec of the plain key.
    fn new(key: SharedCodec<K>, row: SharedCodec<V>, store: WindowStore) -> Self {
        Self {
            key,
            row,
            store,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> WindowView<K, V> {
    /// Makes the view of a store within a task.
    pub(in crate::dsl) fn make(
        key: SharedCodec<K>,
        row: SharedCodec<V>,
        store: String,
    ) -> impl Fn(&mut Wiring<'_>) -> Result<ViewPort<Windowed<K>, V>> + Send + Sync + 'static {
        move |wiring| {
            let store = wiring.window(&store)?;
            Ok(Rc::new(Self::new(key.clone(), row.clone(), store)))
        }
    }
}

impl<K: 'static, V: 'static> View<Windowed<K>, V> for WindowView<K, V> {
    fn get(&self, key: &Windowed<K>, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key.key)? {
            return Ok(None);
        }
        self.store.fetch(&scratch.key, key.start_ms, |row| {
            decode_row(&*self.row, row)
        })?
    }
}

/// Shows the rows of a session store, as long as it keeps them.
pub(in crate::dsl) struct SessionView<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    store: SessionStore,
    scratch: RefCell<Scratch>,
}

impl<K: 'static, V: 'static> SessionView<K, V> {
    /// Makes the view of a store of plain rows within a task; `key` is the codec of the plain key.
    pub(in crate::dsl) fn make(
        key: SharedCodec<K>,
        row: SharedCodec<V>,
        store: String,
    ) -> impl Fn(&mut Wiring<'_>) -> Result<ViewPort<Windowed<K>, V>> + Send + Sync + 'static {
        move |wiring| {
            Ok(Rc::new(Self {
                key: key.clone(),
                row: row.clone(),
                store: wiring.store(&store)?,
                scratch: RefCell::default(),
            }))
        }
    }
}

impl<K: 'static, V: 'static> View<Windowed<K>, V> for SessionView<K, V> {
    /// A row is as old as the end of its session.
    fn get(&self, key: &Windowed<K>, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key.key)? {
            return Ok(None);
        }
        self.store
            .fetch(&scratch.key, key.start_ms, key.end_ms, |row| {
                let value = row.map(|row| self.row.decode(Some(row))).transpose()?;
                Ok(value.map(|value| (value, key.end_ms)))
            })?
    }
}
