//! The settings of each kind of client.

use std::error::Error as StdError;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;

use super::address::Address;
use super::settings::hidden;
use super::tokens::Tokens;
use crate::base::{Error, Result};

/// How long a transaction may be open before the brokers abort it, in milliseconds, unless the user's settings
/// say otherwise.
const TRANSACTION_MS: u64 = 60_000;
/// The name of that setting.
const TRANSACTION_SETTING: &str = "transaction.timeout.ms";

impl Address {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "marea");
        // A broker that died is retried soon, and one that hangs is not waited for.
        config.set("reconnect.backoff.ms", "20");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("socket.connection.setup.timeout.ms", "5000");
        config.set("socket.nagle.disable", "true");
        config.set("allow.auto.create.topics", "false");
        let debugs = self.settings.iter().any(|(name, _)| name == "debug");
        config.set_log_level(match debugs {
            true => RDKafkaLogLevel::Debug,
            false => RDKafkaLogLevel::Warning,
        });
        self.apply(config)
    }

    /// The user's settings come last; those that must not change are refused when they are read.
    fn apply(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.settings {
            config.set(name, value.reveal());
        }
        config
    }

    /// For requests: metadata, settings, topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.base()
    }

    /// For requests about a group. Never subscribes, so it is not a member.
    pub(super) fn group(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config
    }

    /// For a group's committed offsets, even if open transactions may change them.
    pub(super) fn group_as_it_stands(&self, group: &str) -> ClientConfig {
        let mut config = self.group(group);
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// Fetching ahead uses about this many bytes: half of them for waiting records, with a limit on their
    /// number if they are small, an eighth for the answer of each broker.
    pub(super) fn reader(&self, bytes: usize) -> ClientConfig {
        let bytes = bytes.max(READER_BYTES_MIN);
        let answer_bytes = (bytes / 8).max(ANSWER_BYTES_MIN).to_string();
        let mut config = self.base();
        // The client requires one to assign partitions manually; nothing is ever committed under it.
        config.set("group.id", "marea-reader");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        // Nothing is skipped silently: the reader is told, finds out why, and reports it.
        config.set("auto.offset.reset", "error");
        config.set(
            "queued.max.messages.kbytes",
            (bytes / 2 / 1_000).to_string(),
        );
        config.set(
            "queued.min.messages",
            (bytes / 2 / FETCHED_BYTES).to_string(),
        );
        config.set("fetch.message.max.bytes", &answer_bytes);
        if !self.sets_fetches() {
            config.set("fetch.max.bytes", &answer_bytes);
        }
        // With the default of one second, a queue that was briefly full idles for the rest of it.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.error.backoff.ms", "50");
        // A partition that is assigned or resumed waits for the fetch in progress.
        config.set("fetch.wait.max.ms", "50");
        config.set("check.crcs", "true");
        let mut config = self.apply(config);
        if !self.sets_fetches() {
            // Applies to writing records. The client requires it to be no larger than the fetch size.
            config.set("message.max.bytes", "1000");
        }
        config
    }

    /// Whether the user's settings say how much is fetched at once.
    fn sets_fetches(&self) -> bool {
        self.value(&["fetch.max.bytes"]).is_some()
    }

    /// How long a transaction may be open before the brokers abort it, in milliseconds.
    pub(super) fn transaction_ms(&self) -> u64 {
        // A value that is not a number is refused when the first client is made.
        let set = self.value(&[TRANSACTION_SETTING]);
        set.and_then(|set| set.trim().parse().ok())
            .unwrap_or(TRANSACTION_MS)
    }

    /// The queue of copies uses about this many bytes.
    pub(super) fn writer(&self, id: &str, bytes: usize) -> ClientConfig {
        let queue_bytes = bytes.max(QUEUE_BYTES_MIN);
        let messages = (bytes / QUEUED_BYTES).max(QUEUED_MESSAGES_MIN);
        let mut config = self.base();
        config.set("transactional.id", id);
        // Records not delivered by then belong to a transaction that is over.
        let transaction_ms = self.transaction_ms().to_string();
        config.set(TRANSACTION_SETTING, &transaction_ms);
        config.set("delivery.timeout.ms", &transaction_ms);
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "2");
        // A transaction that begins while the brokers still finish the last one is refused, and tried
        // again after this time. They need some milliseconds; 100, the default, is most of a commit.
        config.set("retry.backoff.ms", "10");
        config.set("batch.size", BATCH_BYTES.to_string());
        // The brokers know each topic's limit; this one must only not interfere.
        config.set("message.max.bytes", "1000000000");
        config.set(
            "queue.buffering.max.kbytes",
            (queue_bytes / 1_024).to_string(),
        );
        config.set("queue.buffering.max.messages", messages.to_string());
        config.set("compression.type", "lz4");
        self.apply(config)
    }

    pub(super) fn member(
        &self,
        group: &str,
        member: &str,
        session_ms: u64,
        id: &str,
    ) -> ClientConfig {
        let mut config = self.group(group);
        // Brokers refuse less than six seconds by default; silence of the worker is watched here anyway.
        let session_ms = session_ms.max(6_000);
        config.set("client.id", id);
        config.set("group.instance.id", member);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", session_ms.to_string());
        config.set(
            "heartbeat.interval.ms",
            (session_ms / 6).min(500).to_string(),
        );
        config.set("max.poll.interval.ms", session_ms.max(60_000).to_string());
        config.set("auto.offset.reset", "latest");
        self.apply(config)
    }
}

/// The minimum for which a reader is made, in bytes.
const READER_BYTES_MIN: usize = 1 << 20;
/// The minimum that is fetched at once, in bytes: an answer for every few records would cost more than it
/// saves. A larger batch is returned whole.
const ANSWER_BYTES_MIN: usize = 256 << 10;
/// The memory of a small fetched record, including the client's overhead, in bytes.
const FETCHED_BYTES: usize = 512;

/// The minimum size of a writer's queue, in bytes: a record larger than the queue never gets into it. A
/// caller has no more records than the memory number anyway, except for one larger record.
const QUEUE_BYTES_MIN: usize = 16 << 20;
/// The memory of a small record in the queue, including the client's overhead, in bytes.
const QUEUED_BYTES: usize = 384;
const QUEUED_MESSAGES_MIN: usize = 1_000;

/// How many bytes the client puts into one batch of a partition. Topics that accept less are flushed more
/// often.
pub(super) const BATCH_BYTES: usize = 1_000_000;

/// Forwards the client library's log to the application's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    tokens: Tokens,
}

impl Quiet {
    pub(super) fn new(address: &Address) -> Self {
        let tokens = address.tokens.clone();
        Self { tokens }
    }
}

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        self.tokens.for_client()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Quiet {}

pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "{message}");
        }
        // To the library, lost connections are errors; to us, a failed request is an error, if there is
        // one.
        _ => tracing::debug!(facility, "{message}"),
    }
}

pub(super) type Consumer = BaseConsumer<Quiet>;

pub(super) fn consumer(address: &Address, config: &ClientConfig) -> Result<Consumer> {
    let made = config.create_with_context(Quiet::new(address));
    let made: Consumer = made.map_err(not_made)?;
    address.tokens.give(made.client())?;
    Ok(made)
}

/// The error for a client that could not be made: a setting is wrong.
pub(super) fn not_made(cause: KafkaError) -> Error {
    // The library's message quotes the value.
    let said = match &cause {
        KafkaError::ClientConfig(_, said, name, value) => {
            let said = said.replace(&format!("\"{value}\""), "it");
            format!("{name}: {}", hidden(&said, &[value]))
        }
        KafkaError::ClientCreation(said) => said.clone(),
        other => other.to_string(),
    };
    Error::invalid(format!("the Kafka client rejects its settings: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(config: &ClientConfig, name: &str) -> usize {
        let value = config.get(name);
        let value = value.unwrap_or_else(|| panic!("{name} is not set"));
        value.parse().expect("a number")
    }

    fn address(settings: &str) -> Address {
        Address::parse(&format!("kafka://a:1{settings}")).expect("good")
    }

    #[test]
    fn what_a_reader_fetches_ahead_is_of_its_number() {
        for bytes in [2 << 20, 8 << 20, 100 << 20] {
            let config = address("").reader(bytes);
            let waiting = number(&config, "queued.max.messages.kbytes") * 1_000;
            let fetched = number(&config, "fetch.max.bytes");
            assert!(waiting + fetched <= bytes, "{bytes}: {waiting} {fetched}");
            assert!(waiting + fetched >= bytes / 2, "{bytes}: all of it is used");
            assert!(number(&config, "queued.min.messages") * FETCHED_BYTES <= bytes / 2);
            assert!(number(&config, "fetch.message.max.bytes") <= fetched);
            assert!(
                consumer(&address(""), &config).is_ok(),
                "the client takes it"
            );
        }
    }

    #[test]
    fn what_a_writer_copies_is_of_its_number() {
        for bytes in [16 << 20, 100 << 20] {
            let config = address("").writer("w", bytes);
            let queued = number(&config, "queue.buffering.max.kbytes") * 1_024;
            assert!(queued <= bytes && queued >= bytes / 2, "{bytes}: {queued}");
            let messages = number(&config, "queue.buffering.max.messages");
            assert!(messages * QUEUED_BYTES <= bytes, "{bytes}: {messages}");
        }
    }

    /// A client with almost no memory works too: it accepts the settings, and a large record fits.
    #[test]
    fn the_least_is_enough_for_a_record() {
        let address = address("");
        let config = address.reader(0);
        assert!(consumer(&address, &config).is_ok(), "the client takes it");
        let config = address.writer("w", 0);
        assert!(number(&config, "queue.buffering.max.kbytes") >= 16 << 10);
        assert!(number(&config, "queue.buffering.max.messages") > 0);
    }

    #[test]
    fn what_the_user_sets_holds() {
        let set = [
            ("queued.max.messages.kbytes", 77_777),
            ("queued.min.messages", 77),
            ("fetch.max.bytes", 7_777_777),
            ("fetch.message.max.bytes", 777_777),
            ("message.max.bytes", 2_000_000),
            ("queue.buffering.max.kbytes", 7_777),
            ("queue.buffering.max.messages", 777),
        ];
        let settings: Vec<String> = set
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let address = address(&format!("?{}", settings.join("&")));
        let (reader, writer) = (address.reader(4 << 20), address.writer("w", 4 << 20));
        for (name, value) in set {
            assert_eq!(number(&reader, name), value, "{name}");
            assert_eq!(number(&writer, name), value, "{name}");
        }
        assert!(consumer(&address, &reader).is_ok(), "the client takes it");
    }

    /// Settings for writing records must not prevent a reader from being made.
    #[test]
    fn large_records_that_are_written_change_no_reader() {
        let address = address("?message.max.bytes=50000000");
        let reader = address.reader(4 << 20);
        assert_eq!(number(&reader, "fetch.max.bytes"), 512 << 10);
        assert!(consumer(&address, &reader).is_ok(), "the client takes it");
    }
}
