//! The topologies of `benches/peers/Peer.java`, with the same names of topics and stores.

use std::error::Error;
use std::time::Duration;

use marea::codec::{Bytes, Codec, I64, Json, Utf8};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Produced, Stream, StreamBuilder, StreamJoined,
    TimeWindows,
};
use marea::topology::Topology;

use crate::readings::{Clocked, Compact, Fields, Measured, Reading, Sums};

/// All of them.
pub const NAMES: &[&str] = &["pass", "filter", "sensor", "count", "ocean", "join"];

/// The format of readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// JSON, as Kafka Streams has them.
    Json,
    /// 24 bytes, which leaves the cost of the engine. They lack the names of oceans, so not every topology can use
    /// them.
    Compact,
}

/// The topology over the topic `input`, and over `input` followed by `2` if it is a join, whose partners are at
/// most `reach_ms` apart.
pub fn topology(
    name: &str,
    input: &str,
    text: Text,
    reach_ms: u64,
) -> Result<Topology, Box<dyn Error>> {
    let builder = StreamBuilder::new();
    match (name, text) {
        ("pass", _) => builder
            .stream_with(input, Consumed::with(Clocked(Bytes), Bytes))
            .to_with("out-pass", Produced::with(Bytes, Bytes)),
        ("filter", Text::Json) => builder
            .stream_with(input, Consumed::with(Clocked(Utf8), Json::<Reading>::new()))
            .filter(|_sensor, reading| reading.temperature > 30.0)
            .to_with("out-filter", Produced::with(Utf8, Json::<Reading>::new())),
        ("count", _) => builder
            .stream_with(input, Consumed::with(Clocked(Utf8), Bytes))
            .group_by_key(Grouped::with("by-key", Utf8, Bytes))
            .count("counts")
            .to_stream()
            .present()
            .to_with("out-count", Produced::with(Utf8, I64)),
        ("sensor", Text::Json) => sensor(&builder, input, Json::<Reading>::new),
        ("sensor", Text::Compact) => sensor::<Compact, _>(&builder, input, || Fields),
        ("ocean", Text::Json) => ocean(&builder, input),
        ("join", _) => join(&builder, input, reach_ms),
        (known, Text::Compact) if NAMES.contains(&known) => {
            return Err(format!("{known} is for text=json alone").into());
        }
        (other, _) => {
            return Err(format!("no topology {other}; try one of {}", NAMES.join(", ")).into());
        }
    }
    Ok(builder.build()?)
}

/// The topics that it writes.
pub fn outputs(name: &str) -> Vec<String> {
    let mut topics = vec![format!("out-{name}")];
    if name == "ocean" {
        topics.push("out-alerts".into());
    }
    topics
}

/// Averages of 10 s by sensor: no repartition, many keys, every update is sent.
fn sensor<R: Measured + Clone + 'static, C: Codec<R>>(
    builder: &StreamBuilder,
    input: &str,
    codec: impl Fn() -> C,
) {
    let readings = builder.stream_with(input, Consumed::with(Clocked(Utf8), codec()));
    averages(
        readings,
        Grouped::with("by-sensor", Utf8, codec()),
        "sensor-avg",
    )
    .to_with("out-sensor", Produced::with(Utf8, Fields));
}

/// The reference pipeline: re-keyed by ocean, averages of 10 s, alerts.
fn ocean(builder: &StreamBuilder, input: &str) {
    let codec = Json::<Reading>::new;
    let readings = builder
        .stream_with(input, Consumed::with(Clocked(Utf8), codec()))
        .select_key(|_sensor, reading: &Reading| reading.ocean.clone());
    let sums = averages(
        readings,
        Grouped::with("by-ocean", Utf8, codec()),
        "ocean-avg",
    );
    sums.clone()
        .to_with("out-ocean", Produced::with(Utf8, Fields));
    sums.filter(|_ocean, sums| sums.temperature / sums.count as f64 > 17.6)
        .to_with("out-alerts", Produced::with(Utf8, Fields));
}

fn averages<R: Measured + Clone + 'static>(
    readings: Stream<String, R>,
    grouped: Grouped<String, R>,
    store: &str,
) -> Stream<String, Sums> {
    readings
        .group_by_key(grouped)
        .windowed_by(TimeWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(5)))
        .aggregate(
            Sums::default,
            |_key, reading: R, sums: Sums| sums.with(&reading),
            Materialized::with(store, Fields).retention(Duration::from_secs(60)),
        )
        .to_stream()
        .present()
        .map(|window, sums| (window.key, sums))
}

/// Joins every reading with those of the same sensor on a second topic within a time difference.
fn join(builder: &StreamBuilder, input: &str, reach_ms: u64) {
    let left = builder.stream_with(input, Consumed::with(Clocked(Utf8), Bytes));
    let right = builder.stream_with(format!("{input}2"), Consumed::with(Utf8, Bytes));
    left.join(
        right,
        |_sensor, left: &Vec<u8>, right: &Vec<u8>| {
            let mut joined = left.clone();
            joined.resize(8 + right.len(), 0);
            joined
        },
        JoinWindows::of(Duration::from_millis(reach_ms)).grace(Duration::from_secs(3)),
        StreamJoined::with("pair", Utf8, Bytes, Bytes),
    )
    .to_with("out-join", Produced::with(Utf8, Bytes));
}
