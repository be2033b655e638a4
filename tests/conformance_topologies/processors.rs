use std::time::Duration;

use marea::base::Record;
use marea::codec::{I64, Utf8};
use marea::dsl::{
    FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, KeyValueStore, Processed, Processor,
    ProcessorContext, RecordMetadata, Stores, StreamBuilder, TimeWindows,
};
use marea::{Error, Result};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "process-count",
    "process-values",
    "processor-topology",
    "forward-to-child",
    "forward-timestamps",
    "forward-timestamps-tumbling",
    "forward-headers",
    "two-processors-one-store",
    "global-store-processor",
    "record-metadata",
    "record-metadata-repartitioned",
];

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let with_store = |name: &str| Processed::named(name).stores(["store"]);
    match name {
        "process-count" => {
            b.add_store(Stores::key_value("store", Utf8, I64));
            b.stream_with("in", strings())
                .process(|| Count, with_store("count"))
                .to_with("out", out_longs());
        }
        "process-values" => {
            b.add_store(Stores::key_value("store", Utf8, Utf8).in_memory());
            b.stream_with("in", strings())
                .process_values(|| Previous, with_store("previous"))
                .to_with("out", out());
        }
        "processor-topology" => {
            b.add_store(Stores::key_value("store", Utf8, I64));
            let counts = b.add_processor(
                [b.stream_with("in", strings())],
                || EvenOdd,
                with_store("count"),
            );
            counts.child("even").to_with("out-even", out_longs());
            counts.child("odd").to_with("out-odd", out_longs());
        }
        "forward-to-child" => {
            let routed = b.stream_with("in", strings()).process(|| Router, "router");
            let mark = |mark: &'static str| move |_: &Text, v| Some(format!("{}>{mark}", read(&v)));
            let to_x = routed.clone().map_values(mark("x")).named("to-x");
            to_x.to_with("out-x", out());
            routed
                .map_values(mark("y"))
                .named("to-y")
                .to_with("out-y", out());
        }
        "forward-timestamps" => b
            .stream_with("in", strings())
            .process(|| ThreeTimestamps, "timestamps")
            .to_with("out", out()),
        "forward-timestamps-tumbling" => {
            let windows =
                TimeWindows::of(Duration::from_millis(10)).grace(Duration::from_millis(5));
            b.stream_with("in", strings())
                .process(|| SevenMore, "shift")
                .group_by_key(grouped("by-key"))
                .windowed_by(windows)
                .count("counts")
                .to_stream()
                .to_with("out", out_windowed_longs(10));
        }
        "forward-headers" => b
            .stream_with("in", strings())
            .process(|| EditHeaders, "headers")
            .to_with("out", out()),
        "two-processors-one-store" => {
            b.add_store(Stores::key_value("store", Utf8, Utf8));
            let _ends = b
                .stream_with("in1", strings())
                .process(|| Write, with_store("write"));
            b.stream_with("in2", strings())
                .process(|| LookUp, with_store("look-up"))
                .to_with("out", out());
        }
        "global-store-processor" => {
            let store = Stores::key_value("store", Utf8, Utf8).not_logged();
            b.add_global_store(store, "global", strings(), || WriteUpper);
            b.stream_with("in", strings())
                .process(|| LookUp, with_store("look-up"))
                .to_with("out", out());
        }
        "record-metadata" => b
            .stream_with("in1", strings())
            .merge(b.stream_with("in2", strings()))
            .process(|| Metadata, "metadata")
            .to_with("out", out()),
        "record-metadata-repartitioned" => b
            .stream_with("in", strings())
            .repartition(repartitioned("again"))
            .process(|| Metadata, "metadata")
            .to_with("out", out()),
        _ => return false,
    }
    true
}

pub(super) type Context<'a, V> = ProcessorContext<'a, Text, V>;
pub(super) type TextRecord = Record<Text, Text>;

fn metadata<'a>(context: &'a Context<'_, Text>) -> Result<RecordMetadata<'a>> {
    let metadata = context.record_metadata();
    metadata.ok_or_else(|| Error::user("no record is handled"))
}

/// The types of all processors here.
macro_rules! of_texts {
    ($out:ty) => {
        type KeyIn = Text;
        type ValueIn = Text;
        type KeyOut = Text;
        type ValueOut = $out;
    };
}
pub(super) use of_texts;

pub(super) fn count<V: 'static>(context: &Context<'_, V>, key: &String) -> Result<i64> {
    let store = context.store::<KeyValueStore<String, i64>>("store")?;
    let count = store.get(key)?.unwrap_or(0) + 1;
    store.put(key, &count)?;
    Ok(count)
}

/// Counts by key; a null value deletes and is forwarded; a null key is ignored.
struct Count;

impl Processor for Count {
    of_texts!(Option<i64>);

    fn process(
        &mut self,
        record: TextRecord,
        context: &mut Context<'_, Option<i64>>,
    ) -> Result<()> {
        let Some(key) = &record.key else {
            return Ok(());
        };
        let count = match record.value {
            Some(_) => Some(count(context, key)?),
            None => {
                let store = context.store::<KeyValueStore<String, i64>>("store")?;
                store.delete(key)?;
                None
            }
        };
        context.forward(record.map_value(|_, _| count))
    }
}

/// Forwards even counts to one child and odd ones to another.
struct EvenOdd;

impl Processor for EvenOdd {
    of_texts!(Option<i64>);

    fn process(
        &mut self,
        record: TextRecord,
        context: &mut Context<'_, Option<i64>>,
    ) -> Result<()> {
        let Some(key) = &record.key else {
            return Ok(());
        };
        let count = count(context, key)?;
        let child = if count % 2 == 0 { "even" } else { "odd" };
        context.forward_to(child, record.map_value(|_, _| Some(count)))
    }
}

/// Forwards "previous->value" and remembers the value.
struct Previous;

impl FixedKeyProcessor for Previous {
    type Key = Text;
    type ValueIn = Text;
    type ValueOut = Text;

    fn process(
        &mut self,
        record: FixedKeyRecord<Text, Text>,
        context: &mut FixedKeyContext<'_, '_, Text, Text>,
    ) -> Result<()> {
        let Some(key) = record.key() else {
            return context.forward(record);
        };
        let store = context.store::<KeyValueStore<String, String>>("store")?;
        let previous = store.get(key)?;
        match &record.value {
            Some(value) => store.put(key, value)?,
            None => drop(store.delete(key)?),
        }
        let value = format!("{}->{}", read(&previous), read(&record.value));
        context.forward(record.with_value(Some(value)))
    }
}

/// Forwards to one child by name, to both by name, or to all.
struct Router;

impl Processor for Router {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        if is(&record.value, "x") {
            return context.forward_to("to-x", record);
        }
        if is(&record.value, "y") {
            let with = |value: &str| record.clone().map_value(|_, _| Some(value.to_owned()));
            context.forward_to("to-y", with("y1"))?;
            return context.forward_to("to-x", with("y2"));
        }
        context.forward(record)
    }
}

struct ThreeTimestamps;

impl Processor for ThreeTimestamps {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        for timestamp_ms in [record.timestamp_ms, record.timestamp_ms + 100, 0] {
            let mut copy = record.clone();
            copy.timestamp_ms = timestamp_ms;
            context.forward(copy)?;
        }
        Ok(())
    }
}

/// Moves records at even offsets into the future and those at odd ones into the past.
struct SevenMore;

impl Processor for SevenMore {
    of_texts!(Text);

    fn process(&mut self, mut record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let metadata = metadata(context)?;
        let shift_ms = if metadata.offset % 2 == 0 { 7 } else { -7 };
        record.timestamp_ms = (record.timestamp_ms + shift_ms).max(0);
        context.forward(record)
    }
}

/// Adds a header and removes another; then forwards the record without any.
struct EditHeaders;

impl Processor for EditHeaders {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let mut edited = record.clone();
        edited.headers = record
            .headers
            .as_slice()
            .iter()
            .filter(|header| header.key != "drop")
            .fold(
                Default::default(),
                |mut headers: marea::base::Headers, header| {
                    headers.add(&header.key, header.value.clone());
                    headers
                },
            );
        let seen = record.value.clone().map(String::into_bytes);
        edited.headers.add("seen", seen);
        context.forward(edited)?;
        let mut bare = record;
        bare.headers = Default::default();
        context.forward(bare)
    }
}

/// Writes each record with a key to the store.
struct Write;

impl Processor for Write {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let store = context.store::<KeyValueStore<String, String>>("store")?;
        match (&record.key, &record.value) {
            (Some(key), Some(value)) => store.put(key, value),
            (Some(key), None) => store.delete(key).map(drop),
            (None, _) => Ok(()),
        }
    }
}

/// Writes the upper-cased value of each record with a key to the store.
struct WriteUpper;

impl Processor for WriteUpper {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let upper = record.map_value(|_, v| v.map(|v| v.to_uppercase()));
        Write.process(upper, context)
    }
}

/// Forwards "value@stored".
struct LookUp;

impl Processor for LookUp {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let store = context.store::<KeyValueStore<String, String>>("store")?;
        let stored = match &record.key {
            Some(key) => store.get(key)?,
            None => None,
        };
        context.forward(record.map_value(|_, v| Some(format!("{}@{}", read(&v), read(&stored)))))
    }
}

/// Forwards "topic/partition/offset@stream time".
struct Metadata;

impl Processor for Metadata {
    of_texts!(Text);

    fn process(&mut self, record: TextRecord, context: &mut Context<'_, Text>) -> Result<()> {
        let metadata = metadata(context)?;
        let (topic, partition, offset) = (metadata.topic, metadata.partition, metadata.offset);
        let place = format!("{topic}/{partition}/{offset}@{}", context.stream_time_ms());
        context.forward(record.map_value(|_, _| Some(place)))
    }
}
