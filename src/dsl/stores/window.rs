//! The handle by which processors use window stores.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeBounds;
use std::rc::Rc;

use super::site::{StoreSite, TypedStore};
use crate::base::Result;
use crate::state::typed::{Form, Plain, Timestamped, WindowView, Windows};
use crate::state::{Direction, Put};
use crate::task::ExpiredPuts;

/// A store of one value per key and window, identified by its start; or of several, if the rules say that
/// duplicates are kept.
pub type WindowStore<K, V> = TypedWindowStore<K, V, Plain>;

/// A store of one value per key and window, with a timestamp in milliseconds. It reads and writes pairs of the
/// two.
pub type TimestampedWindowStore<K, V> = TypedWindowStore<K, V, Timestamped>;

/// A window store with rows of a certain form: [`WindowStore`], [`TimestampedWindowStore`].
pub struct TypedWindowStore<K, V, F> {
    rows: Rc<RefCell<WindowView<K, V, F>>>,
    expired: ExpiredPuts,
}

impl<K, V, F> Clone for TypedWindowStore<K, V, F> {
    fn clone(&self) -> Self {
        Self {
            rows: Rc::clone(&self.rows),
            expired: self.expired.clone(),
        }
    }
}

impl<K, V, F> fmt::Debug for TypedWindowStore<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedWindowStore").finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static, F: Form<V> + 'static> TypedStore for TypedWindowStore<K, V, F> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        site.check_own("of windows")?;
        let rows = WindowView::new(site.wiring.window(site.name)?, site.key, site.value);
        Ok(Self {
            rows: Rc::new(RefCell::new(rows)),
            expired: site.expired.clone(),
        })
    }
}

impl<K: 'static, V: 'static, F: Form<V>> TypedWindowStore<K, V, F> {
    /// The value of a key in the window that starts at `start_ms`.
    ///
    /// # Errors
    /// `User` if a codec refuses; else errors of the store.
    pub fn fetch(&self, key: &K, start_ms: i64) -> Result<Option<F::Read>> {
        self.rows.borrow_mut().fetch(key, start_ms)
    }

    /// Sets that value, unless it is older than what the store keeps, which counts as a drop; a value
    /// that its codec calls null removes it.
    ///
    /// # Errors
    /// As [`TypedWindowStore::fetch`]; `TooLarge` if the row is too large for the changelog.
    pub fn put(&self, key: &K, value: F::Write<'_>, start_ms: i64) -> Result<Put> {
        self.write(key, Some(value), start_ms)
    }

    /// Removes the value of a key in a window. If duplicates are kept, nothing is removed.
    ///
    /// # Errors
    /// As [`TypedWindowStore::put`].
    pub fn delete(&self, key: &K, start_ms: i64) -> Result<Put> {
        self.write(key, None, start_ms)
    }

    fn write(&self, key: &K, value: Option<F::Write<'_>>, start_ms: i64) -> Result<Put> {
        let put = self.rows.borrow_mut().put(key, start_ms, value)?;
        if put == Put::Expired {
            self.expired.count();
        }
        Ok(put)
    }

    /// The windows of a key that start between two times, both included.
    ///
    /// # Errors
    /// As [`TypedWindowStore::fetch`].
    pub fn fetch_range(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        let mut view = self.rows.borrow_mut();
        view.fetch_range(key, from_ms, to_ms, direction)
    }

    /// The windows of the keys between two keys that start between two times, all inclusive, in the
    /// store's order: a persistent one returns them by segment, key and time, an in-memory one by time
    /// and key. Windows of other keys are skipped.
    ///
    /// # Errors
    /// As [`TypedWindowStore::fetch`].
    pub fn fetch_keys(
        &self,
        keys: impl RangeBounds<K>,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        let bounds = (keys.start_bound(), keys.end_bound());
        let view = self.rows.borrow();
        view.fetch_keys(bounds, (from_ms, to_ms), direction)
    }

    /// The windows of all keys that start between two times, both included, in the store's order.
    ///
    /// # Errors
    /// As [`TypedWindowStore::fetch`].
    pub fn fetch_all(
        &self,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        self.rows.borrow().fetch_all(from_ms, to_ms, direction)
    }
}
