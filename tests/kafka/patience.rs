//! Requests that are repeated while brokers do not answer: on a busy machine, one that works may take seconds, and a
//! log then says "unavailable" or "unknown", as it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{Offset, SystemEnv, TopicPartition};
use marea::log::{KafkaLog, Log, Reader};
use marea::{ErrorKind, Result};

pub use crate::committing::{LONG, commit, outcome};

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
