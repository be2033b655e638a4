//! The log itself: opening, closing, and the `Log` trait.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::settings::Settings;
use super::shared::Shared;
use super::writer::{EmbeddedMember, EmbeddedWriter};
use super::{committer, housekeeping, opening};
use crate::base::{Env, Error, Offset, Result, Thread, TopicPartition};
use crate::log::turns::{Source as _, TurnReader};
use crate::log::{
    CommittedOffset, Isolation, JoinRequest, Log, Membership, Reader, Staged, TopicSpec, Writer,
};

/// A durable log in a directory, used only by this process. Dropping it closes it.
pub struct EmbeddedLog {
    pub(super) shared: Arc<Shared>,
    /// Committer and housekeeping, until closed.
    threads: Mutex<Vec<Thread>>,
}

/// What an [`EmbeddedLog`] has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How often the disk was told to sync.
    pub syncs: u64,
    /// Number of commits.
    pub commits: u64,
    /// Number of writes to RocksDB; smaller than the number of commits if commits were merged.
    pub writes: u64,
    /// Size of the batches appended, in bytes.
    pub bytes_appended: u64,
    /// Size of all batches stored now, in bytes; what the quota limits.
    pub bytes_stored: u64,
}

impl EmbeddedLog {
    /// Opens the log, creating it if there is none. After the death of a machine that used relaxed fsync,
    /// the last commits may be missing, but none that was synced; a warning reports this.
    ///
    /// # Errors
    /// `Unavailable` while another process or another handle has it open; `Invalid` if the directory is
    /// not writable; `Full` if the disk is; `Corrupt` if it is damaged (see [`EmbeddedLog::repair`]) or
    /// of a newer format.
    pub fn open(settings: Settings, env: Arc<dyn Env>) -> Result<Self> {
        let opened = opening::open(&settings, &*env)?;
        let place = settings.path.display().to_string();
        let shared = Shared::load(settings, Arc::clone(&env), opened)
            .map_err(|error| error.context(format_args!("opening the log in {place}")))?;
        let log = Self {
            shared,
            threads: Mutex::default(),
        };
        let of = Arc::clone(&log.shared);
        log.own(env.spawn("log-committer", Box::new(move || committer::run(of)))?);
        let of = Arc::clone(&log.shared);
        log.own(env.spawn("log-housekeeping", Box::new(move || housekeeping::run(of)))?);
        Ok(log)
    }

    fn own(&self, thread: Thread) {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }

    /// Finishes the waiting commits, writes them to disk according to the policy, and ends the threads.
    /// Readers and writers then answer `Closed`; the directory is free for others when they are dropped
    /// too. Closing again does nothing.
    ///
    /// # Errors
    /// `Internal` if a thread panicked; `Full`, `Unavailable` or `Corrupt` if the last sync failed, so
    /// that acknowledged commits may not survive a power failure.
    pub fn close(&self) -> Result<()> {
        self.shared.close_queue();
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.closing.raise();
        self.shared.signal.raise();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sound = true;
        for thread in threads.drain(..) {
            sound &= thread.join();
        }
        if !sound {
            return Err(Error::internal(
                "a thread of the embedded log panicked; its message is on standard error",
            ));
        }
        let failed = self.shared.sync_failed.lock();
        match failed.unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.context("the last commits of the log may not be on the disk")),
            None => Ok(()),
        }
    }

    /// Applies retention and compacts every compacted topic now, even if little would be gained.
    ///
    /// # Errors
    /// `Corrupt` if a batch is damaged; others as for commits. The first error of all partitions.
    pub fn clean_now(&self) -> Result<()> {
        housekeeping::clean(&self.shared, housekeeping::Worth::Anything)
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        Stats {
            syncs: shared.syncs.load(Ordering::Relaxed),
            commits: shared.commits.load(Ordering::Relaxed),
            writes: shared.writes.load(Ordering::Relaxed),
            bytes_appended: shared.bytes_appended.load(Ordering::Relaxed),
            bytes_stored: shared.writing().bytes,
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
    }
}

impl Log for EmbeddedLog {
    fn incarnation(&self) -> u128 {
        self.shared.incarnation
    }

    fn memory_bytes(&self) -> usize {
        self.shared.settings.budget.bytes()
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.shared.create_topics(topics)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        Ok(self
            .shared
            .topics()
            .get(name)
            .map(|topic| topic.spec.clone()))
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        Ok(self
            .shared
            .topics()
            .keys()
            .map(ToString::to_string)
            .collect())
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.shared.delete_topics(names)
    }

    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.shared.find(partition)?.1.row().start)
    }

    fn end_offset(&self, partition: &TopicPartition, _: Isolation) -> Result<Offset> {
        self.shared.end(partition)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.shared.delete_records(before)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        // Waits for the commit that is being written: see the module documentation.
        let writing = self.shared.writing();
        let offsets = writing.offsets.get(group);
        let one = |name| {
            let (_, partition) = self.shared.find(name).ok()?;
            offsets?.get(&partition.place).cloned()
        };
        Ok(partitions.iter().map(one).collect())
    }

    fn members(&self, group: &str) -> Result<Option<Vec<String>>> {
        self.shared.members(group).map(Some)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.shared.delete_group(group)
    }

    fn reader(&self, _bytes: usize) -> Result<Box<dyn Reader>> {
        self.shared.check_open()?;
        Ok(Box::new(TurnReader::new(Arc::clone(&self.shared))))
    }

    fn writer(&self, id: &str, _bytes: usize) -> Result<Box<dyn Writer>> {
        self.shared.check_open()?;
        // Under the lock: what the previous holder has in flight is either done or will be refused.
        let mut writing = self.shared.writing();
        let opened = writing.writers.entry(id.to_owned()).or_default();
        *opened += 1;
        Ok(Box::new(EmbeddedWriter {
            shared: Arc::clone(&self.shared),
            id: id.to_owned(),
            opened: *opened,
            answer: None,
            staged: Staged::default(),
        }))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        self.shared.check_open()?;
        let now_ms = self.shared.env.monotonic_ms();
        let local = self
            .shared
            .with_group(&request.group, |groups| groups.join(&request, now_ms))?;
        Ok(Box::new(EmbeddedMember {
            shared: Arc::clone(&self.shared),
            local,
        }))
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedLog")
            .field(&self.shared.settings.path)
            .finish()
    }
}
