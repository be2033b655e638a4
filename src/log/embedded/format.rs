//! Every key and value of the embedded log on disk; integers are big-endian in keys, so that they sort,
//! and little-endian in values.
//!
//! ```text
//! column      key                                             value
//! meta        "format"                                        see `disk::check_format`
//!             "incarnation"                                   row: u128
//!             "next_topic"                                    row: u32, the next topic id
//!             "written"                                       row: writes u64, commits u64, wall clock i64,
//!                                                              of all up to this write (see `point`)
//! topics      name                                            row: topic id u32, partitions u32,
//!                                                              cleanup u8 (0 delete, 1 compact, 2 both),
//!                                                              retention_ms option i64,
//!                                                              retention_bytes option u64,
//!                                                              delete_retention_ms i64,
//!                                                              max_record_bytes u64,
//!                                                              compaction_lag_ms i64 (absent: 0)
//! partitions  topic id u32 | partition u32                    row: start i64, end i64, bytes u64,
//!                                                              clean_until i64, clean_bytes u64,
//!                                                              horizon i64, horizon_ms i64
//!                                                              (the last two: both or none)
//! batches     topic id u32 | partition u32 | base offset u64  a batch (`batch`, own checksum)
//! offsets     len u16, group | topic id u32 | partition u32   row: offset i64, metadata (rest)
//! groups      group                                           row: generation u64
//!
//! row  = version u8 (1) | fields | crc32c u32 of all before it
//! option = u8 (0 none, 1 some) | value
//! ```
//! `end` is stored in its own row, since the last batch may be deleted, and offsets must not be reused.
//! Topic ids are not reused either, so a topic that is deleted and recreated does not see old batches.

use crate::base::{Error, Offset, Result};
use crate::disk::{Column, Format};
use crate::log::{Cleanup, CommittedOffset, TopicSpec};

pub(super) const FORMAT: Format = Format {
    magic: *b"marealog",
    version: 1,
    features: 0,
};
pub(super) const COLUMNS: [&str; 6] = [
    "meta",
    "topics",
    "partitions",
    "batches",
    "offsets",
    "groups",
];
pub(super) const META: Column = Column(0);
pub(super) const TOPICS: Column = Column(1);
pub(super) const PARTITIONS: Column = Column(2);
pub(super) const BATCHES: Column = Column(3);
pub(super) const OFFSETS: Column = Column(4);
pub(super) const GROUPS: Column = Column(5);
pub(super) const INCARNATION: &[u8] = b"incarnation";
pub(super) const NEXT_TOPIC: &[u8] = b"next_topic";
pub(super) const WRITTEN: &[u8] = b"written";
const ROW_VERSION: u8 = 1;

/// A partition's place: topic id, partition.
pub(super) type Place = (u32, u32);

/// The state of a partition, as it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionRow {
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// Of all batches.
    pub(super) bytes: u64,
    /// Where the last compaction ended.
    pub(super) clean_until: Offset,
    /// Of the batches below it, when it ended.
    pub(super) clean_bytes: u64,
    /// Below this offset, tombstones had no older record under them when a compaction ended at
    /// `horizon_ms`; 0 if there was none.
    pub(super) horizon: Offset,
    /// Wall clock, in milliseconds since 1970.
    pub(super) horizon_ms: i64,
}

pub(super) fn partition_key(place: Place) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&place.0.to_be_bytes());
    key[4..].copy_from_slice(&place.1.to_be_bytes());
    key
}

pub(super) fn batch_key(place: Place, base_offset: Offset) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&partition_key(place));
    key[8..].copy_from_slice(&base_offset.cast_unsigned().to_be_bytes());
    key
}

pub(super) fn base_offset_of(key: &[u8]) -> Result<Offset> {
    match key.last_chunk::<8>() {
        Some(base) if key.len() == 16 => Ok(u64::from_be_bytes(*base).cast_signed()),
        _ => Err(Error::corrupt("the key of a batch is not 16 bytes long")),
    }
}

/// Last offset (relative to its base) and append time of a stored batch, without checking the whole
/// batch.
pub(super) fn peek_batch(bytes: &[u8]) -> Result<(u32, i64)> {
    let (Some(delta), Some(time)) = (bytes.get(12..16), bytes.get(32..40)) else {
        return Err(Error::corrupt("the header of a stored batch is incomplete"));
    };
    let mut wide = [0; 8];
    wide.copy_from_slice(time);
    let delta = u32::from_le_bytes([delta[0], delta[1], delta[2], delta[3]]);
    Ok((delta, i64::from_le_bytes(wide)))
}

pub(super) fn offset_key(group: &str, place: Place) -> Vec<u8> {
    let mut key = offset_prefix(group);
    key.extend_from_slice(&partition_key(place));
    key
}

pub(super) fn offset_prefix(group: &str) -> Vec<u8> {
    let mut key = (group.len() as u16).to_be_bytes().to_vec();
    key.extend_from_slice(group.as_bytes());
    key
}

pub(super) fn read_offset_key(key: &[u8]) -> Result<(String, Place)> {
    let damaged = || Error::corrupt("a key among the group offsets is damaged");
    let (len, rest) = key.split_first_chunk::<2>().ok_or_else(damaged)?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (group, place) = rest.split_at_checked(len).ok_or_else(damaged)?;
    let group = std::str::from_utf8(group).map_err(|_| damaged())?;
    let (topic, partition) = place.split_first_chunk::<4>().ok_or_else(damaged)?;
    let partition = <[u8; 4]>::try_from(partition).map_err(|_| damaged())?;
    let place = (u32::from_be_bytes(*topic), u32::from_be_bytes(partition));
    Ok((group.to_owned(), place))
}

/// A row being written.
pub(super) struct Row(Vec<u8>);

impl Row {
    pub(super) fn new() -> Self {
        Self(vec![ROW_VERSION])
    }

    pub(super) fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn put_option(self, bytes: Option<[u8; 8]>) -> Self {
        match bytes {
            None => self.put(&[0]),
            Some(bytes) => self.put(&[1]).put(&bytes),
        }
    }

    pub(super) fn seal(self) -> Vec<u8> {
        let checksum = crc32c::crc32c(&self.0);
        self.put(&checksum.to_le_bytes()).0
    }
}

/// A row being read.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Verifies version and checksum.
    pub(super) fn open(row: &'a [u8]) -> Result<Self> {
        let Some((fields, checksum)) = row.split_last_chunk::<4>() else {
            return Err(Error::corrupt("a row of the log is truncated"));
        };
        if crc32c::crc32c(fields) != u32::from_le_bytes(*checksum) {
            return Err(Error::corrupt("a row of the log fails its checksum"));
        }
        match fields.split_first() {
            Some((&ROW_VERSION, fields)) => Ok(Self(fields)),
            _ => Err(Error::corrupt(
                "a row of the log was written by a newer version",
            )),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.0.split_first_chunk::<N>();
        let (taken, rest) = taken.ok_or_else(|| Error::corrupt("a row of the log is truncated"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128> {
        self.take().map(u128::from_le_bytes)
    }

    fn option(&mut self) -> Result<Option<[u8; 8]>> {
        match self.take::<1>()? {
            [0] => Ok(None),
            _ => self.take().map(Some),
        }
    }
}

pub(super) fn topic_row(id: u32, spec: &TopicSpec) -> Vec<u8> {
    let cleanup = match spec.cleanup {
        Cleanup::Delete => 0,
        Cleanup::Compact => 1,
        Cleanup::CompactDelete => 2,
    };
    let row = Row::new()
        .put(&id.to_le_bytes())
        .put(&spec.partitions.to_le_bytes())
        .put(&[cleanup])
        .put_option(spec.retention_ms.map(i64::to_le_bytes))
        .put_option(spec.retention_bytes.map(u64::to_le_bytes))
        .put(&spec.delete_retention_ms.to_le_bytes())
        .put(&(spec.max_record_bytes as u64).to_le_bytes());
    match spec.compaction_lag_ms {
        0 => row.seal(),
        lag_ms => row.put(&lag_ms.to_le_bytes()).seal(),
    }
}

pub(super) fn read_topic_row(name: &[u8], row: &[u8]) -> Result<(u32, TopicSpec)> {
    let mut fields = Fields::open(row)?;
    let name = std::str::from_utf8(name)
        .map_err(|cause| Error::corrupt("a topic's name is not UTF-8").with_source(cause))?;
    let id = fields.u32()?;
    let partitions = fields.u32()?;
    let cleanup = match fields.take::<1>()? {
        [0] => Cleanup::Delete,
        [1] => Cleanup::Compact,
        [2] => Cleanup::CompactDelete,
        _ => return Err(Error::corrupt("unknown cleanup").context(name)),
    };
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions,
        cleanup,
        retention_ms: fields.option()?.map(i64::from_le_bytes),
        retention_bytes: fields.option()?.map(u64::from_le_bytes),
        delete_retention_ms: fields.i64()?,
        max_record_bytes: usize::try_from(fields.u64()?).unwrap_or(usize::MAX),
        compaction_lag_ms: match fields.0.is_empty() {
            true => 0,
            false => fields.i64()?,
        },
    };
    Ok((id, spec))
}

impl PartitionRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        Row::new()
            .put(&self.start.to_le_bytes())
            .put(&self.end.to_le_bytes())
            .put(&self.bytes.to_le_bytes())
            .put(&self.clean_until.to_le_bytes())
            .put(&self.clean_bytes.to_le_bytes())
            .put(&self.horizon.to_le_bytes())
            .put(&self.horizon_ms.to_le_bytes())
            .seal()
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self> {
        let mut fields = Fields::open(row)?;
        let mut row = Self {
            start: fields.i64()?,
            end: fields.i64()?,
            bytes: fields.u64()?,
            clean_until: fields.i64()?,
            clean_bytes: fields.u64()?,
            ..Self::default()
        };
        if !fields.0.is_empty() {
            row.horizon = fields.i64()?;
            row.horizon_ms = fields.i64()?;
        }
        Ok(row)
    }
}

pub(super) fn offset_row(committed: &CommittedOffset) -> Vec<u8> {
    let offset = committed.offset.to_le_bytes();
    Row::new()
        .put(&offset)
        .put(committed.metadata.as_bytes())
        .seal()
}

pub(super) fn read_offset_row(row: &[u8]) -> Result<CommittedOffset> {
    let mut fields = Fields::open(row)?;
    let offset = fields.i64()?;
    let metadata = String::from_utf8(fields.0.to_vec())
        .map_err(|cause| Error::corrupt("a commit's metadata is not UTF-8").with_source(cause))?;
    Ok(CommittedOffset { offset, metadata })
}
