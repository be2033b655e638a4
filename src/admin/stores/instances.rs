//! Which instance has which task: a compacted topic, `APPLICATION-instances`, of one partition.
//!
//! ```text
//!  key    the task, as `counts_3`
//!  value  {"url": "http://10.1.2.3:8080"}     the address of the instance that opened it last
//! ```
//!
//! 1. An instance checks which tasks it has open (`Instances::tell`), ten times a second, and sends the log no
//!    request while they stay the same.
//! 2. When they change, and every few seconds, it reads what is new on the topic, and writes its address for each
//!    of its tasks that is recorded as being elsewhere.
//! 3. An instance that is asked about a task it does not have reads what is new on the topic (`Instances::owner`).
//!    Questions share one reading: while the log does not answer, one thread waits for it, not one per question.
//!
//! Nobody relies on the topic for correctness. An address may be outdated: the instance there checks its own tasks
//! and says so. One that was written late, over that of the next owner, is corrected by that owner in step 2.
//! There is one row per task, so that instances that are gone leave nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

use super::url::Url;
use crate::admin::Refusal;
use crate::admin::blocking::blocking;
use crate::admin::records::{deliver, each_record};
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition, murmur2};
use crate::log::{BatchBuilder, Cleanup, Commit, CommitError, Isolation, Log, TopicSpec};
use crate::runtime::{Handle, instances_topic};

/// How often an instance checks its own tasks.
const PACE: Duration = Duration::from_millis(100);
/// How often it checks the topic although nothing changed, in milliseconds.
const CHECK_MS: u64 = 5_000;
/// How long to wait for the outcome of a commit, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// How long a question waits for the topic to be read.
const LOOKING: Duration = Duration::from_secs(5);
/// How old the knowledge of other instances may be, in milliseconds; a failed reading is not repeated for as long.
const RECENT_MS: u64 = 200;
/// What the writer may keep of a commit, in bytes: commits are small.
const WRITER_BYTES: usize = 0;

/// The instances of an application, according to their topic.
pub(super) struct Instances {
    handle: Handle,
    /// The address of this one.
    own: Option<Url>,
    /// Asynchronous, so that questions whose client has gone leave its queue. It is held while the topic is read.
    told: Arc<AsyncMutex<Told>>,
    telling: Mutex<Telling>,
}

/// What the topic says.
#[derive(Default)]
struct Told {
    owners: BTreeMap<String, String>,
    read_to: Offset,
    looked: Option<Looked>,
}

/// The last reading of the topic for a question, by the monotonic clock, in milliseconds.
struct Looked {
    began_ms: u64,
    ended_ms: u64,
    failure: Option<Refusal>,
}

/// How fresh the knowledge of other instances has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// At most a moment old: many questions share one reading.
    Recent,
    /// From a reading that began after the question was asked.
    New,
}

/// What this instance has recorded.
#[derive(Default)]
struct Telling {
    tasks: Vec<TaskId>,
    check_at_ms: u64,
    is_created: bool,
}

impl Instances {
    /// Begins to record which tasks this instance has, if it has an address; until the last reference, or the
    /// application, is gone.
    pub(super) fn begin(handle: Handle, own: Option<Url>) -> Arc<Self> {
        let env = Arc::clone(handle.env());
        let tells = own.is_some();
        let instances = Arc::new(Self {
            handle,
            own,
            told: Arc::default(),
            telling: Mutex::default(),
        });
        if tells {
            let weak = Arc::downgrade(&instances);
            let body = {
                let env = Arc::clone(&env);
                move || {
                    while goes_on(&weak) {
                        env.sleep(PACE);
                    }
                }
            };
            // It ends by itself, so nobody needs to hold it.
            if let Err(error) = env.spawn("marea-instances", Box::new(body)) {
                tracing::error!(%error, "other instances will not learn which tasks this one has");
            }
        }
        instances
    }

    /// The address of the instance that opened the task last, as far as it is recorded.
    ///
    /// # Errors
    /// Those of the log, also of a reading a moment ago; `Unavailable` if the log does not answer in time.
    pub(super) async fn owner(
        &self,
        task: &TaskId,
        freshness: Freshness,
    ) -> Result<Option<String>, Refusal> {
        let owner = timeout(LOOKING, self.look(task, freshness)).await;
        owner.unwrap_or_else(|_| {
            let message = "the log does not answer where tasks are; try again";
            Err(Error::new(ErrorKind::Unavailable, message).into())
        })
    }

    async fn look(&self, task: &TaskId, freshness: Freshness) -> Result<Option<String>, Refusal> {
        let env = Arc::clone(self.handle.env());
        let asked_ms = env.monotonic_ms();
        let mut told = Arc::clone(&self.told).lock_owned().await;
        let looked = told.looked.as_ref();
        if !looked.is_some_and(|looked| looked.is_enough(asked_ms, env.monotonic_ms(), freshness)) {
            let (log, place) = (self.handle.log()?, self.place());
            // It takes the lock along: if the client goes in the meantime, nobody starts another reading beside it.
            let read = move || {
                let began_ms = env.monotonic_ms();
                let failure = told.read(&*log, &place).err().map(Refusal::from);
                let ended_ms = env.monotonic_ms();
                told.looked = Some(Looked {
                    began_ms,
                    ended_ms,
                    failure,
                });
                Ok(told)
            };
            told = blocking(read).await?;
        }
        match told
            .looked
            .as_ref()
            .and_then(|looked| looked.failure.clone())
        {
            Some(failure) => Err(failure),
            None => Ok(told.owners.get(&task.to_string()).cloned()),
        }
    }

    /// Whether an address is this instance's.
    pub(super) fn is_own(&self, url: &str) -> bool {
        self.own.as_ref().is_some_and(|own| own.text() == url)
    }

    fn place(&self) -> TopicPartition {
        let application = &self.handle.about().application;
        TopicPartition::new(instances_topic(application), 0)
    }

    /// Steps 1 and 2.
    fn tell(&self) -> Result<()> {
        let Some(own) = &self.own else {
            return Ok(());
        };
        let tasks = self.handle.queries()?.tasks();
        let now_ms = self.handle.env().monotonic_ms();
        let mut telling = lock(&self.telling);
        if tasks == telling.tasks && now_ms < telling.check_at_ms {
            return Ok(());
        }
        let log = self.handle.log()?;
        let place = self.place();
        // After a failure the topic may be gone, and is created again.
        if !std::mem::take(&mut telling.is_created) {
            let topic = TopicSpec::new(&*place.topic, 1).with_cleanup(Cleanup::Compact);
            let topics = [topic];
            log.create_topics(&topics)?;
            log.check_topics(&topics)?;
        }
        let unknown: Vec<String> = {
            let mut told = self.told.blocking_lock();
            told.read(&*log, &place)?;
            let names = tasks.iter().map(ToString::to_string);
            let unknown =
                |task: &String| told.owners.get(task).map(String::as_str) != Some(own.text());
            names.filter(unknown).collect()
        };
        if !unknown.is_empty() {
            self.write(&*log, place, &unknown, own)?;
        }
        telling.is_created = true;
        telling.tasks = tasks;
        telling.check_at_ms = now_ms.saturating_add(CHECK_MS);
        Ok(())
    }

    fn write(
        &self,
        log: &dyn Log,
        place: TopicPartition,
        tasks: &[String],
        own: &Url,
    ) -> Result<()> {
        let env = self.handle.env();
        let mut batch = BatchBuilder::default();
        let value = json!({ "url": own.text() }).to_string();
        for task in tasks {
            let (key, value) = (task.as_bytes(), value.as_bytes());
            batch.push(Some(key), Some(value), env.wall_ms(), &[]);
        }
        let batch = batch.seal();
        let batch = batch.ok_or_else(|| Error::internal("a batch of tasks is empty"))?;
        let commit = Commit {
            appends: vec![(place, batch)],
            group: None,
        };
        // Used by this address alone, and the same after a restart; closed again, since tasks seldom move.
        let application = &self.handle.about().application;
        let id = format!(
            "{application}-instances-{:08x}",
            murmur2(own.text().as_bytes())
        );
        let mut writer = log.writer(&id, WRITER_BYTES)?;
        // After a failure the topic is read again, and the row written again if it is not there.
        let delivered = deliver(&mut *writer, commit, &**env, PATIENCE_MS);
        delivered.map_err(CommitError::into_error)
    }
}

impl Looked {
    fn is_enough(&self, asked_ms: u64, now_ms: u64, freshness: Freshness) -> bool {
        let is_recent = |at_ms: u64| now_ms.saturating_sub(at_ms) < RECENT_MS;
        match (&self.failure, freshness) {
            (Some(_), _) => is_recent(self.ended_ms),
            (None, Freshness::Recent) => is_recent(self.began_ms),
            (None, Freshness::New) => self.began_ms > asked_ms,
        }
    }
}

impl Told {
    fn forget(&mut self) {
        self.owners.clear();
        self.read_to = 0;
    }

    /// Reads what is new.
    fn read(&mut self, log: &dyn Log, place: &TopicPartition) -> Result<()> {
        if log.topic(&place.topic)?.is_none() {
            self.forget();
            return Ok(());
        }
        let end = log.end_offset(place, Isolation::ReadCommitted)?;
        if end < self.read_to {
            // The topic was deleted and created again.
            self.forget();
        }
        if end == self.read_to {
            return Ok(());
        }
        let owners = &mut self.owners;
        each_record(log, place, self.read_to, end, &mut |record| {
            let task = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
            let url = record.value.and_then(|value| {
                let value: Value = serde_json::from_slice(value).ok()?;
                Some(value.get("url")?.as_str()?.to_owned())
            });
            match url {
                Some(url) => owners.insert(task, url),
                None => owners.remove(&task),
            };
            Ok(())
        })?;
        self.read_to = end;
        Ok(())
    }
}

/// Records what has changed; `false` once nobody needs it any more.
fn goes_on(instances: &Weak<Instances>) -> bool {
    let Some(instances) = instances.upgrade() else {
        return false;
    };
    match instances.tell() {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::Closed => false,
        Err(error) => {
            tracing::warn!(%error, "the tasks of this instance could not be announced; trying again");
            // Not ten times a second.
            instances.handle.env().sleep(PACE * 10);
            true
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
