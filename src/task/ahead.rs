//! Reading rows before the records that want them: where a store is asked for the key that a record came
//! with, the keys of those that wait are known.
//!
//! Only while it is worth it. It begins when many records find their row in the backend alone, and ends
//! when the cache has most of them, or the rows asked for turn out to be others.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::TaskSpec;
use super::inputs::Queue;
use crate::base::{Offset, Result};
use crate::batch::Cursor;
use crate::state::{KeyValueStore, ReadAhead, TaskState, WantedKeys};

/// How many of them are on their way at a time.
const AHEAD_MAX: usize = 4;
/// How many records pass between two decisions whether reading ahead pays.
const JUDGED: i64 = 4_096;
/// It pays while at least one row in this many is not in memory.
const RARE: u64 = 8;
/// How many records pass before it is tried again once the rows were in memory.
const PAUSE: Offset = 1 << 20;
/// Fewer keys are not worth it.
const KEYS_MIN: usize = 32;

/// An input, and a store that is asked for the keys of its records.
pub(super) struct KeysAhead {
    queue: usize,
    store: KeyValueStore,
    active: bool,
    /// Behind the last record whose key was looked at.
    next: Offset,
    cursor: Option<Cursor>,
    /// Where it was last judged, and how many rows had been read alone by then.
    judged_at: Offset,
    loads: u64,
    /// Keys since then.
    asked: u64,
    /// Nothing is tried before this.
    not_before: Offset,
}

impl KeysAhead {
    /// The inputs of a task whose records bring the keys of a store.
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

    /// Has rows read for the records that wait. Without a reader, the store reads them when the first of
    /// them is wanted.
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
                // One that is gone is as good as none.
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
        // Of more records than a worker steps over between two looks nothing is known: it went back, or on.
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        if !self.active {
            self.active = position >= self.not_before && missing.saturating_mul(RARE) >= records;
        } else if missing.min(asked).saturating_mul(2) > records {
            self.active = false;
            self.not_before = position + PAUSE;
        }
    }
}
