//! marea is a stream processing library: for Rust what the Kafka Streams API is for the JVM.
//!
//! A program declares a topology, from input topics through operators to output topics. marea runs it on
//! worker threads, keeps its state in stores backed by changelog topics, and commits outputs, state and
//! input offsets together, so that a crash neither loses nor duplicates a result. The log is a trait; one
//! implementation lives in the process and needs no broker.
//!
//! ```
//! use marea::prelude::*;
//!
//! fn main() -> marea::Result<()> {
//!     let builder = StreamBuilder::new();
//!     builder
//!         .stream::<String, String>("lines")
//!         .flat_map_values(|_, line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!         .group_by("by-word", |_, word| word.clone())
//!         .count("words")
//!         .to_stream()
//!         .present()
//!         .to("counts");
//!
//!     // In a test: the real task, over topics in memory.
//!     let mut driver = Driver::new(builder.build()?)?;
//!     let lines = driver.input_topic::<String, String>("lines");
//!     let counts = driver.output_topic::<String, i64>("counts");
//!     lines.pipe(&mut driver, Record::new("tide".to_owned(), "ebb flow ebb".to_owned(), 0))?;
//!     let found: Vec<_> = counts.read(&mut driver)?.into_iter().map(|r| (r.key, r.value)).collect();
//!     assert_eq!(found, [("ebb".to_owned(), 1), ("flow".to_owned(), 1), ("ebb".to_owned(), 2)]);
//!     Ok(())
//! }
//! ```
//!
//! # Where to go next
//! - three programs to start with: `docs/guide.md`;
//! - to write a topology: [`dsl`], and [`codec`] for the formats on topics;
//! - to run one: [`runtime::Application`], on a log opened with [`open`];
//! - to write its input and read its output: the typed clients of any log, in [`client`];
//! - to test one: [`testing::Driver`] for its results, [`testing::Invariance`] for its independence of
//!   partitions, workers and pace;
//! - when something fails: [`ErrorKind`] says what to do about it, [`runtime::ErrorPolicies`] what
//!   happens to records that cannot be handled.
//!
//! # Features
//! - `kafka` (default): [`log::KafkaLog`]; needs OpenSSL. `gssapi` adds Kerberos to it, and needs libsasl2.
//! - `rocksdb` (default): [`log::EmbeddedLog`], and stores whose rows outlive the process. Without it,
//!   rows are in memory, and a start reads the changelogs from the beginning.
//! - `bincode` (default): `codec::Bincode`.
//! - `admin`: `admin`, the metrics, health and live page of an application over HTTP.
//!
//! Without any of them, only the memory log is available, for tests and for custom logs.
//!
//! # Layers
//! A module uses those above it in this list and none below. This is also the order in which to read
//! them. `disk`, `state`, `task` and `plan` are public only for this repository's own tests and benches;
//! their API is not stable.
//!
//! ```text
//!  base       ids, records, time, errors; the only access to clock, randomness and threads
//!  disk       the thin wrapper over RocksDB that log and state share
//!  codec      bytes of keys and values
//!  batch      encoded records, as logs store them and tasks read and write them
//!  log        the trait of a partitioned log, and its backends: in memory, embedded, Kafka
//!  client     typed producers and consumers of any log
//!  state      stores: overlay, changelog, restore
//!  task       a partition of a sub-topology as a step machine: records in, effects out
//!  topology   the physical graph, its names, its division into sub-topologies
//!  plan       the logical graph and its rewrites
//!  dsl        the API for users: streams, tables, windows; one operator per file
//!  runtime    workers, assignment, commits, restore
//!  query      typed reads of committed rows
//!  admin      metrics, health, and a live page over HTTP
//!  testing    a driver that runs the real task without a log; invariance of results
//!  prelude    the names that programs need
//! ```

pub mod base;
#[doc(hidden)]
pub mod disk;
pub mod codec;
mod batch;
pub mod log;
pub mod client;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod task;

pub mod topology;
#[doc(hidden)]
pub mod plan;
pub mod dsl;
pub mod runtime;
pub mod query;
#[cfg(feature = "admin")]
pub mod admin;
pub mod testing;
pub mod prelude;

pub use base::{Error, ErrorKind, Result};
#[cfg(feature = "bincode")]
pub use codec::Bincode;
pub use codec::Json;
#[cfg(feature = "bincode")]
pub use marea_derive::Bincode;
pub use marea_derive::Json;
#[doc(no_inline)]
pub use prelude::*;

/// Opens the log that `url` names, with defaults: `memory:` (lost with the process), `embedded:DIRECTORY`
/// or `kafka://HOST:PORT`. [`log::open`] takes options.
///
/// ```
/// use marea::prelude::*;
/// let log = marea::open("memory:")?;
/// log.create_topics(&[TopicSpec::new("readings", 4)])?;
/// # Ok::<(), marea::Error>(())
/// ```
///
/// # Errors
/// As [`log::open`].
pub fn open(url: &str) -> Result<std::sync::Arc<dyn log::Log>> {
    log::open(url, &log::OpenOptions::default())
}

// The code that the derives generate refers to this crate by its name.
extern crate self as marea;

/// Compiles and runs the programs in the README, so that they cannot rot.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The same for the programs in the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
pub struct Guide;

/// And for the page on migrating.
#[cfg(doctest)]
#[doc = include_str!("../docs/migrating.md")]
pub struct Migrating;
