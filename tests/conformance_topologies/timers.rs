use std::time::Duration;

use marea::Result;
use marea::base::Record;
use marea::codec::{I64, Utf8};
use marea::dsl::{Clock, KeyValueStore, Processed, Processor, Stores, StreamBuilder};

use super::processors::{Context, TextRecord, count, of_texts};
use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "punctuate-stream-time",
    "punctuate-wall-clock",
    "punctuate-cancel",
    "punctuate-both",
    "punctuate-anchored",
];

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let with_store = |name: &str| Processed::named(name).stores(["store"]);
    match name {
        "punctuate-stream-time" => {
            b.add_store(Stores::key_value("store", Utf8, I64));
            let flush = || Flush(Clock::Stream, 10);
            b.stream_with("in", strings())
                .process(flush, with_store("flush"))
                .to_with("out", out_longs());
        }
        "punctuate-wall-clock" => {
            b.add_store(Stores::key_value("store", Utf8, I64));
            let flush = || Flush(Clock::Wall, 100);
            b.stream_with("in", strings())
                .process(flush, with_store("flush"))
                .to_with("out", out_longs());
        }
        "punctuate-cancel" => b
            .stream_with("in", strings())
            .process(ThreeTicks::default, "ticks")
            .to_with("out", out()),
        "punctuate-both" => b
            .stream_with("in", strings())
            .process(|| TwoClocks, "clocks")
            .to_with("out", out()),
        "punctuate-anchored" => b
            .stream_with("in", strings())
            .process(|| Anchored, "clocks")
            .to_with("out", out()),
        _ => return false,
    }
    true
}

/// Counts by key until a timer forwards all counts in key order and deletes them.
struct Flush(Clock, u64);

impl Processor for Flush {
    of_texts!(Option<i64>);

    fn init(&mut self, context: &mut Context<'_, Option<i64>>) -> Result<()> {
        context.schedule("flush", Duration::from_millis(self.1), self.0)
    }

    fn process(
        &mut self,
        record: TextRecord,
        context: &mut Context<'_, Option<i64>>,
    ) -> Result<()> {
        match &record.key {
            Some(key) => count(context, key).map(drop),
            None => Ok(()),
        }
    }

    fn punctuate(
        &mut self,
        _timer: &str,
        time_ms: i64,
        context: &mut Context<'_, Option<i64>>,
    ) -> Result<()> {
        let store = context.store::<KeyValueStore<String, i64>>("store")?;
        for row in store.all()? {
            let (key, count) = row?;
            store.delete(&key)?;
            context.forward(Record::new(Some(key), Some(count), time_ms))?;
        }
        Ok(())
    }
}

/// Ticks three times on stream time, then cancels its timer; a value "x" sets a new one.
#[derive(Default)]
struct ThreeTicks(i64);

impl ThreeTicks {
    fn start(&mut self, context: &mut Context<'_, Text>) -> Result<()> {
        self.0 = 0;
        context.schedule("tick", Duration::from_millis(10), Clock::Stream)
    }
}

impl Processor for ThreeTicks {
    of_texts!(Text);

    fn init(&mut self, context: &mut Context<'_, Text>) -> Result<()> {
        self.start(context)
    }

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        if is(&record.value, "x") {
            context.cancel("tick")?;
            self.start(context)?;
        }
        let ticks = self.0;
        context.forward(record.map_value(|_, v| Some(format!("{} after {ticks}", read(&v)))))
    }

    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut Context<'_, Text>,
    ) -> Result<()> {
        self.0 += 1;
        let value = format!("tick {}", self.0);
        context.forward(Record::new(Some(timer.to_owned()), Some(value), time_ms))?;
        if self.0 == 3 {
            assert!(context.cancel(timer)?);
        }
        Ok(())
    }
}

/// A timer by stream time and one by the wall clock, side by side.
struct TwoClocks;

impl TwoClocks {
    fn clocks(context: &Context<'_, Text>) -> String {
        let (stream, wall) = (context.stream_time_ms(), context.wall_ms());
        format!("stream={stream} wall={wall}")
    }
}

impl Processor for TwoClocks {
    of_texts!(Text);

    fn init(&mut self, context: &mut Context<'_, Text>) -> Result<()> {
        context.schedule("stream", Duration::from_millis(20), Clock::Stream)?;
        context.schedule("wall", Duration::from_millis(50), Clock::Wall)
    }

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let clocks = Self::clocks(context);
        context.forward(record.map_value(|_, v| Some(format!("{} {clocks}", read(&v)))))
    }

    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut Context<'_, Text>,
    ) -> Result<()> {
        let value = format!("{timer} {}", Self::clocks(context));
        context.forward(Record::new(Some(timer.to_owned()), Some(value), time_ms))
    }
}

/// Two timers whose first times are given.
struct Anchored;

impl Processor for Anchored {
    of_texts!(Text);

    fn init(&mut self, context: &mut Context<'_, Text>) -> Result<()> {
        let ms = Duration::from_millis;
        context.schedule_from("stream", 5, ms(10), Clock::Stream)?;
        context.schedule_from("wall", 5, ms(100), Clock::Wall)
    }

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        context.forward(record)
    }

    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut Context<'_, Text>,
    ) -> Result<()> {
        let tick = Record::new(Some(timer.to_owned()), Some("tick".to_owned()), time_ms);
        context.forward(tick)
    }
}
