//! The messages on a table's edges.

/// An update of a table's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The row from now on; `None` when it was deleted.
    pub new: Option<V>,
    /// The previous row, if a consumer needs it.
    pub old: Option<V>,
}

impl<V> Change<V> {
    /// An update whose old row nobody needs.
    pub fn to(new: Option<V>) -> Self {
        Self { new, old: None }
    }
}
