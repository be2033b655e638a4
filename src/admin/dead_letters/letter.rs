//! One dead letter, as a task wrote it.

use serde_json::{Value, json};

use crate::base::{Header, Offset, Result, TopicPartition};
use crate::log::RecordRef;

/// The prefix of the headers that give the reason.
const PREFIX: &str = "marea.error.";
/// How many bytes of a key or a value are shown.
const SHOWN_BYTES: usize = 2_048;

/// A record that a policy has set aside.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) place: TopicPartition,
    pub(super) offset: Offset,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    /// The record's own headers.
    pub(super) headers: Vec<Header>,
    /// Where it comes from; `None` if the headers do not say.
    pub(super) source: Option<TopicPartition>,
    source_offset: Option<Offset>,
    stage: Option<String>,
    message: Option<String>,
    /// For a row that was held: the store that held it.
    pub(super) store: Option<String>,
    checksum: u32,
}

impl Letter {
    /// # Errors
    /// `Corrupt` if the bytes are damaged.
    pub(super) fn of(place: &TopicPartition, record: &RecordRef<'_>) -> Result<Self> {
        let (errors, headers): (Vec<Header>, Vec<Header>) = (record.headers()?.as_slice().iter())
            .cloned()
            .partition(|header| header.key.starts_with(PREFIX));
        let said = |name: &str| {
            let header = errors
                .iter()
                .rfind(|header| header.key[PREFIX.len()..] == *name);
            let value = header?.value.as_deref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let partition = said("partition").and_then(|partition| partition.parse().ok());
        let source = said("topic").zip(partition);
        let mut checksum = 0;
        for bytes in [record.key, record.value].into_iter().flatten() {
            checksum = crc32c::crc32c_append(checksum, bytes);
        }
        for header in &errors {
            checksum = crc32c::crc32c_append(checksum, header.value.as_deref().unwrap_or(&[]));
        }
        Ok(Self {
            place: place.clone(),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
            source: source.map(|(topic, partition)| TopicPartition::new(topic, partition)),
            source_offset: said("offset").and_then(|offset| offset.parse().ok()),
            stage: said("stage"),
            message: said("message"),
            store: said("store"),
            checksum,
        })
    }

    /// Identifies it by its place.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.place.partition, self.offset)
    }

    /// The content of its mark.
    pub(super) fn mark(&self) -> String {
        let Self {
            place,
            offset,
            checksum,
            ..
        } = self;
        format!(
            "{}/{}/{offset}/{checksum:08x}",
            place.topic, place.partition
        )
    }

    /// Why it cannot be sent again.
    pub(super) fn refusal(&self) -> Option<String> {
        if let Some(store) = &self.store {
            return Some(format!(
                "this is a row of store {store}, not a record of a topic; write its record again"
            ));
        }
        let unknown = "its headers do not name the topic it came from; it was not written by marea";
        self.source.is_none().then(|| unknown.to_owned())
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id(),
            "partition": self.place.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": shown(self.key.as_deref()),
            "value": shown(self.value.as_deref()),
            "headers": (self.headers.iter())
                .map(|header| json!([header.key, shown(header.value.as_deref())]))
                .collect::<Vec<_>>(),
            "source": self.source.as_ref().map(|source| json!({
                "topic": *source.topic,
                "partition": source.partition,
                "offset": self.source_offset,
            })),
            "stage": self.stage,
            "message": self.message,
            "store": self.store,
            "refusal": self.refusal(),
        })
    }
}

/// Bytes for display: as text if they are text, otherwise with escapes; only the beginning if they are long.
fn shown(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    let first = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let text = match std::str::from_utf8(first) {
        Ok(text) => text.to_owned(),
        // Cut within a character.
        Err(error) if bytes.len() > SHOWN_BYTES && error.error_len().is_none() => {
            String::from_utf8_lossy(&first[..error.valid_up_to()]).into_owned()
        }
        Err(_) => first.escape_ascii().to_string(),
    };
    json!({ "text": text, "bytes": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::BatchBuilder;

    fn letter(key: Option<&[u8]>, value: &[u8], headers: &[(&str, &str)]) -> Letter {
        let headers = headers.iter().map(|(key, value)| Header {
            key: (*key).to_owned(),
            value: Some(value.as_bytes().to_vec()),
        });
        let mut batch = BatchBuilder::default();
        batch.push(key, Some(value), 7, &headers.collect::<Vec<_>>());
        let batch = batch.seal().expect("a record");
        let mut cursor = batch.cursor(40);
        let record = cursor.next_record().expect("whole").expect("a record");
        Letter::of(&TopicPartition::new("dead", 2), &record).expect("whole")
    }

    #[test]
    fn a_letter_says_where_it_is_from_and_why() {
        let letter = letter(
            Some(b"k"),
            b"v",
            &[
                ("trace", "1"),
                ("marea.error.topic", "readings"),
                ("marea.error.partition", "3"),
                ("marea.error.offset", "99"),
                ("marea.error.stage", "decode"),
                ("marea.error.message", "no JSON"),
            ],
        );
        assert_eq!(letter.source, Some(TopicPartition::new("readings", 3)));
        assert_eq!(letter.refusal(), None);
        assert_eq!(letter.headers.len(), 1, "its own stays");
        let json = letter.json();
        assert_eq!(json["id"], "2-40");
        assert_eq!(json["source"]["offset"], 99);
        assert_eq!(json["message"], "no JSON");
        assert_eq!(json["key"]["text"], "k");
    }

    #[test]
    fn what_is_no_record_of_a_topic_is_not_sent() {
        assert!(letter(None, b"v", &[]).refusal().is_some());
        let held = [
            ("marea.error.topic", "readings"),
            ("marea.error.partition", "3"),
            ("marea.error.store", "windows"),
        ];
        let refusal = letter(None, b"v", &held).refusal().expect("refused");
        assert!(refusal.contains("store windows"), "{refusal}");
    }

    #[test]
    fn marks_tell_letters_at_one_place_apart() {
        let one = letter(None, b"one", &[]);
        let other = letter(None, b"other", &[]);
        assert_eq!(one.id(), other.id());
        assert_ne!(one.mark(), other.mark());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "é".repeat(SHOWN_BYTES);
        let shown = shown(Some(&[b"a", long.as_bytes()].concat()));
        let text = shown["text"].as_str().expect("text");
        assert!(
            text.len() <= SHOWN_BYTES && text.ends_with('é'),
            "{}",
            text.len()
        );
        assert_eq!(shown["bytes"], 1 + 2 * SHOWN_BYTES);
        assert_eq!(super::shown(Some(&[0xff, b'a']))["text"], "\\xffa");
    }
}
