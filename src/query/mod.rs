//! Typed reads of the stores of a running application.
//!
//! ```text
//!  application.queries() --> Queries --view--> View --key_value | windows | sessions | versioned--> rows with types
//!        any thread, cheap to clone              as of one commit of each task
//! ```
//!
//! ```
//! use marea::prelude::*;
//! use std::time::Duration;
//!
//! let builder = StreamBuilder::new();
//! let words = builder.stream::<String, String>("words");
//! words.group_by_key("by-key").count("counts").to_stream().to("out");
//! let log = marea::open("memory:")?;
//! log.create_topics(&[TopicSpec::new("words", 2), TopicSpec::new("out", 2)])?;
//! let mut words = log.producer::<String, String>("words")?;
//! words.send("buoy-7".to_owned(), "calm".to_owned())?;
//! let mut application = Application::builder(builder.build()?, "counter")
//!     .log(log)
//!     .settings(Settings::in_memory())
//!     .start()?;
//! application.drain(Duration::from_secs(60))?;
//!
//! let view = application.queries().view()?;
//! let counts = view.key_value::<String, i64>("counts")?;
//! assert_eq!(counts.get(&"buoy-7".to_owned())?.map(|row| row.value), Some(1));
//! # drop(counts);
//! # drop(view);
//! # application.close(Duration::from_secs(60))?;
//! # Ok::<(), marea::Error>(())
//! ```
//!
//! Only committed rows are visible, all rows of a task as of the same commit. Rows of tasks that other instances
//! have are not available: a get fails, and a scan returns what is here ([`View::is_complete`]). Global stores are
//! in every instance and belong to no task: a view reads them as they are at the moment. Over HTTP any
//! instance answers for all of them: `admin::ServedStores`, with the feature `admin`.
//!
//! [`View::is_complete`]: crate::runtime::View::is_complete

mod key_value;
mod one_per_key;
mod sessions;
mod versioned;
mod windows;

use std::sync::Arc;

use crate::base::{Error, Headers, Result, partition_for_key};
use crate::codec::SharedCodec;
use crate::runtime::View;
pub(crate) use crate::state::typed::key_bytes;
use crate::state::{RowForm, StoreSpec};

pub use key_value::KeyValueRows;
#[cfg(feature = "admin")]
pub(crate) use key_value::Keys;
pub use sessions::SessionRows;
pub use versioned::{Version, VersionedRows};
pub use windows::WindowRows;

/// A value in a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<V> {
    /// The value.
    pub value: V,
    /// The timestamp of the newest record that contributed to it, if the store keeps one, in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Headers, if the store keeps them.
    pub headers: Headers,
}

/// An iterator of rows that reads them on demand.
pub struct Found<'a, T>(Box<dyn FnMut() -> Result<Option<T>> + 'a>);

impl<'a, T> Found<'a, T> {
    /// The rows of several iterators, one task's after another's.
    fn in_turn<W: 'a>(
        walks: Vec<W>,
        mut next: impl FnMut(&mut W) -> Result<Option<T>> + 'a,
    ) -> Self {
        let mut walks = walks.into_iter();
        let mut walk = walks.next();
        Self(Box::new(move || {
            while let Some(rows) = &mut walk {
                if let Some(row) = next(rows)? {
                    return Ok(Some(row));
                }
                walk = walks.next();
            }
            Ok(None)
        }))
    }
}

impl<T> Iterator for Found<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        (self.0)().transpose()
    }
}

impl<T> std::fmt::Debug for Found<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// Checks that a store has keys and values of these codecs, by their names.
///
/// # Errors
/// `Invalid` if it has others; the message names both.
pub(crate) fn check_codecs(spec: &StoreSpec, asked: (String, String)) -> Result<()> {
    if spec.codecs == asked {
        return Ok(());
    }
    let (store, found) = (&spec.name, &spec.codecs);
    Err(Error::invalid(format!(
        "store {store:?} has keys and values of the codecs {found:?}, but is read with {asked:?}; name its \
         types"
    )))
}

/// The partition of a key's bytes, as chosen by Kafka's producers and ours, and by the topology for its
/// repartition topics.
pub(crate) fn partition_of<K: 'static>(
    codec: &SharedCodec<K>,
    bytes: &[u8],
    partitions: u32,
) -> u32 {
    partition_for_key(codec.partition_bytes(bytes), partitions)
}

/// The types of a store's rows.
struct RowTypes<K, V> {
    store: String,
    form: RowForm,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K: 'static, V: 'static> RowTypes<K, V> {
    /// # Errors
    /// `Invalid` if the store has other types.
    fn of(spec: &StoreSpec, (key, value): (SharedCodec<K>, SharedCodec<V>)) -> Result<Self> {
        check_codecs(spec, (key.name(), value.name()))?;
        Ok(Self {
            store: spec.name.clone(),
            form: spec.row,
            key,
            value,
        })
    }

    fn key(&self, key: &K) -> Result<Vec<u8>> {
        key_bytes(&*self.key, key)
    }

    fn row(&self, row: &[u8]) -> Result<Row<V>> {
        let parts = self.form.parts(row)?;
        Ok(Row {
            value: self.value.decode(Some(parts.value))?,
            timestamp_ms: parts.timestamp_ms,
            headers: parts.headers,
        })
    }
}

/// A store of the tasks in a view, with the types of its rows.
struct Typed<'a, K, V> {
    view: &'a View,
    subtopology: &'a Arc<str>,
    partitions: u32,
    types: RowTypes<K, V>,
}

impl<'a, K: 'static, V: 'static> Typed<'a, K, V> {
    fn open(view: &'a View, store: &str, codecs: (SharedCodec<K>, SharedCodec<V>)) -> Result<Self> {
        let viewed = view.store(store)?;
        Ok(Self {
            view,
            subtopology: viewed.subtopology,
            partitions: viewed.partitions,
            types: RowTypes::of(viewed.spec, codecs)?,
        })
    }

    fn key(&self, key: &K) -> Result<Vec<u8>> {
        self.types.key(key)
    }

    /// The store of the task that has the rows of a key, as Kafka's producers and ours place them.
    fn store_of<S: Clone + 'static>(&self, key: &[u8]) -> Result<S> {
        let partition = partition_of(&self.types.key, key, self.partitions);
        let task = self.view.task_for(self.subtopology, partition);
        self.view.task(&task)?.store(&self.types.store)
    }

    /// The store of each task that is here, as a handle of type `S`.
    fn stores<S: Clone + 'static>(&self) -> Result<Vec<S>> {
        let tasks = self.view.tasks_of(self.subtopology);
        let store = |task| self.view.task(task)?.store::<S>(&self.types.store);
        tasks.map(store).collect()
    }

    fn row(&self, row: &[u8]) -> Result<Row<V>> {
        self.types.row(row)
    }
}
