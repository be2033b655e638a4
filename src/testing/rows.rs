//! The contents of a driver's stores, and whether their changelogs agree.

use std::any::type_name;

use super::Driver;
use crate::base::{Error, Result};
use crate::codec::{Codec, Windowed};
use crate::dsl::TypedStore;
use crate::state::{MemoryBackend, StoreSpec, StoredRow, StoredState, TaskState};

/// A key, its value, and its timestamp in milliseconds if the store keeps one.
pub type StoreRow<K, V> = (K, V, Option<i64>);

impl Driver {
    /// A store by its name and type, to read it in a test or to fill it before one: a store that was
    /// added for processors, or that of a table or an aggregation, which is timestamped. Writes to it are
    /// committed with the next record.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// let words = builder.stream::<String, String>("words");
    /// words.group_by_key("by-key").count("counts").to_stream().to("out");
    ///
    /// let mut driver = Driver::new(builder.build()?)?;
    /// let words = driver.input_topic::<String, String>("words");
    /// words.pipe(&mut driver, Record::new("buoy-7".to_owned(), "calm".to_owned(), 1_000))?;
    /// let counts = driver.store::<TimestampedKeyValueStore<String, i64>>("counts")?;
    /// assert_eq!(counts.get(&"buoy-7".to_owned())?, Some((1, 1_000)));
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or it has another type.
    pub fn store<S: TypedStore>(&self, name: &str) -> Result<S> {
        let opened = self.task.open_store(name)?;
        let store = opened.downcast_ref::<S>().cloned();
        store.ok_or_else(|| {
            Error::invalid(format!(
                "store {name:?} is not a {}; open it with the types with which it was declared, that of a \
                 table or an aggregation as `TimestampedKeyValueStore` or `TimestampedWindowStore`",
                type_name::<S>()
            ))
        })
    }

    /// The rows of a store of keys, in the byte order of their keys: of a key-value store, or the newest
    /// versions of a versioned one.
    ///
    /// # Errors
    /// `Internal` if there is no such store; `User` if a row does not decode.
    pub fn key_value_rows<K, V>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<StoreRow<K, V>>> {
        self.rows(store, value, |row| key.decode(Some(row.key)))
    }

    /// The rows of a window or session store that can still be read, in the order of the store: for a
    /// persistent one by segment, key and time, for an in-memory one by time and key.
    ///
    /// # Errors
    /// As [`Driver::key_value_rows`]; `Invalid` if the rows have no windows.
    pub fn window_rows<K, V>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<StoreRow<Windowed<K>, V>>> {
        self.rows(store, value, |row| {
            let (start_ms, end_ms) = row.window.ok_or_else(|| {
                Error::invalid(format!("the rows of store {store} have no windows"))
            })?;
            Ok(Windowed {
                key: key.decode(Some(row.key))?,
                start_ms,
                end_ms,
            })
        })
    }

    fn rows<K, V>(
        &self,
        store: &str,
        value: impl Codec<V>,
        key: impl Fn(StoredRow<'_>) -> Result<K>,
    ) -> Result<Vec<StoreRow<K, V>>> {
        let form = self.store_spec(store)?.row;
        let mut found = Vec::new();
        self.state_of(store).each_row(store, |row| {
            let parts = form.parts(row.row)?;
            let timestamp_ms = parts.timestamp_ms.or(row.since_ms);
            found.push((key(row)?, value.decode(Some(parts.value))?, timestamp_ms));
            Ok(())
        })?;
        Ok(found)
    }

    /// Rebuilds all state from the changelogs into memory, as after the loss of a disk, and returns
    /// whether it is equal to the driver's own. Stores without a changelog are left out.
    ///
    /// # Errors
    /// As those of a restore.
    pub fn rebuild_and_compare(&self) -> Result<bool> {
        let own = &self.task.state;
        let backend = Box::new(MemoryBackend::new());
        let mut rebuilt = StoredState::open(own.task(), own.specs(), backend, &self.identity)?;
        for store in 0..=own.specs().len() {
            let topic = self.changelog_topic(store);
            rebuilt.begin_restore(store, true)?;
            for (base_offset, batch) in self.topics.batches(&topic) {
                let mut cursor = batch.cursor(*base_offset);
                while let Some(record) = cursor.next_record()? {
                    rebuilt.restore(store, &record)?;
                }
            }
            rebuilt.end_restore(store, self.topics.end(&topic))?;
        }
        let logged = |name: &str| {
            let spec = own.specs().iter().find(|spec| spec.name == name);
            spec.is_none_or(StoreSpec::is_restored)
        };
        let (ours, theirs) = (own.checksum()?, rebuilt.into_state().checksum()?);
        let mut pairs = ours.iter().zip(&theirs);
        Ok(pairs.all(|(ours, theirs)| !logged(&ours.0) || ours == theirs))
    }

    /// The state that contains the store: that of the task, unless the store is global.
    fn state_of(&self, store: &str) -> &TaskState {
        let global = self.globals.state();
        let has_store = |state: &&TaskState| state.specs().iter().any(|spec| spec.name == store);
        global.filter(has_store).unwrap_or(&self.task.state)
    }

    fn store_spec(&self, store: &str) -> Result<&StoreSpec> {
        let mut specs = self.state_of(store).specs().iter();
        specs
            .find(|spec| spec.name == store)
            .ok_or_else(|| Error::invalid(format!("the topology has no store named {store}")))
    }
}
