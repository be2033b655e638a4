use marea::Result;
use marea::base::Record;
use marea::codec::{I64, SessionWindowedCodec};
use marea::dsl::{
    Materialized, Processor, ProcessorContext, Produced, SessionWindows, SlidingWindows,
    StreamBuilder, TimeWindows,
};

use super::words::*;

pub const NAMES: &[&str] = &[
    "emit-final-tumbling",
    "emit-final-tumbling-grace-5",
    "emit-final-tumbling-retention",
    "emit-final-hopping",
    "emit-final-hopping-retention",
    "emit-final-sliding",
    "emit-final-sliding-retention",
    "headers-emit-final",
    "cached-count-burst",
    "cached-tumbling-burst",
    "cached-session-burst",
];

const DAY: u64 = 86_400_000;

fn counts(retention: u64) -> Materialized<i64> {
    Materialized::with("counts", I64).retention(ms(retention))
}

// The stores have the default retention of Kafka Streams, or a day if the vectors say so. A cache of Kafka Streams
// also shows rows that are past the retention; here a longer retention has that effect.
pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let by_key = || {
        b.stream_with("in", strings())
            .group_by_key(grouped("by-key"))
    };
    let ten = || TimeWindows::of(ms(10));
    let hopping = || ten().grace(ms(3)).advance_by(ms(4));
    let sliding = || SlidingWindows::of(ms(10)).grace(ms(5));
    let in_time = || {
        b.stream_with("in", strings())
            .process(|| SplitInTime, "explode")
            .group_by_key(grouped("by-key"))
    };
    match name {
        "emit-final-tumbling" | "headers-emit-final" => by_key()
            .windowed_by(ten())
            .emit_on_close()
            .count(counts(10))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "emit-final-tumbling-retention" => by_key()
            .windowed_by(ten())
            .emit_on_close()
            .count(counts(DAY))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "emit-final-tumbling-grace-5" => by_key()
            .windowed_by(ten().grace(ms(5)))
            .emit_on_close()
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| append(&so_far, read(&v)),
                kv("aggregates").retention(ms(15)),
            )
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "emit-final-hopping" => by_key()
            .windowed_by(hopping())
            .emit_on_close()
            .count(counts(13))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "emit-final-hopping-retention" => by_key()
            .windowed_by(hopping())
            .emit_on_close()
            .count(counts(DAY))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "emit-final-sliding" => by_key()
            .windowed_by(sliding())
            .emit_on_close()
            .count(counts(25))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "emit-final-sliding-retention" => by_key()
            .windowed_by(sliding())
            .emit_on_close()
            .count(counts(DAY))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "cached-count-burst" => b
            .stream_with("in", strings())
            .flat_map_values(|_, v| split(&v).into_iter().map(Some).collect::<Vec<_>>())
            .group_by_key(grouped("by-key"))
            .count(Materialized::with("counts", I64).cached())
            .to_stream()
            .to_with("out", out_longs()),
        "cached-tumbling-burst" => in_time()
            .windowed_by(ten().grace(ms(5)))
            .count(counts(DAY).cached())
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "cached-session-burst" => in_time()
            .windowed_by(SessionWindows::with_gap(ms(5)).grace(ms(20)))
            .count(counts(DAY).cached())
            .to_stream()
            .to_with("out", Produced::with(SessionWindowedCodec(TEXT), LONG)),
        _ => return false,
    }
    true
}

/// Each part of a value 6 ms later than the one before.
struct SplitInTime;

impl Processor for SplitInTime {
    type KeyIn = Text;
    type ValueIn = Text;
    type KeyOut = Text;
    type ValueOut = Text;

    fn process(
        &mut self,
        record: Record<Text, Text>,
        context: &mut ProcessorContext<'_, Text, Text>,
    ) -> Result<()> {
        for (part, late_ms) in split(&record.value).into_iter().zip((0..).step_by(6)) {
            context.forward(Record {
                key: record.key.clone(),
                value: Some(part),
                timestamp_ms: record.timestamp_ms + late_ms,
                headers: record.headers.clone(),
            })?;
        }
        Ok(())
    }
}
