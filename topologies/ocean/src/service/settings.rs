//! The service's settings: flags override the environment, which overrides a file; all use the same
//! names.
//!
//! ```text
//!  --listen 0.0.0.0:8080     OCEAN_LISTEN=0.0.0.0:8080     listen = "0.0.0.0:8080"
//! ```
//! There is one struct for all three, so that they cannot have different names.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use marea::base::{Error, Result};
use serde::Deserialize;

/// The default log.
const LOG: &str = "embedded:./ocean-data";
/// The default address.
const LISTEN: &str = "127.0.0.1:8080";
/// The default state directory.
const STATE: &str = "./ocean-state";

/// The values from flags, environment or file; missing ones get a default.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Given {
    /// Where records are kept: embedded:DIRECTORY, or kafka://HOST:PORT,... [default: embedded:./ocean-data]
    #[arg(long, env = "OCEAN_LOG", value_name = "ADDRESS")]
    pub log: Option<String>,
    /// Where to listen; port 0 picks a free port [default: 127.0.0.1:8080]
    #[arg(long, env = "OCEAN_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The token that requests must send as `Authorization: Bearer TOKEN`; required unless bound to loopback. Set it
    /// in the environment or the file: other users of the machine can see flags
    #[arg(long, env = "OCEAN_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// Names that clients use for this server besides its address and localhost, separated by commas: requests
    /// for any other host are refused
    #[arg(
        long,
        env = "OCEAN_HOSTS",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    pub hosts: Option<Vec<String>>,
    /// Length of a window, for example 1d, 6h, 2s; state made with one cannot be used with another [default: 1d]
    #[arg(long, env = "OCEAN_WINDOW", value_name = "SPAN")]
    pub window: Option<Span>,
    /// How late a reading may be, measured by the readings' timestamps [default: 12h]
    #[arg(long, env = "OCEAN_GRACE", value_name = "SPAN")]
    pub grace: Option<Span>,
    /// Where state is kept; it can be rebuilt from the log [default: ./ocean-state]
    #[arg(long, env = "OCEAN_STATE", value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
    /// Partitions of the readings topic when it is created [default: 4]
    #[arg(long, env = "OCEAN_PARTITIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: Option<u32>,
    /// Worker threads of the pipeline [default: 2]
    #[arg(long, env = "OCEAN_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Memory of log and pipeline, in MiB; the service uses some more for requests and keys [default: 256]
    #[arg(long, env = "OCEAN_MEMORY", value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: Option<u32>,
    /// Simultaneous connections; the one that has been idle longest makes room for a new one [default: 512]
    #[arg(long, env = "OCEAN_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub connections: Option<u32>,
    /// Readings per second that one client address may post; 0 for no limit [default: 50000]
    #[arg(long, env = "OCEAN_RATE", value_name = "N")]
    pub rate: Option<u32>,
    /// Number of idempotency keys remembered, each for 24 hours, with about 100 bytes of memory each
    /// [default: 1000000]
    #[arg(long, env = "OCEAN_KEYS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: Option<u32>,
    /// What the pipeline may leave behind on the log: names of stores that an earlier release had and this one
    /// does not have, separated by commas. A start that would leave something behind names it
    #[arg(
        long,
        env = "OCEAN_ACCEPT_ORPHANS",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    pub accept_orphans: Option<Vec<String>>,
    /// Write a line to standard error for each step, commit and restore of the pipeline, with its size and how long
    /// it took
    #[arg(
        long,
        env = "OCEAN_SPANS",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub spans: Option<bool>,
}

impl Given {
    /// Reads a settings file.
    ///
    /// # Errors
    /// `Invalid` if it cannot be read or has an unknown key; the message names the place.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::invalid(format!("{place}: cannot be read; check --config")).with_source(cause)
        })?;
        // The library's message shows the line, which may contain the token.
        toml::from_str(&text).map_err(|cause| {
            let line = cause
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Error::invalid(format!("{place}, line {line}: {}", cause.message()))
        })
    }

    /// These settings, completed by those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            log: self.log.or(other.log),
            listen: self.listen.or(other.listen),
            token: self.token.or(other.token),
            hosts: self.hosts.or(other.hosts),
            window: self.window.or(other.window),
            grace: self.grace.or(other.grace),
            state: self.state.or(other.state),
            partitions: self.partitions.or(other.partitions),
            workers: self.workers.or(other.workers),
            memory: self.memory.or(other.memory),
            connections: self.connections.or(other.connections),
            rate: self.rate.or(other.rate),
            keys: self.keys.or(other.keys),
            accept_orphans: self.accept_orphans.or(other.accept_orphans),
            spans: self.spans.or(other.spans),
        }
    }

    /// The settings, with defaults filled in.
    ///
    /// # Errors
    /// `Invalid` if they cannot work: an invalid address, or a missing token where one is required.
    pub fn settings(self) -> Result<Settings> {
        let log = self.log.unwrap_or_else(|| LOG.to_owned());
        let listen = self.listen.unwrap_or_else(|| LISTEN.to_owned());
        let addresses: Vec<SocketAddr> = listen
            .to_socket_addrs()
            .map_err(|cause| {
                Error::invalid(format!(
                    "--listen {listen}: not an address; use HOST:PORT, for example {LISTEN}"
                ))
                .with_source(cause)
            })?
            .collect();
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if self.token.is_none() && !loopback {
            return Err(Error::invalid(format!(
                "--listen {listen} can be reached from outside this machine, and there is no token; set \
                 OCEAN_TOKEN, or listen on 127.0.0.1"
            )));
        }
        if log.starts_with("memory:") {
            return Err(Error::invalid(
                "--log memory: would lose acknowledged readings; use embedded:DIRECTORY or \
                 kafka://HOST:PORT",
            ));
        }
        // Values from file and environment are checked like flags, whose ranges clap checks.
        let bounded = |name: &str, value: u32, low: u32, high: u32| match value {
            value if (low..=high).contains(&value) => Ok(value),
            value => Err(Error::invalid(format!(
                "{name} = {value}: must be from {low} to {high}"
            ))),
        };
        if self.token.as_ref().is_some_and(|token| token.0.is_empty()) {
            return Err(Error::invalid("token: is empty; omit it, or set one"));
        }
        let workers = bounded("workers", u32::from(self.workers.unwrap_or(2)), 1, 256)?;
        let connections = self.connections.unwrap_or(512);
        Ok(Settings {
            log,
            addresses,
            token: self.token,
            hosts: self.hosts.unwrap_or_default(),
            window: self
                .window
                .map_or(Duration::from_secs(86_400), |span| span.0),
            grace: self
                .grace
                .map_or(Duration::from_secs(43_200), |span| span.0),
            state: self.state.unwrap_or_else(|| STATE.into()),
            partitions: bounded("partitions", self.partitions.unwrap_or(4), 1, 1024)?,
            workers: workers as usize,
            memory_bytes: (bounded("memory", self.memory.unwrap_or(256), 64, 1 << 20)? as usize)
                << 20,
            connections: bounded("connections", connections, 8, 65_536)? as usize,
            rate: self.rate.unwrap_or(50_000),
            keys: bounded("keys", self.keys.unwrap_or(1_000_000), 1, u32::MAX)? as usize,
            accept_orphans: self.accept_orphans.unwrap_or_default(),
            spans: self.spans.unwrap_or(false),
        })
    }
}

/// The settings in effect.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the log.
    pub log: String,
    /// Where to listen; the first available one is used.
    pub addresses: Vec<SocketAddr>,
    /// The token that requests must send.
    pub token: Option<Secret>,
    /// Names that clients use for this server.
    pub hosts: Vec<String>,
    /// Length of a window.
    pub window: Duration,
    /// How long after its end a window accepts readings.
    pub grace: Duration,
    /// Where state is kept.
    pub state: PathBuf,
    /// Partitions of the readings topic when it is created.
    pub partitions: u32,
    /// Worker threads of the pipeline.
    pub workers: usize,
    /// Memory of log and pipeline, in bytes.
    pub memory_bytes: usize,
    /// Simultaneous connections.
    pub connections: usize,
    /// Readings per second that one client address may post; 0 for no limit.
    pub rate: u32,
    /// Number of idempotency keys remembered.
    pub keys: usize,
    /// What the pipeline may leave behind on the log, by name.
    pub accept_orphans: Vec<String>,
    /// Whether the spans of the pipeline are written to standard error.
    pub spans: bool,
}

/// A text that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for code that compares or sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "" => Err("is empty".to_owned()),
            text => Ok(Self(text.to_owned())),
        }
    }
}

/// A duration as people write it: `1d`, `6h`, `90s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|cause| cause.to_string())?;
        Ok(Self(span))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_left_is_named_by_flag_or_file() {
        let given = file("accept-orphans = [\"counts\", \"sums\"]").unwrap();
        let settings = given.settings().unwrap();
        assert_eq!(settings.accept_orphans, ["counts", "sums"]);
        let none = Given::default().settings().unwrap();
        assert_eq!(none.accept_orphans, [""; 0], "unless it is said");
    }

    fn file(text: &str) -> Result<Given> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ocean.toml");
        std::fs::write(&path, text).unwrap();
        Given::read(&path)
    }

    #[test]
    fn what_nobody_says_has_a_default() {
        let settings = Given::default().settings().unwrap();
        assert_eq!(settings.log, "embedded:./ocean-data");
        assert_eq!(settings.state, Path::new("./ocean-state"));
        assert_eq!(settings.addresses, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(settings.window, Duration::from_secs(86_400));
        assert_eq!(settings.grace, Duration::from_secs(43_200));
    }

    #[test]
    fn a_file_has_the_names_of_the_flags_and_flags_come_first() {
        let given =
            file("window = \"6h\"\nlog = \"kafka://one:9092,two:9092\"\nmemory = 128").unwrap();
        let flags = Given {
            window: Some("2h".parse().unwrap()),
            ..Given::default()
        };
        let settings = flags.or(given).settings().unwrap();
        assert_eq!(settings.window, Duration::from_secs(7_200));
        assert_eq!(settings.log, "kafka://one:9092,two:9092");
        assert_eq!(settings.memory_bytes, 128 << 20);
        assert_eq!(settings.state, Path::new("./ocean-state"));
    }

    #[test]
    fn an_unknown_key_or_a_wrong_value_is_an_error_that_names_the_line_and_shows_no_token() {
        for text in [
            "window = \"6h\"\nwindows = \"6h\"",
            "grace = \"1h\"\nwindow = \"six hours\"",
            "\ntoken = s3cret",
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let error = file("partitions = 0").unwrap().settings().unwrap_err();
        assert!(error.to_string().contains("partitions = 0"), "{error}");
    }

    #[test]
    fn outside_of_loopback_a_token_is_needed() {
        let outside = Given {
            listen: Some("0.0.0.0:8080".into()),
            ..Given::default()
        };
        let error = outside.clone().settings().unwrap_err();
        assert!(error.to_string().contains("OCEAN_TOKEN"), "{error}");
        let settings = Given {
            token: Some("s3cret".parse().unwrap()),
            ..outside
        };
        let settings = settings.settings().unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
