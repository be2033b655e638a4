//! What a source accepts, and the time it reads from a record.

use std::sync::Arc;

use crate::base::Record;

/// Whether a source accepts a record; the record is passed through, and `None` refuses it.
pub type Accepts<K, V> = Arc<dyn Fn(Record<K, V>) -> Option<Record<K, V>> + Send + Sync>;
/// The time of a record, given the largest in its partition so far; `None` refuses it.
pub type Extract<K, V> = Arc<dyn Fn(Record<K, V>, i64) -> Option<i64> + Send + Sync>;

/// What a source does with a record before it advances time.
pub struct Gate<K, V> {
    /// Which records it accepts; all if not set.
    pub accepts: Option<Accepts<K, V>>,
    /// Where a record's time comes from; its topic if not set.
    pub extract: Option<Extract<K, V>>,
}

impl<K, V> Default for Gate<K, V> {
    fn default() -> Self {
        Self {
            accepts: None,
            extract: None,
        }
    }
}

impl<K, V> Clone for Gate<K, V> {
    fn clone(&self) -> Self {
        Self {
            accepts: self.accepts.clone(),
            extract: self.extract.clone(),
        }
    }
}
