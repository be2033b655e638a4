//! The vocabulary of the topologies: the counterpart of `Vocabulary` on the Kafka Streams side.

use std::time::Duration;

use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned, StreamJoined};

/// Text as in Java: it may be null.
pub type Text = Option<String>;
pub const TEXT: Nullable<Utf8> = Nullable(Utf8);
pub const LONG: Nullable<I64> = Nullable(I64);

pub fn strings() -> Consumed<Text, Text> {
    Consumed::with(TEXT, TEXT)
}

pub fn longs() -> Consumed<Text, Option<i64>> {
    Consumed::with(TEXT, LONG)
}

pub fn out() -> Produced<Text, Text> {
    Produced::with(TEXT, TEXT)
}

/// The output of a table of texts.
pub fn out_rows() -> Produced<Text, Option<Text>> {
    Produced::with(TEXT, Nullable(TEXT))
}

pub fn out_longs() -> Produced<Text, Option<i64>> {
    Produced::with(TEXT, LONG)
}

pub type WindowedText = marea::codec::Windowed<Text>;

pub fn windowed(size_ms: i64) -> WindowedCodec<Nullable<Utf8>> {
    WindowedCodec::new(TEXT, size_ms)
}

pub fn out_windowed_longs(size_ms: i64) -> Produced<WindowedText, Option<i64>> {
    Produced::with(windowed(size_ms), LONG)
}

pub fn out_windowed_rows(size_ms: i64) -> Produced<WindowedText, Option<Text>> {
    Produced::with(windowed(size_ms), Nullable(TEXT))
}

pub fn grouped(name: &str) -> Grouped<Text, Text> {
    Grouped::with(name, TEXT, TEXT)
}

pub fn kv(store: &str) -> Materialized<Text> {
    Materialized::with(store, TEXT)
}

pub fn joined(name: &str) -> Joined<Text, Text> {
    Joined::with(name, TEXT, TEXT)
}

pub fn stream_joined(name: &str) -> StreamJoined<Text, Text, Text> {
    StreamJoined::with(name, TEXT, TEXT, TEXT)
}

pub fn repartitioned(name: &str) -> Repartitioned<Text, Text> {
    Repartitioned::with(name, TEXT, TEXT)
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A text as Java's concatenation renders it.
pub fn read(text: &Text) -> &str {
    text.as_deref().unwrap_or("null")
}

pub fn plus(left: &Text, right: &Text) -> Text {
    Some(format!("{}+{}", read(left), read(right)))
}

/// The last 12 characters (UTF-16 units) of a string.
pub fn tail(text: &str) -> String {
    let units: Vec<u16> = text.encode_utf16().collect();
    String::from_utf16_lossy(&units[units.len().saturating_sub(12)..])
}

/// The aggregate so far with something appended, shortened.
pub fn append(so_far: &Text, more: &str) -> Text {
    Some(tail(&format!("{}{more}", read(so_far))))
}

pub fn split(value: &Text) -> Vec<String> {
    let parts = value.iter().flat_map(|value| value.split('-'));
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

pub fn before(value: &Text) -> Text {
    let (before, _) = value.as_ref()?.split_once(':')?;
    Some(before.to_owned())
}

/// The first character (UTF-16 unit; the vectors have no others) of a text.
pub fn first(value: &Text) -> Text {
    value.as_ref()?.chars().next().map(String::from)
}

pub fn starts(value: &Text, prefix: &str) -> bool {
    value
        .as_ref()
        .is_some_and(|value| value.starts_with(prefix))
}

pub fn is(value: &Text, text: &str) -> bool {
    value.as_deref() == Some(text)
}
