//! The address of a cluster, and the user's client settings. They may contain secrets: they are passed to
//! the client and never shown.

use std::fmt;
use std::path::Path;

use percent_encoding::percent_decode_str;

use super::properties;
use super::settings;
use super::settings::Secret;
use super::tokens::Tokens;
use crate::base::{Error, Result};
use crate::log::redacted::shown;

/// The name that stands for a settings file in an address. The client has no setting of that name.
const FILE: &str = "config";

/// `kafka://HOST:PORT[,HOST:PORT...][?client-setting=value[&...]]`; names and values are percent-decoded.
/// `config=FILE` reads settings from a properties file.
#[derive(Clone)]
pub(super) struct Address {
    /// The brokers to contact first, as the user wrote them.
    pub(super) brokers: String,
    /// The client library's own settings, for example `security.protocol=SSL`. If a name is given twice,
    /// the later value applies.
    pub(super) settings: Vec<(String, Secret)>,
    pub(super) tokens: Tokens,
}

impl Address {
    /// # Errors
    /// `Invalid`; the message says which part is wrong, and contains no value of a setting.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("kafka://");
        let rest = rest.or_else(|| url.strip_prefix("kafka:")).unwrap_or(url);
        let (brokers, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let wrong = |why: &str| {
            Error::invalid(format!(
                "{}: {why}; write kafka://HOST:PORT, several brokers separated by commas, and settings of \
                 the client after a `?`",
                shown(url)
            ))
        };
        let mut address = Self::of_brokers(brokers).map_err(|why| wrong(&why))?;
        let mut last = "the `?`".to_owned();
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            // Its text may be the rest of a secret.
            let Some((name, value)) = setting.split_once('=') else {
                return Err(wrong(&format!(
                    "after {last}, the text following `&` is not a setting; write `&` in a value as %26"
                )));
            };
            let (name, value) = (decoded(name), decoded(value));
            let (Some(name), Some(value)) = (name, value) else {
                return Err(wrong("a setting is not UTF-8 after %XX decoding"));
            };
            if name == FILE {
                address.read_properties(Path::new(&value))?;
            } else {
                let set = address.set(&name, value);
                set.map_err(|why| wrong(&why))?;
            }
            last = name;
        }
        Ok(address)
    }

    /// An address without settings, or why the brokers are invalid.
    pub(super) fn of_brokers(brokers: &str) -> Result<Self, String> {
        let brokers = brokers.trim_end_matches('/');
        if brokers.contains('@') {
            return Err(
                "a user name does not belong here; use the settings sasl.username and sasl.password"
                    .to_owned(),
            );
        }
        for broker in brokers.split(',') {
            let port = broker
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                return Err(format!("{broker:?} is not the address of a broker"));
            }
        }
        Ok(Self {
            brokers: brokers.to_owned(),
            settings: Vec::new(),
            tokens: Tokens::default(),
        })
    }

    /// The value of a setting, by the first of these names that is set, and its last value.
    pub(super) fn value(&self, names: &[&str]) -> Option<&str> {
        let of = |name: &&str| self.settings.iter().rfind(|(known, _)| known == name);
        names.iter().find_map(of).map(|(_, value)| value.reveal())
    }

    /// Whether clients log in with tokens.
    pub(super) fn wants_tokens(&self) -> bool {
        let is_sasl = |protocol: &str| protocol.to_ascii_uppercase().starts_with("SASL_");
        let mechanism = self.value(&["sasl.mechanisms", "sasl.mechanism"]);
        self.value(&["security.protocol"]).is_some_and(is_sasl)
            && mechanism.is_some_and(|name| name.eq_ignore_ascii_case("OAUTHBEARER"))
    }

    /// Adds a setting; every way to give one ends here. `Err` says why it cannot be set.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Secret>) -> Result<(), String> {
        if let Some(why) = settings::refused(name) {
            return Err(format!("{name} {why}"));
        }
        if name.is_empty() {
            return Err("a setting has no name".to_owned());
        }
        let value = settings::translated(name, value.into());
        self.settings.push((name.to_owned(), value));
        Ok(())
    }

    /// Adds the settings of a properties file.
    ///
    /// # Errors
    /// `Invalid`; the message names file and line, and contains nothing of the line but a setting's name.
    pub(super) fn read_properties(&mut self, path: &Path) -> Result<()> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|cause| {
            let message = format!("cannot read the settings of the Kafka client from {place}");
            Error::invalid(message).with_source(cause)
        })?;
        let wrong =
            |number: usize, why: &str| Error::invalid(format!("{place} line {number}: {why}"));
        let found = properties::parse(text.trim_start_matches('\u{feff}'));
        for (number, name, value) in found.map_err(|bad| wrong(bad.number, bad.why))? {
            let set = self.set(&name, value);
            set.map_err(|why| wrong(number, &why))?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Only names: some values are secrets, and which ones depends on the client's version.
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
        let settings = settings.map(|(name, value)| (name.to_owned(), Secret::from(value)));
        assert_eq!(address.settings, settings);
        let address = Address::parse("kafka:a:9092").expect("without slashes");
        assert_eq!(address.brokers, "a:9092");
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
    fn a_file_holds_settings_under_the_same_rules() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display().to_string();
        let write = |text: &str| std::fs::write(file.path(), text).expect("written");
        write("# ours\nsecurity.protocol=SASL_SSL\nsasl.password = hunter2\n");
        let url = format!("kafka://a:1?config={path}&security.protocol=SSL");
        let address = Address::parse(&url).expect("good");
        let settings = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.password", "hunter2"),
            ("security.protocol", "SSL"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), Secret::from(value)));
        assert_eq!(address.settings, settings);

        let line = format!("{path} line 2");
        for (text, said) in [
            ("\nacks=1", "acks cannot be set"),
            ("\nsasl.jaas.config=hunter2", "sasl.username"),
            ("\n=hunter2", "name before the `=`"),
        ] {
            write(text);
            let error = Address::parse(&url).expect_err(text).to_string();
            assert!(error.contains(said) && error.contains(&line), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
        let error = Address::parse("kafka://a:1?config=/no/such/file").expect_err("missing");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn settings_that_promises_rest_on_are_refused_by_name() {
        let error = Address::parse("kafka://a:1?acks=0").expect_err("fixed");
        assert!(error.message().contains("acks cannot be set"), "{error}");
    }
}
