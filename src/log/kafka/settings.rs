//! What users may set in the client, whichever way they set it: in the address, by the builder, or in a
//! file. One set of rules for all three, and values are never shown.

use std::fmt;

/// Settings that marea's guarantees depend on, each with what to do instead of setting it.
const FIXED: &[(&str, &str)] = &[
    (
        "bootstrap.servers",
        "pass the brokers in the address or to the builder",
    ),
    (
        "metadata.broker.list",
        "pass the brokers in the address or to the builder",
    ),
    ("transactional.id", "it identifies the worker"),
    (
        "enable.idempotence",
        "without it records could be duplicated",
    ),
    (
        "acks",
        "an acknowledged commit must survive the crash of a broker",
    ),
    (
        "request.required.acks",
        "an acknowledged commit must survive the crash of a broker",
    ),
    ("delivery.timeout.ms", "use `transaction.timeout.ms`"),
    ("message.timeout.ms", "use `transaction.timeout.ms`"),
    ("group.id", "it is the application's id"),
    ("group.instance.id", "it identifies the worker"),
    (
        "group.protocol",
        "tasks are assigned with the classic protocol",
    ),
    ("client.id", "members compare their topologies by it"),
    ("partition.assignment.strategy", "it decides how tasks move"),
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
    (
        "enable.partition.eof",
        "partition ends are requested explicitly",
    ),
    (
        "allow.auto.create.topics",
        "topics are created with their settings",
    ),
];

/// Settings of the Java client that librdkafka does not have, each with its equivalents.
const JAVA: &[(&str, &str)] = &[
    (
        "sasl.login.callback.handler.class",
        "give `KafkaLog::builder()` an `oauth_token`",
    ),
    (
        "sasl.jaas.config",
        "write sasl.username and sasl.password; for Kerberos sasl.kerberos.principal and sasl.kerberos.keytab",
    ),
    (
        "ssl.truststore.location",
        "convert it to PEM (keytool -exportcert -rfc) and write ssl.ca.location",
    ),
    (
        "ssl.truststore.password",
        "ssl.ca.location is a PEM file, which needs none",
    ),
    (
        "ssl.truststore.type",
        "ssl.ca.location is always a PEM file",
    ),
    (
        "ssl.truststore.certificates",
        "write the certificates to ssl.ca.pem",
    ),
    (
        "ssl.keystore.type",
        "ssl.keystore.location is always PKCS#12; PEM goes to ssl.certificate.location and ssl.key.location",
    ),
    (
        "ssl.keystore.key",
        "write the key to ssl.key.pem, or its file to ssl.key.location",
    ),
    (
        "ssl.keystore.certificate.chain",
        "write the certificates to ssl.certificate.pem, or their file to ssl.certificate.location",
    ),
];

/// Why a setting cannot be set, as the end of a sentence that begins with its name.
pub(super) fn refused(name: &str) -> Option<String> {
    let find = |table: &'static [(&str, &'static str)]| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, instead)| *instead)
    };
    let fixed = find(FIXED).map(|instead| format!("cannot be set: {instead}"));
    fixed.or_else(|| find(JAVA).map(|instead| format!("is for the Java client only: {instead}")))
}

/// Values that the Java client spells differently from librdkafka.
pub(super) fn translated(name: &str, value: Secret) -> Secret {
    match (name, value.reveal()) {
        // In the Java client, an empty value means that the host's name need not be in the certificate.
        ("ssl.endpoint.identification.algorithm", "") => Secret::from("none"),
        _ => value,
    }
}

/// A value for the client that is never shown: it has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the client.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// Settings whose values help to find a mistake. Among all others some are secrets, and which ones
/// depends on the client's version.
fn may_be_shown(name: &str) -> bool {
    matches!(
        name,
        "security.protocol"
            | "sasl.mechanism"
            | "sasl.mechanisms"
            | "ssl.endpoint.identification.algorithm"
            | "enable.ssl.certificate.verification"
            | "debug"
    ) || name.ends_with(".location")
}

/// A file that is named by a setting and cannot be read: the client reports this as numbers.
pub(super) fn unreadable(settings: &[(String, Secret)]) -> Option<String> {
    let mut files = settings
        .iter()
        .filter(|(name, _)| name.ends_with(".location"));
    files.find_map(|(name, file)| {
        let file = file.reveal();
        let cause = std::fs::File::open(file).err()?;
        (file != "probe").then(|| format!("{name} is {file}, which cannot be read: {cause}"))
    })
}

/// The client's message, without the values that may be secret.
pub(super) fn redacted(said: &str, settings: &[(String, Secret)]) -> String {
    let secrets = settings
        .iter()
        .filter(|(name, _)| !may_be_shown(name))
        .map(|(_, value)| value.reveal());
    let mut secrets: Vec<&str> = secrets.collect();
    // A value that is part of another would break that one up.
    secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
    hidden(said, &secrets)
}

/// A text without these values. Values shorter than four bytes stay: they are numbers or the like, and
/// removing them would break up words.
pub(super) fn hidden(said: &str, secrets: &[&str]) -> String {
    let secrets = secrets.iter().filter(|value| value.len() > 3);
    secrets.fold(said.to_owned(), |said, value| said.replace(*value, "..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "Secret(...) Some(Secret(...))"
        );
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn what_the_client_says_is_shown_without_secrets() {
        let settings = [
            ("sasl.password", "hunter2hunter2"),
            ("ssl.key.password", "hunter2"),
            ("linger.ms", "5"),
            ("ssl.ca.location", "/etc/ca.pem"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), Secret::from(value)));
        let said = redacted(
            "hunter2 and hunter2hunter2 in 5 ms from /etc/ca.pem",
            &settings,
        );
        assert_eq!(said, "... and ... in 5 ms from /etc/ca.pem");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let setting = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let good = [
            setting("ssl.ca.location", "/"),
            setting("ssl.ca.location", "probe"),
        ];
        assert_eq!(unreadable(&good), None);
        let bad = [
            setting("ssl.key.password", "/no"),
            setting("ssl.key.location", "/no/such"),
        ];
        let said = unreadable(&bad).expect("found");
        assert!(said.starts_with("ssl.key.location is /no/such, "), "{said}");
    }

    #[test]
    fn settings_are_refused_with_what_to_do_instead() {
        for (name, instead) in FIXED.iter().chain(JAVA) {
            let why = refused(name).expect("refused");
            assert!(why.ends_with(instead), "{why}");
        }
        assert_eq!(refused("linger.ms"), None);
    }
}
