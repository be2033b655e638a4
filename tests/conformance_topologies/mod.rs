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
mod versioned;
mod windows;
mod words;

use marea::dsl::{Optimizations, StreamBuilder};
use marea::topology::Topology;

/// The topology of that name, if it is known, built with these optimizations.
pub fn topology(name: &str, optimizations: Optimizations) -> Option<marea::Result<Topology>> {
    let families = [
        stateless::build,
        aggregations::build,
        windows::build,
        joins::build,
        stream_joins::build,
        tables::build,
        table_joins::build,
        lookups::build,
        ocean::build,
        processors::build,
        sliding::build,
        sessions::build,
        finals::build,
        stores::build,
        versioned::build,
    ];
    families.iter().find_map(|build| {
        let builder = StreamBuilder::new();
        build(name, &builder).then(|| builder.build_with(optimizations))
    })
}

/// The topologies of families that list their own; the suite also fails without any of these.
pub const FAMILIES: [&[&str]; 9] = [
    stream_joins::NAMES,
    tables::NAMES,
    table_joins::NAMES,
    lookups::NAMES,
    sliding::NAMES,
    sessions::NAMES,
    finals::NAMES,
    stores::NAMES,
    versioned::NAMES,
];

/// The topologies without which the suite fails.
pub const REQUIRED: [&str; 80] = [
    "to-dynamic",
    "to-dynamic-by-context",
    "timestamp-extractor",
    "timestamp-extractor-partition-time",
    "filter",
    "filter-not",
    "map",
    "map-values",
    "map-values-to-long",
    "flat-map",
    "flat-map-values",
    "select-key",
    "branch-with-default",
    "branch-no-default",
    "branch-with-function",
    "merge",
    "merge-with-itself",
    "source-of-two-topics",
    "peek",
    "fan-out",
    "repartition",
    "headers-stateless",
    "headers-count",
    "table-to-stream",
    "table-unmaterialized",
    "group-by-key-count",
    "group-by-count",
    "reduce",
    "reduce-to-null",
    "reduce-max-rekeyed",
    "aggregate",
    "aggregate-to-null",
    "aggregate-sum",
    "word-count",
    "tumbling-count",
    "tumbling-count-grace-5",
    "tumbling-count-huge-grace",
    "tumbling-count-retention",
    "tumbling-count-in-memory",
    "tumbling-count-rekeyed",
    "tumbling-count-flattened",
    "tumbling-count-filtered",
    "tumbling-reduce",
    "tumbling-aggregate",
    "hopping-count",
    "hopping-count-uneven",
    "hopping-aggregate",
    "suppress-tumbling",
    "suppress-tumbling-no-grace",
    "suppress-hopping",
    "suppress-window-deleted",
    "join-inner",
    "join-inner-asymmetric",
    "join-inner-grace-20",
    "join-inner-before-only",
    "join-inner-after-only",
    "join-inner-future-only",
    "join-rekeyed",
    "join-three-inner",
    "join-then-tumbling-count",
    "stream-table-join",
    "stream-table-left-join",
    "stream-table-join-rekeyed",
    "ocean-averages",
    "forward-headers",
    "forward-timestamps",
    "forward-timestamps-tumbling",
    "forward-to-child",
    "global-store-processor",
    "process-count",
    "process-values",
    "processor-topology",
    "punctuate-anchored",
    "punctuate-both",
    "punctuate-cancel",
    "punctuate-stream-time",
    "punctuate-wall-clock",
    "record-metadata",
    "record-metadata-repartitioned",
    "two-processors-one-store",
];
