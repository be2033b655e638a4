//! Stores of every kind that processors use directly.

use std::fmt::Display;

use marea::base::Record;
use marea::codec::{Utf8, Windowed};
use marea::dsl::{
    KeyValueStore, LruStore, Processed, Processor, ProcessorContext, SessionStore,
    StoreDeclaration, Stores, StreamBuilder, TimestampedKeyValueStore, TypedStore, VersionedRecord,
    VersionedStore, WindowStore,
};
use marea::state::{Direction, VersionedPut, WindowRules};
use marea::{Error, Result};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "store-key-value",
    "store-key-value-in-memory",
    "store-lru",
    "store-timestamped",
    "store-window",
    "store-window-in-memory",
    "store-window-duplicates",
    "store-session",
    "store-session-in-memory",
    "store-versioned",
    "store-versioned-segments",
];

type TextStore<S> = StoreDeclaration<S>;

/// A store, and what a processor reports of it after each record with a key.
fn probe<S: TypedStore>(
    b: &StreamBuilder,
    store: TextStore<S>,
    say: impl Fn(&S, &String, &TextRecord) -> Result<Option<(Text, i64)>>
    + Send
    + Sync
    + Clone
    + 'static,
) {
    b.add_store(store);
    b.stream_with("in", strings())
        .process(
            move || Probe(say.clone(), std::marker::PhantomData::<fn() -> S>),
            Processed::named("probe").stores(["store"]),
        )
        .to_with("out", out());
}

type TextRecord = Record<Text, Text>;

struct Probe<F, S>(F, std::marker::PhantomData<S>);

impl<S, F> Processor for Probe<F, fn() -> S>
where
    S: TypedStore,
    F: Fn(&S, &String, &TextRecord) -> Result<Option<(Text, i64)>> + 'static,
{
    type KeyIn = Text;
    type ValueIn = Text;
    type KeyOut = Text;
    type ValueOut = Text;

    fn process(
        &mut self,
        record: TextRecord,
        context: &mut ProcessorContext<'_, Text, Text>,
    ) -> Result<()> {
        let Some(key) = &record.key else {
            return Ok(());
        };
        let store = context.store::<S>("store")?;
        match (self.0)(&store, key, &record)? {
            None => Ok(()),
            Some((value, timestamp_ms)) => context.forward(Record {
                timestamp_ms,
                ..record.map_value(|_, _| value)
            }),
        }
    }
}

fn said(text: String, record: &TextRecord) -> Result<Option<(Text, i64)>> {
    Ok(Some((Some(text), record.timestamp_ms)))
}

fn list<K, R>(
    rows: impl Iterator<Item = Result<R>>,
    show: impl Fn(R) -> (K, String),
) -> Result<String>
where
    K: Display,
{
    let rows = rows.map(|row| {
        let (key, value) = show(row?);
        Ok(format!("{key}={value}"))
    });
    Ok(format!(
        "{{{}}}",
        rows.collect::<Result<Vec<_>>>()?.join(",")
    ))
}

fn key_values(
    store: &KeyValueStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let had = match &record.value {
        None => store.delete(key)?,
        Some(value) => match value.strip_suffix('?') {
            Some(value) => store.put_if_absent(key, &value.to_owned())?,
            None => {
                let had = store.get(key)?;
                store.put(key, value)?;
                had
            }
        },
    };
    let (b, c) = ("b".to_owned(), "c".to_owned());
    let show = |row| row;
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    let text = format!(
        "had={} range={} all={} reverse={} upto={} back={} prefix={}",
        read(&had),
        list(store.range(b.clone()..=c, forward)?, show)?,
        list(store.all()?, show)?,
        list(store.range(.., backward)?, show)?,
        list(store.range(..=b.clone(), forward)?, show)?,
        list(store.range(b.., backward)?, show)?,
        list(store.prefix_scan(key)?, show)?,
    );
    said(text, record)
}

fn least_recent(
    store: &LruStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let text = match &record.value {
        Some(value) if value == "?" => format!("got={}", read(&store.get(key)?)),
        Some(value) => {
            store.put(key, value)?;
            "put".to_owned()
        }
        None => {
            store.delete(key)?;
            "put".to_owned()
        }
    };
    said(text, record)
}

fn newest(
    store: &TimestampedKeyValueStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let Some(value) = &record.value else {
        return Ok(None);
    };
    let had = store.get(key)?;
    if had.is_none_or(|(_, timestamp_ms)| timestamp_ms <= record.timestamp_ms) {
        store.put(key, value, record.timestamp_ms)?;
    }
    let now = store.get(key)?;
    let (value, timestamp_ms) = now.ok_or_else(|| Error::user("it was put"))?;
    Ok(Some((Some(value), timestamp_ms)))
}

fn windows(
    store: &WindowStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let (from_ms, to_ms) = ((record.timestamp_ms - 10).max(0), record.timestamp_ms + 10);
    match &record.value {
        Some(value) => store.put(key, value, record.timestamp_ms)?,
        None => store.delete(key, record.timestamp_ms)?,
    };
    let between = "a".to_owned()..="c".to_owned();
    // The serde of Java's store does not contain the end: it uses the size that the store was created with.
    let in_range = |(key, start_ms, value): (String, i64, String)| {
        (format!("{key}@{start_ms}-{}", start_ms + 10), value)
    };
    let of_key = |(_, start_ms, value): (String, i64, String)| (start_ms, value);
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    let text = format!(
        "key={} range={} back={} first={}",
        list(store.fetch_range(key, from_ms, to_ms, forward)?, of_key)?,
        list(
            store.fetch_keys(between, from_ms, to_ms, forward)?,
            in_range
        )?,
        list(store.fetch_range(key, from_ms, to_ms, backward)?, of_key)?,
        read(&store.fetch(key, from_ms)?),
    );
    said(text, record)
}

fn sessions(
    store: &SessionStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let (start_ms, end_ms) = (record.timestamp_ms, record.timestamp_ms + 4);
    let session = Windowed {
        key: key.clone(),
        start_ms,
        end_ms,
    };
    match &record.value {
        Some(value) => drop(store.put(&session, value)?),
        None => store.remove(&session)?,
    }
    let (from_ms, to_ms) = ((record.timestamp_ms - 10).max(0), record.timestamp_ms + 5);
    let show = |(session, value): (Windowed<String>, String)| {
        let Windowed {
            key,
            start_ms,
            end_ms,
        } = session;
        (format!("{key}@{start_ms}-{end_ms}"), value)
    };
    let between = "a".to_owned()..="c".to_owned();
    let forward = Direction::Forward;
    let text = format!(
        "key={} range={} exact={}",
        list(store.find_sessions(key, from_ms, to_ms, forward)?, show)?,
        list(store.find_keys(between, from_ms, to_ms, forward)?, show)?,
        read(&store.fetch(key, start_ms, end_ms)?),
    );
    said(text, record)
}

fn versions(
    store: &VersionedStore<String, String>,
    key: &String,
    record: &TextRecord,
) -> Result<Option<(Text, i64)>> {
    let show = |version: Option<VersionedRecord<String>>| {
        let Some(version) = version else {
            return "null".to_owned();
        };
        // Java's typed store does not return until when a version was valid, ours does.
        format!("{}[{},)", version.value, version.timestamp_ms)
    };
    let at_ms = record.timestamp_ms;
    let outcome = match &record.value {
        None => format!("deleted={}", show(store.delete(key, at_ms)?)),
        Some(value) => {
            let put = store.put(key, value, at_ms)?;
            // With the codes of Java's store.
            let code = match put {
                VersionedPut::Stored(until_ms) => until_ms.unwrap_or(-1),
                VersionedPut::Expired => i64::MIN,
            };
            format!("put={code}")
        }
    };
    let text = format!(
        "{outcome} latest={} 5={} 20={}",
        show(store.get(key)?),
        show(store.get_as_of(key, (at_ms - 5).max(0))?),
        show(store.get_as_of(key, (at_ms - 20).max(0))?),
    );
    said(text, record)
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let window = |duplicates| {
        let rules = WindowRules {
            window_size_ms: 10,
            retention_ms: 100,
            duplicates,
        };
        Stores::window("store", Utf8, Utf8, rules)
    };
    let (Ok(session), Ok(versioned)) = (
        Stores::session("store", Utf8, Utf8, ms(100)),
        Stores::versioned("store", Utf8, Utf8, ms(50)),
    ) else {
        return false;
    };
    match name {
        "store-key-value" => probe(b, Stores::key_value("store", Utf8, Utf8), key_values),
        "store-key-value-in-memory" => probe(
            b,
            Stores::key_value("store", Utf8, Utf8).in_memory(),
            key_values,
        ),
        "store-lru" => probe(
            b,
            Stores::lru("store", Utf8, Utf8, 2).in_memory(),
            least_recent,
        ),
        "store-timestamped" => probe(
            b,
            Stores::timestamped_key_value("store", Utf8, Utf8),
            newest,
        ),
        "store-window" => probe(b, window(false), windows),
        "store-window-in-memory" => probe(b, window(false).in_memory(), windows),
        "store-window-duplicates" => probe(b, window(true), windows),
        "store-session" => probe(b, session, sessions),
        "store-session-in-memory" => probe(b, session.in_memory(), sessions),
        // How a history is divided into segments does not show.
        "store-versioned" | "store-versioned-segments" => {
            probe(b, versioned, versions);
        }
        _ => return false,
    }
    true
}
