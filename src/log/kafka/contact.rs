//! Why no broker can be reached, in the client's own words.
//!
//! The client that makes the first contact only makes requests and is never polled, so its message about
//! a refused login stays in its queues. So when it has failed, another client briefly tries the same, and
//! is listened to.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::address::Address;
use super::config::log_line;
use super::error::unavailable;
use super::locks::lock;
use super::settings::redacted;
use super::tokens::Tokens;
use super::waits::CONTACT_MS;
use crate::base::{Env, Error, ErrorKind};

/// How long the second client may try, in milliseconds; it stops at the first refusal, or when all
/// brokers have failed. Longer than the time-out of a connection (`socket.connection.setup.timeout.ms`),
/// so that brokers that do not answer at all count as failed, and their message is heard.
const LISTEN_MS: u64 = 10_000;
const SLICE: Duration = Duration::from_millis(50);

/// The error for a cluster that cannot be reached.
pub(super) fn out_of_reach(address: &Address, env: &dyn Env, cause: KafkaError) -> Error {
    let brokers = &address.brokers;
    match reason(address, env) {
        Some(Heard {
            code: Code::Authentication | Code::SSL,
            said,
        }) => Error::invalid(format!(
            "the brokers at {brokers} refuse the connection: {said}"
        )),
        Some(Heard { said, .. }) => {
            let message = format!(
                "no broker answers at {brokers} within {CONTACT_MS} ms; the last error was: {said}"
            );
            Error::new(ErrorKind::Unavailable, message)
        }
        None => unavailable(
            format!(
                "no broker answers at {brokers} within {CONTACT_MS} ms; check that it is running and \
                 reachable from here with these settings"
            ),
            cause,
        ),
    }
}

/// The client's message about a failure.
#[derive(Clone)]
struct Heard {
    code: Code,
    said: String,
}

impl Heard {
    /// A refusal will be repeated; a lost connection says little.
    fn weight(&self) -> u32 {
        match self.code {
            Code::Authentication | Code::SSL => 2,
            Code::BrokerTransportFailure => 0,
            _ => 1,
        }
    }
}

#[derive(Default)]
struct Ear {
    tokens: Tokens,
    heard: Mutex<Option<Heard>>,
    /// Each broker has been tried, and has failed.
    is_everyone_down: AtomicBool,
}

impl Ear {
    /// The last one of its kind counts: the first may come from a broker that was only starting.
    fn hear(&self, code: Code, said: &str) {
        if code == Code::AllBrokersDown {
            self.is_everyone_down.store(true, Ordering::Relaxed);
            return;
        }
        let said = said.to_owned();
        let new = Heard { code, said };
        let mut heard = lock(&self.heard);
        if heard
            .as_ref()
            .is_none_or(|heard| heard.weight() <= new.weight())
        {
            *heard = Some(new);
        }
    }
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        self.tokens.for_client()
    }

    /// The library only logs that a broker closed the connection, and what that may mean.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
        if facility == "FAIL" && level as i32 > RDKafkaLogLevel::Error as i32 {
            // The name of the thread comes first.
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            self.hear(Code::BrokerTransportFailure, said);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.hear(code, reason);
        }
    }
}

impl ConsumerContext for Ear {}

fn reason(address: &Address, env: &dyn Env) -> Option<Heard> {
    let mut config = address.reader(0);
    if config.log_level as i32 <= RDKafkaLogLevel::Warning as i32 {
        config.set_log_level(RDKafkaLogLevel::Info);
    }
    let ear = Ear {
        tokens: address.tokens.clone(),
        ..Ear::default()
    };
    let client = BaseConsumer::from_config_and_context(&config, ear);
    let client: BaseConsumer<Ear> = client.ok()?;
    let ear = Arc::clone(client.context());
    let until_ms = env.monotonic_ms() + LISTEN_MS;
    loop {
        // Its messages go to the listener.
        let _ = client.poll(SLICE);
        let heard = lock(&ear.heard).clone();
        let ends = match &heard {
            Some(heard) => heard.weight() == 2 || ear.is_everyone_down.load(Ordering::Relaxed),
            None => false,
        };
        if ends || env.monotonic_ms() >= until_ms {
            return heard.map(|heard| Heard {
                said: advised(&redacted(&heard.said, &address.settings), address),
                ..heard
            });
        }
    }
}

/// The message, with a remedy if it contains none.
fn advised(said: &str, address: &Address) -> String {
    let has = |part: &str| {
        address
            .settings
            .iter()
            .any(|(name, _)| name.starts_with(part))
    };
    // A listener does not answer a client of another protocol.
    if said.contains("connection closed by peer") && !said.contains("listener") {
        let protocol = address.value(&["security.protocol"]).unwrap_or("PLAINTEXT");
        let other = match protocol.to_ascii_uppercase().as_str() {
            "SSL" => "PLAINTEXT",
            "SASL_SSL" => "SASL_PLAINTEXT",
            "SASL_PLAINTEXT" => "SASL_SSL",
            _ => "SSL",
        };
        return format!(
            "{said}; the listener may use a security.protocol other than {protocol}, such as {other}"
        );
    }
    // Which of two messages it is depends on which thread of the client is first; one names the setting.
    if said.contains("certificate verify failed") && !said.contains("ssl.ca.location") {
        return format!(
            "{said}; set ssl.ca.location to the certificate of the authority that signed the broker's"
        );
    }
    // The broker's alert about a client certificate: missing, unknown, or invalid.
    if !said.contains(" alert ") || !(said.contains("certificate") || said.contains("unknown ca")) {
        return said.to_owned();
    }
    match has("ssl.certificate.") || has("ssl.keystore.") {
        true => format!("{said}; the broker does not accept the client's certificate"),
        false => format!(
            "{said}; the broker requires a client certificate: set ssl.certificate.location and \
             ssl.key.location"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_remedy_gets_one() {
        let address = |settings: &str| {
            let url = format!("kafka://localhost:9092?{settings}");
            Address::parse(&url).expect("an address")
        };
        let tls = address("security.protocol=SSL");
        let failed = "ssl://localhost:9092/bootstrap: error:0A000086:SSL routines::certificate verify failed";
        assert!(advised(failed, &tls).contains("; set ssl.ca.location"));
        let named =
            "certificate verify failed: verify that ssl.ca.location is correctly configured";
        assert_eq!(advised(named, &tls), named);
        let closed = "Disconnected: connection closed by peer";
        assert!(advised(closed, &tls).ends_with("other than SSL, such as PLAINTEXT"));
        let alert = "SSL routines::sslv3 alert bad certificate";
        assert!(advised(alert, &tls).contains("requires a client certificate"));
        let client = address("security.protocol=SSL&ssl.certificate.location=cert.pem");
        assert!(advised(alert, &client).contains("does not accept the client's certificate"));
    }
}
