//! What a driver's stores hold, and whether their changelogs say the same.

use std::ops::Bound;

use super::Driver;
use crate::base::{Error, Result};
use crate::codec::{Codec, Windowed};
use crate::state::{Direction, MemoryBackend, StoreKind, StoreSpec, StoredState, TaskState};

/// A key, its value, and its timestamp in milliseconds where the store keeps one.
pub type StoreRow<K, V> = (K, V, Option<i64>);

impl Driver {
    /// The rows of a key-value store, in the order of their keys' bytes.
    ///
    /// # Errors
    /// `Internal` if there is no such store; `User` if a row does not decode.
    pub fn key_value_rows<K, V>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<StoreRow<K, V>>> {
        let rows = self.state_of(store).key_value(store)?;
        let spec = self.store_spec(store)?;
        let mut rows = rows.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
        let mut found = Vec::new();
        while let Some((row_key, row)) = rows.next()? {
            let (timestamp_ms, row) = take_timestamp(spec, row)?;
            let key = key.decode(Some(row_key))?;
            found.push((key, value.decode(Some(row))?, timestamp_ms));
        }
        Ok(found)
    }

    /// The rows of a window store that are still read, in the order of the store: of a persistent
    /// one by segment, key and start, of an in-memory one by start and key.
    ///
    /// # Errors
    /// As [`Driver::key_value_rows`].
    pub fn window_rows<K, V>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<StoreRow<Windowed<K>, V>>> {
        let rows = self.state_of(store).window(store)?;
        let spec = self.store_spec(store)?;
        let size_ms = match &spec.kind {
            StoreKind::Window(rules) => rules.window_size_ms,
            StoreKind::KeyValue => 0,
        };
        let mut rows = rows.all()?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let windowed = Windowed {
                key: key.decode(Some(row.key))?,
                start_ms: row.start_ms,
                end_ms: row.start_ms.saturating_add(size_ms),
            };
            let (timestamp_ms, row) = take_timestamp(spec, row.row)?;
            found.push((windowed, value.decode(Some(row))?, timestamp_ms));
        }
        Ok(found)
    }

    /// Rebuilds all state from the changelogs into memory, as after the loss of a disk, and returns
    /// whether it reads like the driver's own. Stores without a changelog are left out.
    ///
    /// # Errors
    /// Those of a restore.
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
            spec.is_none_or(|spec| spec.logged)
        };
        let (ours, theirs) = (own.checksum()?, rebuilt.into_state().checksum()?);
        let mut pairs = ours.iter().zip(&theirs);
        Ok(pairs.all(|(ours, theirs)| !logged(&ours.0) || ours == theirs))
    }

    /// The state that has the store: that of the task, unless it is global.
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

fn take_timestamp<'a>(spec: &StoreSpec, row: &'a [u8]) -> Result<(Option<i64>, &'a [u8])> {
    if !spec.timestamped {
        return Ok((None, row));
    }
    let (timestamp, value) = row
        .split_first_chunk::<8>()
        .ok_or_else(|| Error::corrupt(format!("a row of store {} has no timestamp", spec.name)))?;
    Ok((Some(i64::from_be_bytes(*timestamp)), value))
}
