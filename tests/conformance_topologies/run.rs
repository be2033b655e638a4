//! Runs one script through the driver, and compares its results as JSON.

use std::time::Duration;

use marea::base::{Headers, Record};
use marea::codec::{Bytes, Codec, I64, Nullable, SessionWindowedCodec, Utf8, WindowedCodec};
use marea::state::StoreType;
use marea::task::{ErrorPolicies, Policy};
use marea::testing::{Driver, DriverBackend};
use marea::topology::Topology;
use marea::{Error, Result};
use serde_json::{Value, json};

type RawRecord = Record<Option<Vec<u8>>, Option<Vec<u8>>>;
const RAW: Nullable<Bytes> = Nullable(Bytes);

/// Where committed rows live.
#[derive(Clone, Copy)]
pub enum Backing {
    Memory,
    RocksDb,
}

/// The backends to run a topology on.
pub fn backings(topology: &Topology) -> Vec<Backing> {
    let mut stores = topology.stores().iter();
    if stores.any(|store| store.store_type == StoreType::Persistent) {
        vec![Backing::Memory, Backing::RocksDb]
    } else {
        vec![Backing::Memory]
    }
}

/// Runs a script and returns where the results differ from the vectors.
pub fn differences(
    topology: &Topology,
    vectors: &Value,
    script: &Value,
    backing: Backing,
) -> Result<Vec<String>> {
    let directory = tempfile::tempdir().map_err(|error| Error::user(error.to_string()))?;
    let mut builder = Driver::builder(topology.clone()).application("conformance");
    if let Backing::RocksDb = backing {
        let path = directory.path().join("state");
        // Without a cache every read shows the content of RocksDB.
        builder = builder.backend(DriverBackend::RocksDb(path)).cache_bytes(0);
    }
    builder = builder.policies(policies(&vectors["config"]));
    let mut driver = builder.build()?;
    let mut found = Vec::new();
    for (number, step) in array(&script["steps"]).iter().enumerate() {
        if let Some(ms) = step["advance_wall_ms"].as_u64() {
            driver.advance_wall_clock(Duration::from_millis(ms))?;
        } else {
            pipe(&mut driver, vectors, step)?;
        }
        for (topic, format) in object(&vectors["outputs"]) {
            let got: Vec<Value> = driver
                .output_topic_with(topic, RAW, RAW)
                .read(&mut driver)?
                .into_iter()
                .map(|record| show(record, format))
                .collect::<Result<_>>()?;
            let expected: Vec<Value> = array(&script["expect"])
                .iter()
                .filter(|entry| entry["after_step"] == number && entry["topic"] == **topic)
                .map(|entry| without_place(entry.clone()))
                .collect();
            if got != expected {
                found.push(format!(
                    "step {number} {step}\n  on {topic} expected {}\n  on {topic} got      {}",
                    lines(&expected),
                    lines(&got)
                ));
            }
        }
    }
    for (store, kind) in object(&vectors["store_kinds"]) {
        let got = rows(&driver, topology, store, kind.as_str().unwrap_or_default())?;
        let expected = array(&script["stores"][store]);
        if got != expected {
            let (expected, got) = (lines(expected), lines(&got));
            found.push(format!(
                "store {store}\n  expected {expected}\n  got      {got}"
            ));
        }
    }
    let (expected, got) = (&script["dropped"], driver.drops().kafka_streams_total());
    if *expected != got {
        let drops = driver.drops();
        found.push(format!(
            "dropped: expected {expected}, got {got}: {drops:?}"
        ));
    }
    if !driver.rebuild_and_compare()? {
        return Err(marea::Error::corrupt(
            "state rebuilt from the changelogs differs",
        ));
    }
    Ok(found)
}

/// The policies in the configuration of the vectors.
fn policies(config: &Value) -> ErrorPolicies {
    let of = |handler: &str, policy| match config[handler].is_null() {
        true => Policy::Fail,
        false => policy,
    };
    ErrorPolicies {
        decode: of("deserialization.exception.handler", Policy::Skip),
        process: of("processing.exception.handler", Policy::Continue),
        encode: Policy::Fail,
    }
}

fn pipe(driver: &mut Driver, vectors: &Value, step: &Value) -> Result<()> {
    let topic = step["topic"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let mut headers = Headers::default();
    for header in array(&step["headers"]) {
        headers.add(header[0].as_str().unwrap_or_default(), text(&header[1]));
    }
    let value = match vectors["inputs"][topic]["value"].as_str() {
        Some("long") => step["value"]
            .as_i64()
            .map(|value| value.to_be_bytes().to_vec()),
        _ => text(&step["value"]),
    };
    let record = Record {
        key: text(&step["key"]),
        value,
        timestamp_ms: step["ts"].as_i64().unwrap_or(-1),
        headers,
    };
    driver
        .input_topic_with(topic, RAW, RAW)
        .pipe(driver, record)
}

fn show(record: RawRecord, format: &Value) -> Result<Value> {
    let key = record.key.as_deref();
    let key = match format["key"].as_str() {
        Some("windowed") => {
            let size_ms = format["window_size_ms"].as_i64().unwrap_or_default();
            let window = WindowedCodec::new(Utf8, size_ms).decode(key)?;
            json!({"key": window.key, "start": window.start_ms, "end": window.end_ms})
        }
        Some("session") => {
            let session = SessionWindowedCodec(Utf8).decode(key)?;
            json!({"key": session.key, "start": session.start_ms, "end": session.end_ms})
        }
        _ => json!(Nullable(Utf8).decode(key)?),
    };
    let value = record.value.as_deref();
    let value = show_value(value, format["value"].as_str() == Some("long"))?;
    let mut shown = json!({"key": key, "value": value, "ts": record.timestamp_ms});
    if !record.headers.is_empty() {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = record.headers.as_slice().iter();
        let headers = headers.map(|header| json!([header.key, header.value.as_deref().map(text)]));
        shown["headers"] = headers.collect();
    }
    Ok(shown)
}

fn show_value(value: Option<&[u8]>, long: bool) -> Result<Value> {
    Ok(match long {
        true => json!(Nullable(I64).decode(value)?),
        false => json!(Nullable(Utf8).decode(value)?),
    })
}

/// Key and window to sort by, the key as JSON, value, timestamp.
type Row = (String, (i64, i64), Value, Vec<u8>, Option<i64>);

fn rows(driver: &Driver, topology: &Topology, store: &str, kind: &str) -> Result<Vec<Value>> {
    let spec = topology.stores().iter().find(|spec| spec.name == store);
    let long = spec.is_some_and(|spec| spec.codecs.1 == "i64");
    let mut rows = Vec::new();
    if kind.ends_with("window") || kind == "session" {
        for (key, value, ts) in driver.window_rows(store, Utf8, Bytes)? {
            let window = json!({"key": key.key, "start": key.start_ms, "end": key.end_ms});
            rows.push((key.key, (key.start_ms, key.end_ms), window, value, ts));
        }
    } else {
        for (key, value, ts) in driver.key_value_rows(store, Utf8, Bytes)? {
            rows.push((key.clone(), (0, 0), json!(key), value, ts));
        }
    }
    rows.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    let show = |(_, _, key, value, ts): Row| {
        let mut row = json!({"key": key, "value": show_value(Some(&value), long)?});
        if let Some(ts) = ts {
            row["ts"] = json!(ts);
        }
        Ok(row)
    };
    rows.into_iter().map(show).collect()
}

fn without_place(mut entry: Value) -> Value {
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("after_step");
        fields.remove("topic");
    }
    entry
}

fn lines(values: &[Value]) -> String {
    let lines: Vec<String> = values.iter().map(Value::to_string).collect();
    lines.join("\n           ")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
