//! Which log an address refers to.

use std::sync::Arc;

#[cfg(feature = "kafka")]
use super::KafkaLog;
#[cfg(feature = "rocksdb")]
use super::embedded::{EmbeddedLog, Fsync, Settings};
use super::redacted::shown;
use super::{Log, MemoryLog};
use crate::base::{Env, Error, Result, SystemEnv};
use crate::disk::Budget;

/// What [`open`] needs besides the address.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Clock, randomness and threads.
    pub env: Arc<dyn Env>,
    /// The source of an embedded log's memory.
    pub budget: Budget,
    /// When an embedded log's commits are synced to disk.
    #[cfg(feature = "rocksdb")]
    pub fsync: Fsync,
    /// See [`Settings::quota_bytes`].
    #[cfg(feature = "rocksdb")]
    pub quota_bytes: Option<u64>,
}

/// The memory of an embedded log that is opened without options, in bytes.
const BUDGET_BYTES: usize = 64 << 20;

impl Default for OpenOptions {
    /// The system clock, 64 MiB for an embedded log, one fsync per commit.
    fn default() -> Self {
        Self::new(SystemEnv::shared(), Budget::new(BUDGET_BYTES))
    }
}

impl OpenOptions {
    /// The defaults: one fsync per commit, no quota.
    pub fn new(env: Arc<dyn Env>, budget: Budget) -> Self {
        Self {
            env,
            budget,
            #[cfg(feature = "rocksdb")]
            fsync: Fsync::default(),
            #[cfg(feature = "rocksdb")]
            quota_bytes: None,
        }
    }
}

/// Opens the log that `url` names: `memory:` (lost with the process), `embedded:DIRECTORY` or
/// `kafka://HOST:PORT` (see [`KafkaLog::connect`]).
///
/// # Errors
/// `Invalid` if the address names no log; else as [`EmbeddedLog::open`] and [`KafkaLog::connect`].
pub fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn Log>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match (scheme, rest) {
        ("memory", "") => Ok(Arc::new(MemoryLog::new(Arc::clone(&options.env)))),
        ("embedded", "") => Err(Error::invalid(
            "embedded: needs a directory, for example embedded:./log",
        )),
        #[cfg(feature = "rocksdb")]
        ("embedded", path) => {
            let settings = Settings {
                fsync: options.fsync,
                quota_bytes: options.quota_bytes,
                ..Settings::new(path, options.budget.clone())
            };
            Ok(Arc::new(EmbeddedLog::open(
                settings,
                Arc::clone(&options.env),
            )?))
        }
        #[cfg(feature = "kafka")]
        ("kafka", _) => Ok(Arc::new(KafkaLog::connect(url, Arc::clone(&options.env))?)),
        #[cfg(not(feature = "rocksdb"))]
        ("embedded", _) => Err(not_built("embedded", "rocksdb")),
        #[cfg(not(feature = "kafka"))]
        ("kafka", _) => Err(not_built("kafka", "kafka")),
        _ => Err(Error::invalid(format!(
            "{:?} is not the address of a log; use kafka://HOST:PORT, embedded:DIRECTORY or memory:",
            shown(url)
        ))),
    }
}

#[cfg(not(all(feature = "rocksdb", feature = "kafka")))]
fn not_built(scheme: &str, feature: &str) -> Error {
    Error::invalid(format!(
        "{scheme}: is not part of this build; build marea with the feature `{feature}`"
    ))
}

#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests {
    use super::*;
    use crate::base::ErrorKind;
    use crate::log::TopicSpec;

    #[test]
    fn an_address_opens_its_log_or_says_what_it_can_be() {
        let options = OpenOptions::new(SystemEnv::shared(), Budget::new(8 << 20));
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("embedded:{}", directory.path().join("log").display());
        for (url, kept) in [("memory:", false), (url.as_str(), true)] {
            let log = open(url, &options).expect("opens");
            log.create_topics(&[TopicSpec::new("t", 1)])
                .expect("created");
            drop(log);
            let log = open(url, &options).expect("opens again");
            assert_eq!(log.topic("t").expect("known").is_some(), kept, "{url}");
        }
        for url in ["", "memory:x", "embedded:", "/tmp/log"] {
            let error = open(url, &options).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("embedded:"), "{error}");
        }
    }
}
