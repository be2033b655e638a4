//! Our words in Kafka's, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::admin::ConfigResource;
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers as _, OwnedHeaders};
use rdkafka::{Message, Offset as KafkaOffset, TopicPartitionList};

use crate::base::{Error, Header, Offset, Result, TopicPartition};
use crate::log::{BatchBuilder, Cleanup, DEFAULT_DELETE_RETENTION_MS, RecordRef, TopicSpec};

/// What a batch of one record has around key, value and headers, at most. Brokers count it, so that a
/// topic's `max.message.bytes` is larger by this than the records it takes.
const FRAME_BYTES: usize = 512;

/// A timestamp that Kafka or its client cannot carry travels in a header of this name, 8 bytes big
/// endian; the record itself then says 1. That is zero, which the client takes for "now", and all
/// before 1970, which Kafka takes for "none".
const TIMESTAMP_HEADER: &str = "__marea-timestamp-ms";
const STAND_IN_MS: i64 = 1;

/// The settings of a topic, as names and values.
pub(super) fn settings_of(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let cleanup = match spec.cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
        Cleanup::CompactDelete => "compact,delete",
    };
    let retention_bytes = spec
        .retention_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let max_bytes =
        i32::try_from(spec.max_record_bytes.saturating_add(FRAME_BYTES)).unwrap_or(i32::MAX);
    vec![
        ("cleanup.policy", cleanup.to_owned()),
        ("retention.ms", spec.retention_ms.unwrap_or(-1).to_string()),
        ("retention.bytes", retention_bytes.to_string()),
        ("delete.retention.ms", spec.delete_retention_ms.to_string()),
        ("max.message.bytes", max_bytes.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        // By default brokers refuse what is an hour ahead of their clock; event time may be.
        ("message.timestamp.before.max.ms", i64::MAX.to_string()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ]
}

/// What [`settings_of`] wrote, or somebody else.
pub(super) fn spec_of(name: &str, partitions: usize, settings: &ConfigResource) -> TopicSpec {
    let text = |key: &str| settings.get(key).and_then(|entry| entry.value.as_deref());
    let number = |key: &str| text(key).and_then(|value| value.parse::<i64>().ok());
    let policy = text("cleanup.policy").unwrap_or("delete");
    let cleanup = match (policy.contains("compact"), policy.contains("delete")) {
        (true, true) => Cleanup::CompactDelete,
        (true, false) => Cleanup::Compact,
        _ => Cleanup::Delete,
    };
    let max_bytes = number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
    let mut spec = TopicSpec::new(name, u32::try_from(partitions).unwrap_or(u32::MAX));
    spec.cleanup = cleanup;
    spec.retention_ms = number("retention.ms").filter(|ms| *ms >= 0);
    spec.retention_bytes = number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok());
    spec.delete_retention_ms = number("delete.retention.ms").unwrap_or(DEFAULT_DELETE_RETENTION_MS);
    if let Some(bytes) = max_bytes {
        spec.max_record_bytes = bytes.saturating_sub(FRAME_BYTES);
    }
    spec
}

/// Partitions with a number each: offsets, or what stands for one.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, KafkaOffset)>,
) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, number_of(partition)?, offset)
            .map_err(|cause| {
                Error::invalid(format!("{partition}: no such offset")).with_source(cause)
            })?;
    }
    Ok(list)
}

/// Kafka's partition number.
pub(super) fn number_of(partition: &TopicPartition) -> Result<i32> {
    i32::try_from(partition.partition).map_err(|_| crate::log::check::unknown_partition(partition))
}

/// The offset that an answer holds, if it does.
pub(super) fn offset_of(offset: KafkaOffset) -> Option<Offset> {
    match offset {
        KafkaOffset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The timestamp and headers under which a record travels.
pub(super) fn outgoing(record: &RecordRef<'_>) -> Result<(i64, Option<OwnedHeaders>)> {
    let carried = record.timestamp_ms > 0;
    if carried && record.has_no_headers() {
        return Ok((record.timestamp_ms, None));
    }
    let own = record.headers()?;
    let own = own.as_slice();
    let mut headers = OwnedHeaders::new_with_capacity(own.len() + usize::from(!carried));
    for Header { key, value } in own {
        headers = headers.insert(KafkaHeader {
            key,
            value: value.as_deref(),
        });
    }
    if carried {
        return Ok((record.timestamp_ms, Some(headers)));
    }
    let bytes = record.timestamp_ms.to_be_bytes();
    let headers = headers.insert(KafkaHeader {
        key: TIMESTAMP_HEADER,
        value: Some(&bytes),
    });
    Ok((STAND_IN_MS, Some(headers)))
}

/// Adds a message to a batch.
pub(super) fn push(
    builder: &mut BatchBuilder,
    delta: u32,
    message: &BorrowedMessage<'_>,
) -> Result<()> {
    let mut timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
    let Some(carried) = message.headers() else {
        builder.push_at(delta, message.key(), message.payload(), timestamp_ms, &[]);
        return Ok(());
    };
    let mut headers = Vec::with_capacity(carried.count());
    for index in 0..carried.count() {
        // The library panics on a name that is not UTF-8, which a foreign client may have written.
        let header = catch_unwind(AssertUnwindSafe(|| carried.try_get(index)));
        let Ok(Some(header)) = header else {
            return Err(Error::corrupt("the name of a header is not UTF-8"));
        };
        if header.key == TIMESTAMP_HEADER
            && let Some(Ok(bytes)) = header.value.map(<[u8; 8]>::try_from)
        {
            timestamp_ms = i64::from_be_bytes(bytes);
            continue;
        }
        headers.push(Header {
            key: header.key.to_owned(),
            value: header.value.map(<[u8]>::to_vec),
        });
    }
    builder.push_at(
        delta,
        message.key(),
        message.payload(),
        timestamp_ms,
        &headers,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    fn stored(spec: &TopicSpec) -> ConfigResource {
        let entry = |(name, value): (&str, String)| ConfigEntry {
            name: name.to_owned(),
            value: Some(value),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        ConfigResource {
            specifier: OwnedResourceSpecifier::Topic(spec.name.clone()),
            entries: settings_of(spec).into_iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_topics_settings_come_back_as_they_were_asked_for() {
        let plain = TopicSpec::new("t", 3);
        let mut full = TopicSpec::new("u", 1).with_cleanup(Cleanup::CompactDelete);
        full.retention_ms = Some(7);
        full.retention_bytes = Some(8);
        full.delete_retention_ms = 9;
        full.max_record_bytes = 100;
        for spec in [plain, full.clone(), full.with_cleanup(Cleanup::Compact)] {
            let partitions = spec.partitions as usize;
            assert_eq!(spec_of(&spec.name, partitions, &stored(&spec)), spec);
        }
    }
}
