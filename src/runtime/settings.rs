//! Settings are plain data; components (log, clock, hooks) go through the builder.

use crate::task::ErrorPolicies;

/// What may be lost or repeated after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// Results and state are those of a run without the crash.
    #[default]
    ExactlyOnce,
    /// Output records may be repeated. State is that of a run without the crash, except behind a
    /// repartition topic: that is an output too, and repeated records count twice.
    AtLeastOnce,
}

/// Where committed rows live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StateBackend {
    /// In RocksDB in the state directory: a restart reads only the tail of the changelogs. The default,
    /// unless the crate is built without its feature `rocksdb`; an application then refuses it.
    #[cfg_attr(feature = "rocksdb", default)]
    RocksDb,
    /// In memory: a restart reads the changelogs from the beginning.
    #[cfg_attr(not(feature = "rocksdb"), default)]
    Memory,
}

/// What happens when input records were deleted before they were read, by retention or by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletedUnread {
    /// A warning with the numbers, and a count in [`Snapshot::deleted_unread`](super::Snapshot::deleted_unread).
    #[default]
    Continue,
    /// The application fails, and the error says what is missing. Nothing after it is processed until
    /// this is set to `Continue`.
    Fail,
}

/// The settings of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of worker threads.
    pub workers: usize,
    /// What may be lost or repeated after a crash.
    pub guarantee: Guarantee,
    /// Longest time between two commits while there is work, in milliseconds. With a backlog, commits
    /// keep this pace, so that changes to one row become one changelog record. A commit that takes longer
    /// is answered first; the next one then comes no sooner than 5 ms after the answer (1 ms on the
    /// embedded log, never more than `commit_spacing_ms`), because the log may still be busy with the
    /// last one. Full memory and tasks that end or are given back do not wait for any of this.
    pub commit_interval_ms: u64,
    /// Shortest time between two commits, in milliseconds. A worker that has caught up with its input
    /// commits before the interval ends, but no sooner than this, nor sooner than four times the duration
    /// of the last commit, so that a busy log is not overloaded. `None` uses the log's own value: 10 on
    /// Kafka, 1 on the embedded log; on a memory log, commits never come before the interval. If this
    /// equals the interval, commits come at the interval.
    pub commit_spacing_ms: Option<u64>,
    /// Memory for block cache, write buffers, caches, overlays, fetched and unwritten records of all
    /// workers together, in bytes; an embedded log's budget ([`Budget`](crate::disk::Budget)) is part of
    /// it, and so are the records in flight in a log's clients. In addition, the process needs 64 MiB and
    /// twice the largest record ([ADR 0014](../../docs/adr/0014-one-memory-number.md),
    /// [0018](../../docs/adr/0018-what-a-logs-clients-take.md)).
    pub memory_bytes: usize,
    /// What happens to records that cannot be handled.
    pub policies: ErrorPolicies,
    /// The topic for dead letters; it must exist.
    pub dead_letter_topic: Option<String>,
    /// What happens when input records were deleted before they were read.
    pub deleted_unread: DeletedUnread,
    /// What a topology may leave behind: names of stores, of nodes with timers, and of repartitions that an
    /// earlier topology of the application had. An application whose topology does not use what it has on the log
    /// refuses to start and names it. What is named here is left on the log, and this is recorded: no later start
    /// asks again. A name is meant for one change: remove it afterwards.
    pub accept_orphans: Vec<String>,
    /// Where committed rows live.
    pub state_backend: StateBackend,
    /// Maximum number of records that a task processes before the worker returns to its other duties.
    pub records_per_step: usize,
    /// Maximum time that a task processes records before the worker returns to its other duties, in
    /// milliseconds. A record that takes longer is not interrupted.
    pub step_ms: u64,
    /// Number of threads that open and restore tasks beside the workers. With 0, the workers do it
    /// between their steps, for simulations on one thread.
    pub restore_threads: usize,
    /// A process that has sent no heartbeat for this long loses its tasks, in milliseconds. Heartbeats
    /// continue while a worker is busy.
    pub session_timeout_ms: u64,
    /// A worker that has been processing one record for this long loses its tasks to the others, in
    /// milliseconds: its closure may never return. Until then its tasks wait.
    pub max_poll_interval_ms: u64,
    /// How long to wait out an outage of the log before the worker fails, in milliseconds: commits that
    /// are aborted or not answered, or a log that is unreachable. By default there is no limit
    /// (`u64::MAX`); [`Snapshot::workers`](super::Snapshot::workers) shows which worker waits, since when
    /// and why.
    pub commit_retry_ms: u64,
    /// A partition of a user's topic that has been read to its end and has been silent for this long, in
    /// milliseconds, no longer holds back the time of tasks behind a repartition topic; `None` for never.
    /// [`Consumed::idle_timeout`](crate::dsl::Consumed::idle_timeout) sets it for one source.
    pub idle_timeout_ms: Option<u64>,
    /// How far ahead of the wall clock the timestamp of a user's record may be, in milliseconds. A record
    /// further ahead fails at the decode stage, because it would make later records late; `None` accepts
    /// all.
    pub timestamp_ahead_max_ms: Option<i64>,
    /// How often records that are no longer needed are deleted from internal topics, in milliseconds.
    pub purge_interval_ms: u64,
    /// Committed rows are flushed to disk when the write buffers are full, and at the latest after this
    /// long, in milliseconds; checked at the interval of the previous setting. After a crash, a restart
    /// reads the changelog records since then.
    pub flush_interval_ms: u64,
}

impl Settings {
    /// The defaults with rows in memory: needs no state directory, and a start reads the changelogs from
    /// the beginning. For tests and small states.
    pub fn in_memory() -> Self {
        Self {
            state_backend: StateBackend::Memory,
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            guarantee: Guarantee::ExactlyOnce,
            commit_interval_ms: 100,
            commit_spacing_ms: None,
            memory_bytes: 256 << 20,
            policies: ErrorPolicies::default(),
            dead_letter_topic: None,
            deleted_unread: DeletedUnread::Continue,
            accept_orphans: Vec::new(),
            state_backend: StateBackend::default(),
            records_per_step: 1_000,
            step_ms: 5,
            restore_threads: 4,
            session_timeout_ms: 30_000,
            max_poll_interval_ms: 300_000,
            commit_retry_ms: u64::MAX,
            idle_timeout_ms: Some(10_000),
            timestamp_ahead_max_ms: Some(86_400_000),
            purge_interval_ms: 30_000,
            flush_interval_ms: 600_000,
        }
    }
}

impl Settings {
    /// These settings, with the memory that remains after the log's share; at least a quarter.
    pub(super) fn beside(mut self, log_bytes: usize) -> Self {
        let left = self.memory_bytes.saturating_sub(log_bytes);
        let least = self.memory_bytes / 4;
        if left < least {
            let memory_bytes = self.memory_bytes;
            tracing::warn!(
                memory_bytes,
                log_bytes,
                "the log takes so much memory that the application exceeds its limit: raise \
                 `memory_bytes`, or give the log a smaller budget"
            );
        }
        self.memory_bytes = left.max(least);
        self
    }

    /// The limit on fetched records for one worker, in bytes.
    pub(super) fn fetch_bytes(&self) -> usize {
        (self.memory_bytes / 32 / self.workers.max(1)).max(1 << 20)
    }

    /// The limit on records that the log has fetched for one worker but not handed over yet, in bytes.
    pub(super) fn reader_bytes(&self) -> usize {
        (self.memory_bytes / 16 / self.workers.max(1)).max(1 << 20)
    }

    /// The limit on uncommitted data of one worker, in bytes: records to be written and changed rows and,
    /// for the commit in flight, also the records of the changelogs. The log and RocksDB copy what they
    /// write, so this is counted twice in the memory number: the writer gets the same amount.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        (self.memory_bytes * 5 / 32 / self.workers.max(1)).max(1 << 20)
    }

    /// The limit on restored rows of one thread that are not written yet, in bytes; and on what the log
    /// may have fetched for it. Both use the room of tasks that are not open yet.
    pub(super) fn restore_part_bytes(&self) -> usize {
        // They are sorted from one half of it into the other.
        (self.memory_bytes / 16 / self.restore_threads.max(1)).clamp(1 << 20, 16 << 20)
    }

    /// The budget of RocksDB, in bytes.
    pub(super) fn disk_bytes(&self) -> usize {
        self.memory_bytes / 32 * 15
    }

    /// The limit on rows of global stores in memory, in bytes, if they are on a disk too. They use half of the room
    /// of clean rows.
    pub(super) fn globals_bytes(&self) -> usize {
        self.memory_bytes / 16
    }

    /// The limit on clean rows of one of the tasks, in bytes.
    pub(super) fn cache_bytes(&self, tasks: usize, has_globals: bool) -> usize {
        let globals_bytes = if has_globals { self.globals_bytes() } else { 0 };
        (self.memory_bytes / 8 - globals_bytes) / tasks.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_memory_is_a_part_of_the_number() {
        let left = |number: usize, log: usize| {
            let settings = Settings {
                memory_bytes: number << 20,
                ..Settings::default()
            };
            settings.beside(log << 20).memory_bytes >> 20
        };
        assert_eq!(left(256, 0), 256);
        assert_eq!(left(256, 64), 192);
        assert_eq!(left(64, 64), 16, "at least a quarter");
    }

    #[test]
    fn the_parts_of_the_number_are_not_more_than_it_is() {
        for workers in [1, 2, 8] {
            let settings = Settings {
                workers,
                memory_bytes: 512 << 20,
                ..Settings::default()
            };
            // Uncommitted data briefly exists twice.
            let fetched = settings.fetch_bytes() + settings.reader_bytes();
            let each = fetched + 2 * settings.uncommitted_bytes();
            let all = settings.disk_bytes() + settings.cache_bytes(1, false) + workers * each;
            assert!(all <= settings.memory_bytes, "{workers}: {all}");
        }
    }
}
