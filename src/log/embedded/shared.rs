//! What the log, its threads, readers, writers and members share.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::format::{self, GROUPS, META, OFFSETS, PARTITIONS, PartitionRow, Place, Row, TOPICS};
use super::opening::Opened;
use super::partition::{Partition, Topic};
use super::point::{Keeper, Mark};
use super::queue::Queue;
use super::settings::{Fsync, Settings};
use crate::base::{Env, Error, Result, TopicPartition};
use crate::disk::{Database, Durability, Reserved, WriteBatch};
use crate::log::group::{Groups, LocalMember};
use crate::log::signal::Signal;
use crate::log::{CommittedOffset, check};

pub(super) struct Shared {
    pub(super) settings: Settings,
    /// Of the budget, for the tails.
    _tails: Reserved,
    pub(super) env: Arc<dyn Env>,
    pub(super) database: Database,
    pub(super) incarnation: u128,
    /// See the module documentation on locks.
    writing: Mutex<Writing>,
    topics: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
    groups: Mutex<Groups>,
    /// Written while the ends of a commit are published.
    pub(super) published: RwLock<()>,
    /// Held during a write, so that writes are counted in their order; taken last.
    keeper: Mutex<Keeper>,
    pub(super) signal: Signal,
    pub(super) queue: Mutex<Queue>,
    pub(super) queued: Condvar,
    pub(super) closed: AtomicBool,
    pub(super) closing: Signal,
    /// Why the last sync failed; returned by closing the log.
    pub(super) sync_failed: Mutex<Option<Error>>,
    pub(super) syncs: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) bytes_appended: AtomicU64,
}

/// State that only one thread changes at a time.
#[derive(Default)]
pub(super) struct Writing {
    pub(super) offsets: BTreeMap<String, BTreeMap<Place, CommittedOffset>>,
    /// How often each writer was opened.
    pub(super) writers: BTreeMap<String, u64>,
    pub(super) next_topic: u32,
    /// Of all batches of all partitions.
    pub(super) bytes: u64,
    /// The partitions with the oldest batches in their tails, and the sizes of those.
    pub(super) tails: VecDeque<(Arc<Partition>, usize)>,
    pub(super) tail_bytes: usize,
}

impl Shared {
    pub(super) fn load(settings: Settings, env: Arc<dyn Env>, opened: Opened) -> Result<Arc<Self>> {
        let Opened {
            database,
            incarnation,
            keeper,
        } = opened;
        let mut row = Vec::new();
        let mut writing = Writing::default();
        if database.get(META, format::NEXT_TOPIC, &mut row)? {
            writing.next_topic = format::Fields::open(&row)?.u32()?;
        }
        let mut topics = BTreeMap::new();
        let mut rows = database.iter(TOPICS, crate::disk::Range::all())?;
        while let Some((name, row)) = rows.next()? {
            let (id, spec) = format::read_topic_row(name, row)?;
            let name: Arc<str> = spec.name.as_str().into();
            let mut partitions = Vec::new();
            for number in 0..spec.partitions {
                let mut row = Vec::new();
                let place = (id, number);
                let found = database.get(PARTITIONS, &format::partition_key(place), &mut row)?;
                let row = if found {
                    PartitionRow::decode(&row)?
                } else {
                    PartitionRow::default()
                };
                writing.bytes += row.bytes;
                let name = TopicPartition::new(Arc::clone(&name), number);
                partitions.push(Partition::new(name, place, row));
            }
            let topic = Topic {
                id,
                spec,
                partitions,
            };
            topics.insert(name, Arc::new(topic));
        }
        let mut rows = database.iter(OFFSETS, crate::disk::Range::all())?;
        while let Some((key, row)) = rows.next()? {
            let (group, place) = format::read_offset_key(key)?;
            let committed = format::read_offset_row(row)?;
            writing
                .offsets
                .entry(group)
                .or_default()
                .insert(place, committed);
        }
        let mut generations = Vec::new();
        let mut rows = database.iter(GROUPS, crate::disk::Range::all())?;
        while let Some((group, row)) = rows.next()? {
            let generation = format::Fields::open(row)?.u64()?;
            generations.push((String::from_utf8_lossy(group).into_owned(), generation));
        }
        let tails = settings.budget.reserve(settings.tail_bytes);
        Ok(Arc::new(Self {
            settings,
            _tails: tails,
            env,
            database,
            incarnation,
            writing: Mutex::new(writing),
            topics: RwLock::new(topics),
            groups: Mutex::new(Groups::restore(generations)),
            published: RwLock::default(),
            keeper: Mutex::new(keeper),
            signal: Signal::default(),
            queue: Mutex::default(),
            queued: Condvar::new(),
            closed: AtomicBool::new(false),
            closing: Signal::default(),
            sync_failed: Mutex::default(),
            syncs: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            bytes_appended: AtomicU64::new(0),
        }))
    }

    pub(super) fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topics(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<Topic>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change_topics(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, Arc<Topic>>)) {
        change(&mut self.topics.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, name: &TopicPartition) -> Result<(Arc<Topic>, Arc<Partition>)> {
        let topics = self.topics();
        let topic = topics.get(&name.topic);
        let partition = topic.and_then(|topic| {
            let partition = topic.partitions.get(name.partition as usize)?;
            Some((Arc::clone(topic), Arc::clone(partition)))
        });
        partition.ok_or_else(|| check::unknown_partition(name))
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(check::closed());
        }
        Ok(())
    }

    /// A write, synced if the policy requires it for commits.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<()> {
        let synced = self.settings.fsync == Fsync::EveryCommit;
        self.write_as(batch, synced)
    }

    pub(super) fn write_as(&self, batch: WriteBatch, synced: bool) -> Result<()> {
        self.write_commits(batch, synced, 0)
    }

    /// Writes this many commits, together with the new total.
    pub(super) fn write_commits(
        &self,
        mut batch: WriteBatch,
        synced: bool,
        commits: u64,
    ) -> Result<()> {
        let durability = if synced {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            Durability::Synced
        } else {
            Durability::Logged
        };
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut keeper = self.keeper();
        let before = keeper.point.written;
        let written = Mark {
            writes: before.writes + 1,
            commits: before.commits + commits,
            at_ms: self.env.wall_ms(),
        };
        batch.put(META, format::WRITTEN, &written.row());
        self.database.write(batch, durability)?;
        keeper.point.written = written;
        if synced {
            // There is only one write-ahead log: everything written before is synced too.
            keeper.point.synced = written;
        }
        let relaxed = !keeper.point.every_commit;
        keeper.keep(synced && relaxed);
        Ok(())
    }

    /// Syncs everything that was written.
    pub(super) fn sync(&self) -> Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let written = self.keeper().point.written;
        self.database.sync()?;
        let mut keeper = self.keeper();
        if keeper.point.synced.writes < written.writes {
            keeper.point.synced = written;
            let relaxed = !keeper.point.every_commit;
            keeper.keep(relaxed);
        }
        Ok(())
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `body` on the groups and stores the group's generation if it grew.
    pub(super) fn with_group<R>(
        &self,
        group: &str,
        body: impl FnOnce(&mut Groups) -> Result<R>,
    ) -> Result<R> {
        let mut groups = self.groups();
        let before = groups.generation(group);
        let result = body(&mut groups)?;
        let generation = groups.generation(group);
        if generation != before {
            let mut batch = self.database.batch();
            let row = Row::new().put(&generation.to_le_bytes()).seal();
            batch.put(GROUPS, group.as_bytes(), &row);
            // Members live in this process: what the machine's death loses, no member has seen.
            self.write_as(batch, false)?;
        }
        Ok(result)
    }

    pub(super) fn members(&self, group: &str) -> Result<Vec<String>> {
        self.check_open()?;
        let now_ms = self.env.monotonic_ms();
        self.with_group(group, |groups| Ok(groups.members(group, now_ms)))
    }

    pub(super) fn leave(&self, local: &LocalMember) {
        // There is nobody to report an error to; the member is gone anyway.
        let _ = self.with_group(&local.group, |groups| {
            groups.leave(local);
            Ok(())
        });
    }
}

/// Prepends the partition to the message.
pub(super) fn at(partition: &Partition, error: Error) -> Error {
    error.context(&partition.name)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.settings.path)
            .finish_non_exhaustive()
    }
}
