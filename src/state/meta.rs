//! The task's own rows: the content of the column after the stores'.
//!
//! ```text
//! "task"                    magic "mast" | version (1) | feature bits (1) | crc32c of the rest (4) |
//!                           log incarnation (16) | application       numbers little-endian
//! "d/" store                the store's descriptor, as text
//! "p/" store, "P"           position on its changelog; "P": on the task changelog      8, big-endian
//!                           and the wall clock when it was there, in milliseconds      8, big-endian
//! "t/" name                 a time                                                     8, big-endian
//! "s/" store "/" segment    first offset of the segment on the changelog               8, big-endian
//! ```

use std::ops::Bound;

use super::{Backend, Direction, StoreSpec, StoreType};
use crate::base::{Error, Offset, Result};

const MAGIC: [u8; 4] = *b"mast";
const VERSION: u8 = 1;
const HEAD_LEN: usize = 26;

/// Key of the row that says whose state it is.
pub(super) const TASK: &[u8] = b"task";

/// The owner of the state and the log from which it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The application's name.
    pub application: String,
    /// [`crate::log::Log::incarnation`] of the log.
    pub log_incarnation: u128,
}

pub(super) fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD_LEN + identity.application.len());
    row.extend_from_slice(&MAGIC);
    row.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0]);
    row.extend_from_slice(&identity.log_incarnation.to_le_bytes());
    row.extend_from_slice(identity.application.as_bytes());
    let checksum = crc32c::crc32c(&row[10..]);
    row[6..10].copy_from_slice(&checksum.to_le_bytes());
    row
}

pub(super) fn decode_identity(row: &[u8]) -> Result<Identity> {
    const CURE: &str = "delete this task's state directory; it will be rebuilt from the changelog";
    let Some((head, application)) = row.split_first_chunk::<HEAD_LEN>() else {
        return Err(Error::corrupt(format!(
            "the task's meta row is too short; {CURE}"
        )));
    };
    if head[..4] != MAGIC {
        return Err(Error::corrupt(format!(
            "the task's meta row has a bad magic; {CURE}"
        )));
    }
    if head[4] != VERSION || head[5] != 0 {
        return Err(Error::corrupt(format!(
            "the state has format {} with feature bits {:#x}; this version of marea reads format {VERSION} \
             without feature bits; use the version that wrote it or a newer one, or {CURE}",
            head[4], head[5]
        )));
    }
    let stored = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
    if stored != crc32c::crc32c(&row[10..]) {
        return Err(Error::corrupt(format!(
            "the task's meta row fails its checksum; {CURE}"
        )));
    }
    let mut incarnation = [0; 16];
    incarnation.copy_from_slice(&head[10..]);
    Ok(Identity {
        application: String::from_utf8_lossy(application).into_owned(),
        log_incarnation: u128::from_le_bytes(incarnation),
    })
}

/// The properties of a store that must not change while its rows are kept.
pub(super) fn descriptor(spec: &StoreSpec) -> String {
    let store_type = match spec.store_type {
        StoreType::Persistent => "persistent",
        StoreType::InMemory => "in-memory",
    };
    let (kind, row) = (spec.kind.rules().descriptor(), spec.row.descriptor());
    let (key, value) = &spec.codecs;
    format!("{kind} {store_type} {row} key={key} value={value}")
}

/// Refuses a store whose rows on disk were written under other rules.
pub(super) fn check_descriptor(spec: &StoreSpec, found: &[u8]) -> Result<()> {
    let wanted = descriptor(spec);
    if found == wanted.as_bytes() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "store {} is on disk as \"{}\", but the topology declares \"{wanted}\"; undo the change, give the \
         store another name, or delete the state directory if its changelog fits the new declaration (it \
         will be rebuilt from the changelog)",
        spec.name,
        String::from_utf8_lossy(found)
    )))
}

pub(super) fn descriptor_key(store: &str) -> Vec<u8> {
    [b"d/", store.as_bytes()].concat()
}

/// `None` is the task changelog.
pub(super) fn position_key(store: Option<&str>) -> Vec<u8> {
    store.map_or_else(|| b"P".to_vec(), |store| [b"p/", store.as_bytes()].concat())
}

pub(super) const TIMES: &[u8] = b"t/";
/// After all of them: the byte after the slash.
pub(super) const TIMES_END: &[u8] = b"t0";

pub(super) fn segments_prefix(store: &str) -> Vec<u8> {
    [b"s/", store.as_bytes(), b"/"].concat()
}

/// Around the keys of a store's segments.
pub(super) fn segments_range(store: &str) -> (Vec<u8>, Vec<u8>) {
    (
        segments_prefix(store),
        [b"s/", store.as_bytes(), b"0"].concat(),
    )
}

/// Calls `visit` with the rows whose keys begin with `prefix`, without the prefix, as numbers.
pub(super) fn each_number(
    backend: &dyn Backend,
    column: usize,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], i64),
) -> Result<()> {
    let mut scan = backend.scan(
        column,
        Bound::Included(prefix),
        Bound::Unbounded,
        Direction::Forward,
    )?;
    while let Some((key, row)) = scan.next()? {
        let Some(rest) = key.strip_prefix(prefix) else {
            break;
        };
        visit(rest, number(row)?);
    }
    Ok(())
}

/// How far the rows of a store are on its changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The next offset.
    pub(super) offset: Offset,
    /// The wall clock when the rows contained everything up to it, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

impl Position {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.offset.to_be_bytes());
        row[8..].copy_from_slice(&self.at_ms.to_be_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self> {
        let (offset, at_ms) = row.split_at(row.len().min(8));
        Ok(Self {
            offset: number(offset)?,
            at_ms: number(at_ms)?,
        })
    }
}

pub(super) fn number(row: &[u8]) -> Result<i64> {
    let row = row.try_into().map_err(|_| {
        Error::corrupt(format!(
            "a meta row has {} bytes instead of 8; delete this task's state directory; it will be rebuilt \
             from the changelog",
            row.len()
        ))
    })?;
    Ok(i64::from_be_bytes(row))
}
