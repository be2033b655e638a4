//! Requests that are repeated while brokers do not answer: on a busy machine, one that works may take seconds, and a
//! log then says "unavailable" or "unknown", as it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{Offset, SystemEnv, TopicPartition};
use marea::log::{Commit, CommitError, KafkaLog, Log, Reader, Receipt, Writer};
use marea::{ErrorKind, Result};

/// Longer than brokers that work take for anything: only bounds a hang.
pub const LONG: Duration = Duration::from_secs(120);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Repeats a request until there is an answer.
///
/// # Panics
/// If it is refused.
pub fn insist<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> T {
    let until = Instant::now() + LONG;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => {
                let may_pass = error.kind() == ErrorKind::Unavailable && Instant::now() < until;
                assert!(may_pass, "{what}: {error}");
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// A log on the brokers of this URL.
pub fn connected(url: &str) -> Arc<dyn Log> {
    let connect = || KafkaLog::connect(url, SystemEnv::shared());
    Arc::new(insist("the first contact", connect))
}

pub fn assign(reader: &mut dyn Reader, positions: &[(TopicPartition, Offset)]) {
    insist("an assignment", || reader.assign(positions));
}

pub fn update(reader: &mut dyn Reader, positions: &[(TopicPartition, Offset)]) {
    insist("an update", || reader.update(positions));
}

/// The definite outcome of a commit.
pub fn outcome(
    writer: &mut dyn Writer,
    commit: Commit,
) -> std::result::Result<Receipt, CommitError> {
    writer.submit(commit)?;
    let until = Instant::now() + LONG;
    loop {
        match writer.poll(Duration::from_secs(1)) {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) | Err(CommitError::Unknown(_)) => {
                assert!(Instant::now() < until, "a commit has no outcome");
            }
            Err(error) => return Err(error),
        }
    }
}

/// Commits, and repeats what was rolled back because the brokers were slow.
///
/// # Panics
/// If the commit is refused.
pub fn commit(writer: &mut dyn Writer, commit: Commit) {
    insist("a commit", || {
        match outcome(writer, commit.clone()) {
            Ok(_) => Ok(()),
            // Nothing of it has happened.
            Err(CommitError::Aborted(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    });
}
