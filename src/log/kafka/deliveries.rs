//! What becomes of the records of a transaction, as the client tells it.

use std::error::Error as StdError;
use std::sync::Mutex;

use rdkafka::Message;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::cluster::lock;
use super::config::log_line;
use super::tokens::Tokens;
use crate::base::Offset;

/// What the brokers said about the records of the transaction that runs.
#[derive(Default)]
pub(super) struct Deliveries {
    /// By the number of the append: the offset after its last record.
    pub(super) ends: Vec<Offset>,
    /// The first refusal, and of what.
    pub(super) failure: Option<(KafkaError, String)>,
}

#[derive(Default)]
pub(super) struct Context(pub(super) Mutex<Deliveries>, Tokens);

impl Context {
    pub(super) fn new(tokens: &Tokens) -> Self {
        Self(Mutex::default(), tokens.clone())
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        self.1.for_client()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
        if let Some(place) = not_allowed(facility, message) {
            let code = Code::TopicAuthorizationFailed;
            let refused = (KafkaError::MessageProduction(code), place);
            lock(&self.0).failure.get_or_insert(refused);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka writer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, append: usize) {
        let mut deliveries = lock(&self.0);
        match result {
            Ok(message) => {
                if let Some(end) = deliveries.ends.get_mut(append) {
                    *end = (*end).max(message.offset() + 1);
                }
            }
            Err((cause, message)) => {
                // Those that follow the first say only that they were thrown away.
                deliveries.failure.get_or_insert_with(|| {
                    let place = format!("{}-{}", message.topic(), message.partition());
                    (cause.clone(), place)
                });
            }
        }
    }
}

/// The partition that the coordinator does not let into a transaction. The client says which in its log
/// alone, as `... partition "TOPIC" [NUMBER] to transaction: Broker: Topic authorization failed`.
fn not_allowed(facility: &str, message: &str) -> Option<String> {
    if facility != "ADDPARTS" || !message.ends_with("Topic authorization failed") {
        return None;
    }
    let (topic, rest) = message.split_once('"')?.1.split_once('"')?;
    let number = rest.split_once('[')?.1.split_once(']')?.0;
    Some(format!("{topic}-{number}"))
}
