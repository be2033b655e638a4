//! The view of a windowed table: the row of a key and a window.

use std::cell::RefCell;

use super::scratch::{Scratch, decode_row};
use crate::base::Result;
use crate::codec::{SharedCodec, Windowed};
use crate::state::WindowStore;
use crate::task::{Context, View};

/// Shows the rows of a window store, as long as it keeps them.
pub struct WindowView<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    store: WindowStore,
    scratch: RefCell<Scratch>,
}

impl<K, V> WindowView<K, V> {
    /// A view of a store of timestamped rows; `key` is the codec of the plain key.
    pub fn new(key: SharedCodec<K>, row: SharedCodec<V>, store: WindowStore) -> Self {
        Self {
            key,
            row,
            store,
            scratch: RefCell::default(),
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
