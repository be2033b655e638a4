//! A cluster and the client's settings, as values of the program instead of parts of an address.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::KafkaLog;
use super::address::Address;
use super::cluster::Cluster;
use super::settings::Secret;
use super::tokens::{OauthToken, Source, Tokens};
use crate::base::{Env, Error, Result};

/// A way to connect to a cluster without putting secrets in an address.
///
/// ```no_run
/// use marea::base::SystemEnv;
/// use marea::log::KafkaLog;
///
/// fn main() -> marea::Result<()> {
///     let log = KafkaLog::builder("broker-1:9093,broker-2:9093")
///         .setting("security.protocol", "SASL_SSL")
///         .setting("sasl.mechanism", "SCRAM-SHA-512")
///         .properties("/run/secrets/kafka.properties") // sasl.username and sasl.password
///         .connect(SystemEnv::shared())?;
/// #   drop(log);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing before `connect`"]
pub struct KafkaLogBuilder {
    brokers: String,
    steps: Vec<Step>,
    tokens: TokenSource,
}

/// A function has no `Debug`.
#[derive(Clone, Default)]
struct TokenSource(Option<Source>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "none" })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Setting(String, Secret),
    Properties(PathBuf),
}

impl KafkaLogBuilder {
    pub(super) fn new(brokers: String) -> Self {
        Self {
            brokers,
            steps: Vec::new(),
            tokens: TokenSource::default(),
        }
    }

    /// Sets any setting of librdkafka except those that the guarantees depend on. Values are never shown,
    /// neither by `Debug` nor by an error. If a setting is given twice, the later value applies.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.steps.push(Step::Setting(name.into(), value.into()));
        self
    }

    /// Reads settings from a properties file as Java programs read them: one `name=value` per line,
    /// comments after `#`. The names are librdkafka's, which for security are mostly those of the Java
    /// client: `security.protocol`, `sasl.mechanism`, `sasl.username`, `sasl.password`,
    /// `ssl.ca.location`. A setting that only the Java client knows, such as `sasl.jaas.config`, is
    /// refused, and the error says what to write instead.
    ///
    /// The file is read by [`connect`](Self::connect), once.
    pub fn properties(mut self, file: impl Into<PathBuf>) -> Self {
        self.steps.push(Step::Properties(file.into()));
        self
    }

    /// Where to get a token for `sasl.mechanism=OAUTHBEARER`. It is called on connecting, and again
    /// before the last token expires, on whichever thread needs it: it should answer within seconds. An
    /// error on connecting fails [`connect`](Self::connect); later ones are logged, and the function is
    /// called again.
    pub fn oauth_token(
        mut self,
        source: impl Fn() -> Result<OauthToken> + Send + Sync + 'static,
    ) -> Self {
        self.tokens = TokenSource(Some(Arc::new(source)));
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`KafkaLog::connect`]; also `Invalid` if a file cannot be read: the message names it, and
    /// the line.
    pub fn connect(self, env: Arc<dyn Env>) -> Result<KafkaLog> {
        let brokers = &self.brokers;
        let wrong = |why: String| Error::invalid(format!("{brokers}: {why}"));
        let address = Address::of_brokers(brokers).map_err(|why| {
            // Only here may it be anything, even a password.
            Error::invalid(format!(
                "{why}; write HOST:PORT, several brokers separated by commas"
            ))
        });
        let mut address = address?;
        for step in self.steps {
            match step {
                Step::Setting(name, value) => address.set(&name, value).map_err(wrong)?,
                Step::Properties(file) => address.read_properties(&file)?,
            }
        }
        if let Some(source) = self.tokens.0.filter(|_| address.wants_tokens()) {
            address.tokens = Tokens::from(source, Arc::clone(&env));
        }
        let cluster = Arc::new(Cluster::connect(address, env)?);
        Ok(KafkaLog { cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ErrorKind, SystemEnv};

    #[test]
    fn the_rules_are_those_of_an_address_and_nothing_is_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "group.id=hunter2").expect("written");
        let plain = || KafkaLog::builder("a:1").setting("sasl.password", "hunter2");
        for (builder, said) in [
            (
                plain().setting("acks", "hunter2"),
                "a:1: acks cannot be set",
            ),
            (
                plain().setting("sasl.jaas.config", "hunter2"),
                "sasl.username",
            ),
            (plain().properties(file.path()), "group.id cannot be set"),
            (plain().setting("no.such", "hunter2"), "no.such"),
            (plain().setting("linger.ms", "hunter2"), "linger.ms"),
            (
                plain().setting("security.protocol", "hunter2"),
                "security.protocol",
            ),
            (
                plain()
                    .setting("ssl.key.pem", "hunter2")
                    .setting("security.protocol", "ssl"),
                "ssl.key.pem",
            ),
            (KafkaLog::builder("u:hunter2@a:1"), "sasl.username"),
        ] {
            let shown = format!("{builder:?}");
            assert!(
                !shown.replace("u:hunter2@a:1", "").contains("hunter"),
                "{shown}"
            );
            let error = builder.connect(SystemEnv::shared()).expect_err(said);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
