//! The outcome of a transaction's records, as the client reports it.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::Message;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::config::log_line;
use super::locks::lock;
use super::tokens::Tokens;
use crate::base::Offset;

/// The brokers' answers about the records of the current transaction.
#[derive(Default)]
pub(super) struct Deliveries {
    /// By the number of the partition in the transaction: the offset after its last record.
    pub(super) ends: Vec<Offset>,
    /// The first refusal, and its topic.
    pub(super) failure: Option<(KafkaError, String)>,
}

/// How many bytes of staged records use memory: those that wait for the writer's thread, and those in the
/// client.
#[derive(Default)]
pub(super) struct Load(AtomicUsize);

impl Load {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The data that goes through the client with a message.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    /// The number of its partition in the transaction.
    pub(super) place: usize,
    /// Whether it was staged, so that it counts as load.
    pub(super) is_staged: bool,
}

impl Ticket {
    pub(super) fn number(self) -> usize {
        self.place << 1 | usize::from(self.is_staged)
    }

    fn of(number: usize) -> Self {
        Self {
            place: number >> 1,
            is_staged: number & 1 == 1,
        }
    }
}

/// What a message counts as load, in bytes.
pub(super) fn weight(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    // Approximately what the client needs for each in addition.
    const MESSAGE: usize = 64;
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    MESSAGE + len(key) + len(value)
}

pub(super) struct Context {
    pub(super) deliveries: Mutex<Deliveries>,
    pub(super) load: Arc<Load>,
    tokens: Tokens,
}

impl Context {
    pub(super) fn new(tokens: &Tokens, load: Arc<Load>) -> Self {
        Self {
            deliveries: Mutex::default(),
            load,
            tokens: tokens.clone(),
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        self.tokens.for_client()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
        if let Some(place) = not_allowed(facility, message) {
            let code = Code::TopicAuthorizationFailed;
            let refused = (KafkaError::MessageProduction(code), place);
            lock(&self.deliveries).failure.get_or_insert(refused);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka writer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let ticket = Ticket::of(number);
        if ticket.is_staged {
            let (Ok(message) | Err((_, message))) = result;
            self.load.take(weight(message.key(), message.payload()));
        }
        let mut deliveries = lock(&self.deliveries);
        match result {
            Ok(message) => {
                if let Some(end) = deliveries.ends.get_mut(ticket.place) {
                    *end = (*end).max(message.offset() + 1);
                }
            }
            Err((cause, message)) => {
                // The ones after the first only say that they were discarded.
                deliveries.failure.get_or_insert_with(|| {
                    let place = format!("{}-{}", message.topic(), message.partition());
                    (cause.clone(), place)
                });
            }
        }
    }
}

/// The partition that the coordinator does not allow in a transaction. The client names it only in its
/// log, as `... partition "TOPIC" [NUMBER] to transaction: Broker: Topic authorization failed`.
fn not_allowed(facility: &str, message: &str) -> Option<String> {
    if facility != "ADDPARTS" || !message.ends_with("Topic authorization failed") {
        return None;
    }
    let (topic, rest) = message.split_once('"')?.1.split_once('"')?;
    let number = rest.split_once('[')?.1.split_once(']')?.0;
    Some(format!("{topic}-{number}"))
}
