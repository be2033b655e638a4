//! What the service is told: flags over environment over a file, all under the same names.
//!
//! ```text
//!  --listen 0.0.0.0:8080     OCEAN_LISTEN=0.0.0.0:8080     listen = "0.0.0.0:8080"
//! ```
//! There is one struct for the three, so that none can have a name that the others lack.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use marea::base::{Error, Result};
use serde::Deserialize;

/// The log unless the settings say otherwise.
const LOG: &str = "embedded:./ocean-data";
/// The address unless the settings say otherwise.
const LISTEN: &str = "127.0.0.1:8080";
/// The directory of the state unless the settings say otherwise.
const STATE: &str = "./ocean-state";

/// What flags, environment or the file say; what none of them says has a default.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Given {
    /// Where records are kept: embedded:DIRECTORY, or kafka://HOST:PORT,... [default: embedded:./ocean-data]
    #[arg(long, env = "OCEAN_LOG", value_name = "ADDRESS")]
    pub log: Option<String>,
    /// Where to listen; a port of 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "OCEAN_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// What requests must bring as `Authorization: Bearer TOKEN`; required unless bound to loopback. Give it
    /// by environment or file: flags can be seen by other users of the machine
    #[arg(long, env = "OCEAN_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// Names by which clients know this server besides its address and localhost, separated by commas: requests
    /// that name another host are refused
    #[arg(
        long,
        env = "OCEAN_HOSTS",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    pub hosts: Option<Vec<String>>,
    /// Length of a window, for example 1d, 6h, 2s; state made with one fits no other [default: 1d]
    #[arg(long, env = "OCEAN_WINDOW", value_name = "SPAN")]
    pub window: Option<Span>,
    /// How late a reading may be, by the time of readings [default: 12h]
    #[arg(long, env = "OCEAN_GRACE", value_name = "SPAN")]
    pub grace: Option<Span>,
    /// Where state is kept; it can be made anew from the log [default: ./ocean-state]
    #[arg(long, env = "OCEAN_STATE", value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
    /// Partitions of the readings when their topic is made [default: 4]
    #[arg(long, env = "OCEAN_PARTITIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: Option<u32>,
    /// Worker threads of the pipeline [default: 2]
    #[arg(long, env = "OCEAN_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Memory of log and pipeline, in MiB; the service takes some more for requests and keys [default: 256]
    #[arg(long, env = "OCEAN_MEMORY", value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: Option<u32>,
    /// Connections at a time; the one that has been idle the longest makes room for a new one [default: 512]
    #[arg(long, env = "OCEAN_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub connections: Option<u32>,
    /// Readings a second that one client address may post; 0 for no limit [default: 50000]
    #[arg(long, env = "OCEAN_RATE", value_name = "N")]
    pub rate: Option<u32>,
    /// Idempotency keys that are remembered at a time, each for 24 hours, about 100 bytes of memory each
    /// [default: 1000000]
    #[arg(long, env = "OCEAN_KEYS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: Option<u32>,
}

impl Given {
    /// Reads a file of settings.
    ///
    /// # Errors
    /// `Invalid` when it cannot be read or has a key that is no setting; the message names the place.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::invalid(format!("{place}: cannot be read; check --config")).with_source(cause)
        })?;
        // The library's message shows the line, which may hold the token.
        toml::from_str(&text).map_err(|cause| {
            let line = cause
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Error::invalid(format!("{place}, line {line}: {}", cause.message()))
        })
    }

    /// These settings, and those of `other` where these say nothing.
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
        }
    }

    /// The settings, defaults filled in.
    ///
    /// # Errors
    /// `Invalid` if they cannot work: an address that is none, no token where one is needed.
    pub fn settings(self) -> Result<Settings> {
        let log = self.log.unwrap_or_else(|| LOG.to_owned());
        let listen = self.listen.unwrap_or_else(|| LISTEN.to_owned());
        let addresses: Vec<SocketAddr> = listen
            .to_socket_addrs()
            .map_err(|cause| {
                Error::invalid(format!(
                    "--listen {listen}: no address; give HOST:PORT, for example {LISTEN}"
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
                "--log memory: would lose what was acknowledged; use embedded:DIRECTORY or kafka://HOST:PORT",
            ));
        }
        // What file and environment say is checked like flags, whose ranges clap knows.
        let bounded = |name: &str, value: u32, low: u32, high: u32| match value {
            value if (low..=high).contains(&value) => Ok(value),
            value => Err(Error::invalid(format!(
                "{name} = {value}: must be from {low} to {high}"
            ))),
        };
        if self.token.as_ref().is_some_and(|token| token.0.is_empty()) {
            return Err(Error::invalid("token: is empty; leave it out, or give one"));
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
        })
    }
}

/// What the service works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the log.
    pub log: String,
    /// Where to listen; the first that can be had.
    pub addresses: Vec<SocketAddr>,
    /// What requests must bring.
    pub token: Option<Secret>,
    /// Names by which clients know this server.
    pub hosts: Vec<String>,
    /// Length of a window.
    pub window: Duration,
    /// How long after its end a window takes readings.
    pub grace: Duration,
    /// Where state is kept.
    pub state: PathBuf,
    /// Partitions of the readings, when their topic is made.
    pub partitions: u32,
    /// Worker threads of the pipeline.
    pub workers: usize,
    /// Memory of log and pipeline, in bytes.
    pub memory_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Readings a second that one client address may post; 0 for no limit.
    pub rate: u32,
    /// Idempotency keys that are remembered at a time.
    pub keys: usize,
}

/// A text that is not shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for those who compare or send it.
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

/// A length of time as people write it: `1d`, `6h`, `90s`.
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
