//! What travels on a table's edges.

/// An update of a table's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The row from now on; `None` when it was deleted.
    pub new: Option<V>,
    /// The row until now, where a consumer wants it.
    pub old: Option<V>,
}

impl<V> Change<V> {
    /// An update whose old row nobody wants.
    pub fn to(new: Option<V>) -> Self {
        Self { new, old: None }
    }
}
