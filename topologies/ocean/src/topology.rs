//! The pipeline, on one screen.

use std::time::Duration;

use marea::base::Result;
use marea::codec::{Bytes, I64, Json, Nullable, Utf8};
use marea::dsl::{
    Consumed, Grouped, Materialized, Produced, StreamBuilder, Suppressed, TimeWindows,
};
use marea::log::TopicSpec;
use marea::runtime::{ErrorPolicies, Policy};
use marea::topology::Topology;

use crate::codec::{MeasurementCodec, ReadingCodec, SumsCodec};
use crate::model::{Alert, Average, Measurement, OceanSet, Sums};

/// The application's name, the prefix of its internal topics.
pub const APPLICATION: &str = "ocean";
/// Raw readings: JSON objects, keyed by sensor.
pub const READINGS: &str = "ocean-readings";
/// Invalid readings as they came, with the reason in their headers.
pub const DEAD_LETTERS: &str = "ocean-dead-letters";
/// Final averages, by ocean: one per ocean and window with readings.
pub const AVERAGES: &str = "ocean-averages";
/// Alerts, by ocean.
pub const ALERTS: &str = "ocean-alerts";
/// The topic behind the re-keying by ocean.
pub const BY_OCEAN: &str = "ocean-by-ocean-repartition";

/// 1 January 2100: later timestamps come from a wrong clock, and would close all windows before them.
pub const LATEST_MS: i64 = 4_102_444_800_000;
/// A dead letter holds a whole record of the topic of readings and the headers that say why. (Much more than that:
/// earlier releases wrote them as JSON.)
const DEAD_LETTER_BYTES: usize = 8 << 20;

/// The options of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of a window.
    pub window: Duration,
    /// How long after its end a window accepts readings, by the readings' timestamps.
    pub grace: Duration,
    /// The latest timestamp that is accepted, in milliseconds since 1970.
    pub latest_ms: i64,
}

impl Default for Options {
    /// Daily averages of readings that arrive up to twelve hours late.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(86_400),
            grace: Duration::from_secs(43_200),
            latest_ms: LATEST_MS,
        }
    }
}

/// The pipeline. An invalid reading cannot be decoded: run it with [`policies`] and `dead_letter_topic:`
/// [`DEAD_LETTERS`], or it fails at the first one.
///
/// ```
/// let topology = ocean::topology::build(ocean::topology::Options::default())?;
/// assert_eq!(topology.source_topics(), ["ocean-readings"]);
/// # Ok::<(), marea::Error>(())
/// ```
///
/// # Errors
/// `Invalid` if the window is empty.
pub fn build(options: Options) -> Result<Topology> {
    let windows = TimeWindows::of(options.window).grace(options.grace);
    let latest_ms = options.latest_ms;
    let valid = Consumed::with(Nullable(Bytes), ReadingCodec { latest_ms });
    let alerts = || Produced::with(Utf8, Json::<Alert>::new());

    let builder = StreamBuilder::new();
    let valid = builder.stream_with(READINGS, valid).map(|_, reading| {
        let measurement = Measurement::of(&reading);
        (reading.ocean, measurement)
    });

    let averages = valid
        .clone()
        .group_by_key(Grouped::with("by-ocean", Utf8, MeasurementCodec))
        .windowed_by(windows)
        .aggregate(
            Sums::default,
            |_ocean, measurement: Measurement, sums| sums.with(measurement),
            Materialized::with("ocean-sums", SumsCodec),
        )
        .suppress(Suppressed::until_window_closes_with(
            "ocean-final",
            SumsCodec,
        ))
        .to_stream()
        .present()
        .map(|window, sums| (window.key.clone(), Average::of(&window, &sums)));
    averages
        .clone()
        .to_with(AVERAGES, Produced::with(Utf8, Json::<Average>::new()));
    averages
        .flat_map_values(|_, average| average.out_of_bounds())
        .to_with(ALERTS, alerts());

    // The oceans with readings in a window are collected in one place, hence the single key.
    valid
        .map(|ocean, _| (0, ocean))
        .group_by_key(Grouped::with("by-window", I64, Utf8))
        .windowed_by(windows)
        .aggregate(
            || 0,
            |_, ocean: String, seen| OceanSet(seen).with(&ocean).0,
            Materialized::with("oceans-seen", I64),
        )
        .suppress(Suppressed::until_window_closes_with("oceans-complete", I64))
        .to_stream()
        .present()
        .flat_map(|window, seen| {
            OceanSet(seen)
                .missing(&window)
                .into_iter()
                .map(|alert| (alert.ocean.clone(), alert))
        })
        .to_with(ALERTS, alerts());
    builder.build()
}

/// The policies of the pipeline: an invalid reading becomes a dead letter; any other error is a defect.
pub fn policies() -> ErrorPolicies {
    ErrorPolicies {
        decode: Policy::DeadLetter,
        ..ErrorPolicies::default()
    }
}

/// The topics that the pipeline reads and writes. Readings have `partitions`; results have one, so that
/// they have an order.
pub fn topics(partitions: u32) -> [TopicSpec; 4] {
    let mut dead_letters = TopicSpec::new(DEAD_LETTERS, 1);
    dead_letters.max_record_bytes = DEAD_LETTER_BYTES;
    [
        TopicSpec::new(READINGS, partitions),
        dead_letters,
        TopicSpec::new(AVERAGES, 1),
        TopicSpec::new(ALERTS, 1),
    ]
}
