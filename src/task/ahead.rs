//! Reads rows before the records that need them: if a store is looked up by the key of the incoming
//! record, the keys of waiting records are known.
//!
//! Only while it pays off. It starts when many records find their row only in the backend, and ends when
//! most rows are in the cache, or the rows requested turn out to be different ones.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::TaskSpec;
use super::inputs::Queue;
use crate::base::{Offset, Result};
use crate::batch::Cursor;
use crate::state::{KeyValueStore, ReadAhead, TaskState, WantedKeys};

/// How many of them are in flight at a time.
const AHEAD_MAX: usize = 4;
/// How many records pass between two decisions whether reading ahead pays off.
const JUDGED: i64 = 4_096;
/// It pays off while at least one row in this many is not in memory.
const RARE: u64 = 8;
/// How many records pass before the next attempt once the rows were in memory.
const PAUSE: Offset = 1 << 20;
/// Fewer keys are not worth it.
const KEYS_MIN: usize = 32;

/// An input, and a store that is looked up by the keys of its records.
pub(super) struct KeysAhead {
    queue: usize,
    store: KeyValueStore,
    active: bool,
    /// After the last record whose key was looked at.
    next: Offset,
    cursor: Option<Cursor>,
    /// Where it was last evaluated, and how many rows had been read one by one by then.
    judged_at: Offset,
    loads: u64,
    /// Keys since then.
    asked: u64,
    /// No attempt before this offset.
    not_before: Offset,
}

impl KeysAhead {
    /// The inputs of a task whose records carry the keys of a store.
    pub(super) fn of(spec: &TaskSpec, state: &TaskState) -> Vec<Self> {
        let mut found = Vec::new();
        for (queue, input) in spec.inputs.iter().enumerate() {
            let mut nodes = vec![input.source];
            let mut names: Vec<&String> = Vec::new();
            while let Some(id) = nodes.pop() {
                let node = &spec.nodes[id.0];
                if node.changes_key {
                    continue;
                }
                names.extend(&node.stores);
                nodes.extend(node.children.iter().filter(|id| spec.members.contains(id)));
            }
            names.sort();
            names.dedup();
            let stores = names.iter().filter_map(|name| state.key_value(name).ok());
            found.extend(stores.map(|store| Self {
                queue,
                store,
                active: false,
                next: 0,
                cursor: None,
                judged_at: 0,
                loads: 0,
                asked: 0,
                not_before: 0,
            }));
        }
        found
    }

    /// Has rows read for the waiting records. Without a reader, the store reads them when the first one
    /// is needed.
    pub(super) fn look(
        &mut self,
        queues: &[Queue],
        reader: Option<&Sender<Arc<ReadAhead>>>,
    ) -> Result<()> {
        let queue = &queues[self.queue];
        let under_way = self.store.pass(self.queue, queue.position);
        self.judge(queue.position);
        if !self.active {
            return Ok(());
        }
        if self.next < queue.position {
            self.next = queue.position;
            self.cursor = None;
        }
        for _ in under_way..AHEAD_MAX {
            let Some(room) = self.store.reads_ahead() else {
                break;
            };
            let first = self.next;
            let mut keys = WantedKeys::default();
            while keys.len() < room.keys
                && keys.byte_len() < room.key_bytes
                && self.next - first < JUDGED
            {
                let Some(cursor) = &mut self.cursor else {
                    self.cursor = queue.cursor_at(self.next)?;
                    match self.cursor {
                        Some(_) => continue,
                        None => break,
                    }
                };
                match cursor.next_record()? {
                    None => self.cursor = None,
                    Some(record) if record.offset < self.next => {}
                    Some(record) => {
                        self.next = record.offset + 1;
                        if let Some(key) = record.key {
                            self.store.want(key, &mut keys);
                        }
                    }
                }
            }
            let looked_at = (self.next - first).cast_unsigned();
            if looked_at == 0 {
                break;
            }
            if keys.len() as u64 * RARE < looked_at && looked_at > RARE * RARE {
                self.active = false;
                break;
            }
            if keys.len() < KEYS_MIN {
                continue;
            }
            self.asked += keys.len() as u64;
            let rows = self.store.read_for(keys, self.queue, self.next - 1);
            if let (Some(rows), Some(reader)) = (rows, reader) {
                // A reader that is gone is the same as none.
                let _ = reader.send(rows);
            }
        }
        Ok(())
    }

    fn judge(&mut self, position: Offset) {
        let records = position - self.judged_at;
        if (0..JUDGED).contains(&records) {
            return;
        }
        let loads = self.store.loads();
        let missing = loads - std::mem::replace(&mut self.loads, loads);
        let asked = std::mem::take(&mut self.asked);
        self.judged_at = position;
        // If more records have passed than a worker processes between two checks, nothing is known: the
        // position has jumped back, or ahead.
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        if !self.active {
            self.active = position >= self.not_before && missing.saturating_mul(RARE) >= records;
        } else if missing.min(asked).saturating_mul(2) > records {
            self.active = false;
            self.not_before = position + PAUSE;
        }
    }
}
