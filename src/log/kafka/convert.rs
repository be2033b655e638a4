//! Our words in Kafka's, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers as _, OwnedHeaders};
use rdkafka::{Message, Offset as KafkaOffset, TopicPartitionList};

use crate::base::{Error, Header, Offset, Result, TopicPartition};
use crate::log::{BatchBuilder, RecordRef};

/// A timestamp that Kafka or its client cannot carry travels in a header of this name, 8 bytes big
/// endian; the record itself then says 1. That is zero, which the client takes for "now", and all
/// before 1970, which Kafka takes for "none".
const TIMESTAMP_HEADER: &str = "__marea-timestamp-ms";
const STAND_IN_MS: i64 = 1;

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
