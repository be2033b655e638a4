//! What each kind of client is told.

use std::error::Error as StdError;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;

use super::address::Address;
use super::settings::hidden;
use super::tokens::Tokens;
use crate::base::{Error, Result};

/// How long a question to the brokers may take before it is given up, in milliseconds.
pub(super) const REQUEST_MS: u64 = 30_000;
/// How long the first contact may take, in milliseconds: an address that is wrong should be noticed
/// soon.
pub(super) const CONTACT_MS: u64 = 5_000;
/// How long a transaction may be open before the brokers abort it, in milliseconds, unless the user's settings
/// say otherwise.
const TRANSACTION_MS: u64 = 60_000;
/// The setting of that.
const TRANSACTION_SETTING: &str = "transaction.timeout.ms";

impl Address {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "marea");
        // A broker that died is tried again soon, and one that hangs is not waited for.
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

    /// For questions: metadata, settings, topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.base()
    }

    /// For questions about the ends of partitions.
    pub(super) fn offsets(&self, isolation: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("isolation.level", isolation);
        config
    }

    /// For questions about a group. Never subscribes, so it is no member.
    pub(super) fn group(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config
    }

    /// For what a group has committed, transactions that may change it notwithstanding.
    pub(super) fn group_as_it_stands(&self, group: &str) -> ClientConfig {
        let mut config = self.group(group);
        config.set("isolation.level", "read_uncommitted");
        config
    }

    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.base();
        // The client wants one to assign partitions by hand; nothing is ever committed under it.
        config.set("group.id", "marea-reader");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        // Nothing is passed over in silence: the reader is told, looks why, and says so.
        config.set("auto.offset.reset", "error");
        // Each message waits in some hundred bytes of the client besides its own.
        config.set("queued.min.messages", "20000");
        config.set("queued.max.messages.kbytes", "8192");
        // With the default of one second a queue that was full for a moment idles for the rest of it.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.error.backoff.ms", "50");
        // A partition that is assigned or resumed waits for the fetch that is under way.
        config.set("fetch.wait.max.ms", "50");
        config.set("check.crcs", "true");
        self.apply(config)
    }

    /// How long a transaction may be open before the brokers abort it, in milliseconds.
    pub(super) fn transaction_ms(&self) -> u64 {
        // A value that is no number is refused when the first client is made.
        let set = self.value(&[TRANSACTION_SETTING]);
        set.and_then(|set| set.trim().parse().ok())
            .unwrap_or(TRANSACTION_MS)
    }

    pub(super) fn writer(&self, id: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("transactional.id", id);
        // What is not delivered by then is of a transaction that is over.
        let transaction_ms = self.transaction_ms().to_string();
        config.set(TRANSACTION_SETTING, &transaction_ms);
        config.set("delivery.timeout.ms", &transaction_ms);
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "2");
        config.set("batch.size", BATCH_BYTES.to_string());
        // The brokers know each topic's limit; this one must only not be in the way.
        config.set("message.max.bytes", "1000000000");
        config.set("queue.buffering.max.kbytes", "65536");
        config.set("queue.buffering.max.messages", "200000");
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
        // Below six seconds brokers refuse by default; silence of the worker is watched here anyhow.
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

/// How many bytes the client puts into one batch of a partition. Topics that take less are flushed
/// more often.
pub(super) const BATCH_BYTES: usize = 1_000_000;

/// Brings what the client library says into the application's own log.
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
        // Lost connections are errors to the library; to us the failed request is, if one fails.
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
    // The library quotes the value.
    let said = match &cause {
        KafkaError::ClientConfig(_, said, name, value) => {
            let said = said.replace(&format!("\"{value}\""), "it");
            format!("{name}: {}", hidden(&said, &[value]))
        }
        KafkaError::ClientCreation(said) => said.clone(),
        other => other.to_string(),
    };
    Error::invalid(format!("the Kafka client refuses its settings: {said}"))
}
