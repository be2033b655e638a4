//! Rows that an operator holds until time passes, and what becomes of one that cannot be passed on.
//!
//! Such a row would fail every record that makes its time pass, now and later. So where a policy does not
//! fail, it is the row that is given up, not the record: what the record did is undone, and it is done
//! again without the row.

use std::fmt;
use std::sync::Arc;

use super::{Policy, Stage};

/// A row that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// The store that holds it.
    pub store: Arc<str>,
    /// The bytes of its windowed key.
    pub key: Vec<u8>,
    /// The end of its window, in milliseconds.
    pub end_ms: i64,
}

impl fmt::Display for HeldRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, key, end_ms } = self;
        let key = key.escape_ascii();
        write!(
            f,
            "the row that store {store} holds for the window that ends at {end_ms} and the windowed key {key}"
        )
    }
}

/// A held row that failed.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) row: HeldRow,
    pub(super) stage: Stage,
    pub(super) policy: Policy,
    pub(super) message: String,
}
