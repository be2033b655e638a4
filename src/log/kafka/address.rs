//! Where a cluster is, and the user's own settings of the client. Secrets are among them: they are passed to
//! the client and shown to nobody.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::base::{Error, Result};

/// Settings that marea's promises rest on, each with what to do instead of setting it.
const FIXED: &[(&str, &str)] = &[
    ("bootstrap.servers", "name the brokers in front of the `?`"),
    ("transactional.id", "it names the worker"),
    ("enable.idempotence", "without it records could come twice"),
    (
        "acks",
        "an acknowledged commit must survive a broker's death",
    ),
    ("transaction.timeout.ms", "commits are bounded by it"),
    ("delivery.timeout.ms", "commits are bounded by it"),
    ("group.id", "it is the application's id"),
    ("group.instance.id", "it names the worker"),
    ("group.protocol", "tasks are handed out by the classic one"),
    ("client.id", "members know each other's topology by it"),
    ("partition.assignment.strategy", "tasks move by it"),
    ("session.timeout.ms", "use `Settings::session_timeout_ms`"),
    (
        "max.poll.interval.ms",
        "use `Settings::max_poll_interval_ms`",
    ),
    (
        "isolation.level",
        "uncommitted records must not be processed",
    ),
    (
        "enable.auto.commit",
        "offsets are committed with the results",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed with the results",
    ),
    ("auto.offset.reset", "use `Settings::deleted_unread`"),
    ("enable.partition.eof", "ends are asked for"),
    (
        "allow.auto.create.topics",
        "topics are made with their settings",
    ),
];

/// `kafka://HOST:PORT[,HOST:PORT...][?client-setting=value[&...]]`; names and values are percent-decoded.
#[derive(Clone)]
pub(super) struct Address {
    /// The brokers to contact first, as the user wrote them.
    pub(super) brokers: String,
    /// The client library's own settings, for example `security.protocol=SSL`.
    pub(super) settings: Vec<(String, String)>,
}

impl Address {
    /// # Errors
    /// `Invalid`; the message says which part is wrong, and no value of a setting.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("kafka://").unwrap_or(url);
        let (brokers, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let brokers = brokers.trim_end_matches('/');
        let wrong = |why: &str| {
            Err(Error::invalid(format!(
                "{}: {why}; write kafka://HOST:PORT, several brokers separated by commas, and settings of \
                 the client after a `?`",
                shown(url)
            )))
        };
        if brokers.contains('@') {
            return wrong(
                "a user's name belongs to the settings, as sasl.username and sasl.password",
            );
        }
        for broker in brokers.split(',') {
            let port = broker
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                return wrong(&format!("{broker:?} is not the address of a broker"));
            }
        }
        let mut parsed: Vec<(String, String)> = Vec::new();
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            // What it says may be the rest of a secret.
            let Some((name, value)) = setting.split_once('=') else {
                let after = parsed.last().map_or("the `?`", |(name, _)| name);
                return wrong(&format!(
                    "what follows the `&` after {after} is not a setting; write `&` in a value as %26"
                ));
            };
            let (name, value) = (decoded(name), decoded(value));
            let (Some(name), Some(value)) = (name, value) else {
                return wrong("a setting is not UTF-8 once its %XX are decoded");
            };
            if let Some((_, instead)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
                return wrong(&format!("{name} cannot be set: {instead}"));
            }
            parsed.push((name, value));
        }
        Ok(Self {
            brokers: brokers.to_owned(),
            settings: parsed,
        })
    }
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// An address as it may be shown: without what may be secret.
pub(in crate::log) fn shown(url: &str) -> String {
    let (place, settings) = match url.split_once('?') {
        Some((place, _)) => (place, "?..."),
        None => (url, ""),
    };
    let place = match place.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://...@{host}")
        }
        None => place.to_owned(),
    };
    format!("{place}{settings}")
}

/// Only names: some values are secrets, and which ones changes with the client's versions.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.settings.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Address")
            .field("brokers", &self.brokers)
            .field("settings", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_brokers_and_settings() {
        let address = Address::parse(
            "kafka://a:9092,[::1]:19092/?security.protocol=SSL&x=&sasl.password=a%26b%3dc%25%20d+e",
        )
        .expect("good");
        assert_eq!(address.brokers, "a:9092,[::1]:19092");
        let settings = [
            ("security.protocol", "SSL"),
            ("x", ""),
            ("sasl.password", "a&b=c% d+e"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(address.settings, settings);
        for wrong in [
            "kafka://",
            "kafka://host",
            "kafka://:1",
            "kafka://a:1,b",
            "kafka://a:99999",
            "kafka://a:1?x",
        ] {
            let error = Address::parse(wrong).expect_err(wrong);
            assert!(error.message().contains("kafka://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn no_message_shows_a_secret() {
        for url in [
            "kafka://a:1?sasl.username=u&sasl.password=hunter&2hunter",
            "kafka://a:1?sasl.password=hunter2&x",
            "kafka://user:hunter2@a:1",
            "kafka://a?sasl.password=hunter2",
            "kafka://a:1?sasl.password=hunter2&acks=1",
            "kafka://a:1?sasl.password=hunter%ff",
        ] {
            let error = Address::parse(url).expect_err(url);
            assert!(!error.to_string().contains("hunter"), "{error}");
            assert!(!shown(url).contains("hunter"), "{}", shown(url));
        }
        let address = Address::parse("kafka://a:1?sasl.password=hunter2").expect("good");
        let debug = format!("{address:?}");
        assert!(
            debug.contains("sasl.password") && !debug.contains("hunter"),
            "{debug}"
        );
    }

    #[test]
    fn settings_that_promises_rest_on_are_refused_by_name() {
        for (name, instead) in FIXED {
            let error = Address::parse(&format!("kafka://a:1?{name}=x")).expect_err("fixed");
            assert!(
                error.message().contains(name) && error.message().contains(instead),
                "{error}"
            );
        }
    }
}
