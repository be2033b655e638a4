//! The topologies of the conformance vectors, in Rust.

mod aggregations;
mod finals;
mod joins;
mod lookups;
mod ocean;
mod processors;
mod sessions;
mod sliding;
mod stateless;
mod stores;
mod stream_joins;
mod table_joins;
mod tables;
mod timers;
mod versioned;
mod windows;
mod words;

use marea::dsl::{Optimizations, StreamBuilder};
use marea::topology::Topology;

/// A family: the names of its topologies, and what builds one of them; `false` if it cannot.
type Family = (&'static [&'static str], fn(&str, &StreamBuilder) -> bool);

/// The families. A topology is known if its family lists it.
static FAMILIES: [Family; 16] = [
    (stateless::NAMES, stateless::build),
    (aggregations::NAMES, aggregations::build),
    (windows::NAMES, windows::build),
    (joins::NAMES, joins::build),
    (stream_joins::NAMES, stream_joins::build),
    (tables::NAMES, tables::build),
    (table_joins::NAMES, table_joins::build),
    (lookups::NAMES, lookups::build),
    (ocean::NAMES, ocean::build),
    (processors::NAMES, processors::build),
    (timers::NAMES, timers::build),
    (sliding::NAMES, sliding::build),
    (sessions::NAMES, sessions::build),
    (finals::NAMES, finals::build),
    (stores::NAMES, stores::build),
    (versioned::NAMES, versioned::build),
];

/// The topology of that name, if it is known, built with these optimizations.
pub fn topology(name: &str, optimizations: Optimizations) -> Option<marea::Result<Topology>> {
    let family = FAMILIES.iter().find(|(names, _)| names.contains(&name));
    family.map(|(_, build)| {
        let builder = StreamBuilder::new();
        match build(name, &builder) {
            true => builder.build_with(optimizations),
            false => Err(marea::Error::user(
                "its family lists it and does not build it",
            )),
        }
    })
}

/// The scripts whose results differ on purpose: the runner fails if one does not. A record of them joins a
/// session that is past the retention; Kafka Streams sends no deletion of it (`docs/divergences.md`).
static DIVERGING: [(&str, &[&str]); 1] = [(
    "cached-session-burst",
    &["random-1-0-jittery", "random-1-2-jumpy"],
)];

/// Whether a script's results differ on purpose.
pub fn diverges(topology: &str, script: &str) -> bool {
    let mut diverging = DIVERGING.iter();
    diverging.any(|(name, scripts)| *name == topology && scripts.contains(&script))
}

/// All topologies: the suite fails if the vectors of one are missing.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|(names, _)| names.iter().copied())
}
