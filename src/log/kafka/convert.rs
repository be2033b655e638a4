//! Conversion between our types and Kafka's.

use std::ffi::CStr;
use std::{ptr, slice};

use rdkafka::bindings as native;
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers as _, OwnedHeaders};
use rdkafka::{Message, Offset as KafkaOffset, TopicPartitionList};

use crate::base::{Error, Header, Offset, Result, TopicPartition};
use crate::log::{BatchBuilder, RecordRef};

/// A timestamp that Kafka or its client cannot represent is sent in a header of this name, 8 bytes
/// big-endian; the record's own timestamp is then 1. These are zero, which the client takes for "now",
/// and all before 1970, which Kafka takes for "none".
const TIMESTAMP_HEADER: &str = "__marea-timestamp-ms";
const STAND_IN_MS: i64 = 1;

/// Partitions with a number each: offsets, or special values.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, KafkaOffset)>,
) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, number_of(partition)?, offset)
            .map_err(|cause| {
                Error::invalid(format!("{partition}: the offset is out of range"))
                    .with_source(cause)
            })?;
    }
    Ok(list)
}

/// Kafka's partition number.
pub(super) fn number_of(partition: &TopicPartition) -> Result<i32> {
    i32::try_from(partition.partition).map_err(|_| crate::log::check::unknown_partition(partition))
}

/// The offset in an answer, if it has one.
pub(super) fn offset_of(offset: KafkaOffset) -> Option<Offset> {
    match offset {
        KafkaOffset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The timestamp and headers with which a record is sent.
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

/// The maximum size of a record in an uncompressed batch.
pub(super) fn size_at_most(record: &RecordRef<'_>) -> Result<usize> {
    // Its length, attributes, both deltas, and three counts; then the name, the length of it and that of the value.
    const FRAME: usize = 32;
    const HEADER_FRAME: usize = 10;
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let mut size = FRAME + len(record.key) + len(record.value);
    if record.timestamp_ms <= 0 {
        size += HEADER_FRAME + TIMESTAMP_HEADER.len() + 8;
    }
    if !record.has_no_headers() {
        for Header { key, value } in record.headers()?.as_slice() {
            size += HEADER_FRAME + key.len() + len(value.as_deref());
        }
    }
    Ok(size)
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
        let header = header(message, index)
            .ok_or_else(|| Error::corrupt(format!("header {index} cannot be read")))?;
        if header.key == TIMESTAMP_HEADER
            && let Some(Ok(bytes)) = header.value.as_deref().map(<[u8; 8]>::try_from)
        {
            timestamp_ms = i64::from_be_bytes(bytes);
            continue;
        }
        headers.push(header);
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

/// A header of a message. A foreign client may have written a name that is not UTF-8; like the Java
/// client we read replacement characters instead. The binding panics there, so this call goes to the
/// underlying library.
#[expect(
    unsafe_code,
    reason = "the binding has no call that bears such a name; the proof is beside it"
)]
fn header(message: &BorrowedMessage<'_>, index: usize) -> Option<Header> {
    let mut headers = ptr::null_mut();
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the message is borrowed, and owns the headers, names and values as long as it lives; all
    // that is kept of them is copied before this returns. Pointers are read only if both calls say that
    // they were set. The library terminates names, and a value that is not null has `size` bytes.
    unsafe {
        let found = native::rd_kafka_message_headers(message.ptr(), &raw mut headers);
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let found = native::rd_kafka_header_get_all(
            headers,
            index,
            &raw mut name,
            &raw mut value,
            &raw mut size,
        );
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), size));
        Some(Header {
            key: CStr::from_ptr(name).to_string_lossy().into_owned(),
            value: value.map(<[u8]>::to_vec),
        })
    }
}
