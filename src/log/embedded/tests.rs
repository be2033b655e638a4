//! The conformance suite, and what only a log on disk can get wrong.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{EmbeddedLog, Settings};
use crate::base::{Env, ManualEnv, Offset, TopicPartition};
use crate::disk::Budget;
use crate::log::{Batch, BatchBuilder, Commit, CommitError, Log, Receipt};

mod cleaning;
mod damage;
mod durability;
mod ending;
mod heard;
mod model;
mod power;
mod waiting;

thread_local! {
    /// Each test runs on a thread of its own, and its directories go when the thread ends.
    static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
}

fn directory() -> PathBuf {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    DIRECTORIES.with_borrow_mut(|directories| directories.push(directory));
    path
}

fn fresh(env: Arc<ManualEnv>) -> Arc<dyn Log> {
    Arc::new(open(&directory(), env))
}

fn settings(path: &Path) -> Settings {
    Settings::new(path, Budget::new(16 << 20))
}

/// An interval of housekeeping that does not pass. The thread goes by real time, also where the log has
/// its own clock: a test that takes its steps itself must not depend on how long they last.
const NEVER_MS: u64 = u32::MAX as u64;

fn open(path: &Path, env: Arc<dyn Env>) -> EmbeddedLog {
    EmbeddedLog::open(settings(path), env).expect("opens")
}

mod conformance {
    crate::log_conformance!(super::fresh);
}

/// The same with next to no tail, so that readers go to RocksDB.
mod conformance_from_disk {
    use super::*;

    fn fresh(env: Arc<ManualEnv>) -> Arc<dyn Log> {
        let settings = Settings {
            tail_bytes: 0,
            ..settings(&directory())
        };
        Arc::new(EmbeddedLog::open(settings, env).expect("opens"))
    }

    crate::log_conformance!(fresh);
}

/// Longer than anything takes, on a disk that is slow to sync.
const LONG: Duration = Duration::from_secs(120);

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// One batch of records; `None` is a null.
fn batch(records: &[(Option<&str>, Option<&str>)]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        builder.push(key.map(str::as_bytes), value.map(str::as_bytes), 1, &[]);
    }
    builder.seal().expect("records")
}

fn commit(log: &dyn Log, commit: Commit) -> Result<Receipt, CommitError> {
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    writer.submit(commit)?;
    Ok(writer.poll(LONG)?.expect("an answer in time"))
}

fn append(log: &dyn Log, records: &[(Option<&str>, Option<&str>)]) -> Result<Receipt, CommitError> {
    let appends = vec![(at(0), batch(records))];
    commit(
        log,
        Commit {
            appends,
            group: None,
        },
    )
}

/// Offset, key, value of what partition 0 holds from `position` on.
fn read(log: &dyn Log, position: Offset) -> Vec<(Offset, Option<String>, Option<String>)> {
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at(0), position)]).expect("assigned");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut records = Vec::new();
    loop {
        let fetched = reader.poll(usize::MAX, Duration::ZERO).expect("readable");
        if fetched.is_empty() {
            return records;
        }
        for fetched in fetched {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                if record.offset >= fetched.position {
                    let (key, value) = (record.key.map(text), record.value.map(text));
                    records.push((record.offset, key, value));
                }
            }
        }
    }
}

/// Waits for a condition that another thread brings about; whether it came to hold.
fn eventually(env: &dyn Env, mut holds: impl FnMut() -> bool) -> bool {
    let until_ms = env.monotonic_ms() + LONG.as_millis() as u64;
    while !holds() {
        if env.monotonic_ms() > until_ms {
            return false;
        }
        env.sleep(Duration::from_millis(5));
    }
    true
}
