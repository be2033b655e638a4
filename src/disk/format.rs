//! The row that says what a directory contains and which version wrote it.
//!
//! ```text
//! key "format"    value (little endian)
//!                  0  magic          8 bytes, what the directory is
//!                  8  version        4
//!                 12  feature bits   8   a reader that does not know one of them must refuse
//!                 20  crc32c         4   of the 20 bytes before it
//! ```

use super::Durability;
use super::database::{Column, Database};
use super::look::foreign;
use crate::base::{Error, Result};

const KEY: &[u8] = b"format";
const LEN: usize = 24;

/// What a directory contains, and the newest format that this version of marea knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The kind of content, for example `marealog`.
    pub magic: [u8; 8],
    /// Version of its layout; older ones are read, newer ones refused.
    pub version: u32,
    /// All feature bits that this version knows.
    pub features: u64,
}

/// The result of [`check_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none; the row was written.
    New,
    /// The version and the feature bits that are on disk.
    Existing {
        /// Version of the layout on disk.
        version: u32,
        /// Feature bits in use on disk.
        features: u64,
    },
}

/// Reads the format row of `column` and refuses what this version cannot read; writes it to a new
/// directory, durable at the next flush or synced write.
///
/// # Errors
/// `Corrupt` if the row is damaged, of another kind, or of a newer version; `Invalid` if there is no such
/// row but others. The message names both versions and the remedy.
pub fn check_format(database: &Database, column: Column, known: Format) -> Result<Opened> {
    let mut row = Vec::new();
    if !database.get(column, KEY, &mut row)? {
        if database.0.rocks.latest_sequence_number() > 0 {
            return Err(foreign(database.path()));
        }
        let mut row = [0; LEN];
        row[..8].copy_from_slice(&known.magic);
        row[8..12].copy_from_slice(&known.version.to_le_bytes());
        // No feature is in use in a new directory.
        let checksum = crc32c::crc32c(&row[..20]);
        row[20..].copy_from_slice(&checksum.to_le_bytes());
        let mut batch = database.batch();
        batch.put(column, KEY, &row);
        let durability = if database.0.write_ahead {
            Durability::Logged
        } else {
            Durability::Unlogged
        };
        database.write(batch, durability)?;
        return Ok(Opened::New);
    }
    let place = database.path().display();
    let Ok(row) = <[u8; LEN]>::try_from(row.as_slice()) else {
        let message = format!(
            "the format row of {place} has {} bytes, not {LEN}; restore the directory from a copy, or \
             delete it if its content can be rebuilt",
            row.len()
        );
        return Err(Error::corrupt(message));
    };
    let [a, b, c, d] = [row[20], row[21], row[22], row[23]];
    if u32::from_le_bytes([a, b, c, d]) != crc32c::crc32c(&row[..20]) {
        let message = format!(
            "the format row of {place} fails its checksum; restore the directory from a copy, or delete \
             it if its content can be rebuilt"
        );
        return Err(Error::corrupt(message));
    }
    if row[..8] != known.magic {
        let message = format!(
            "the directory {place} holds {:?}, not {:?}; choose another directory",
            String::from_utf8_lossy(&row[..8]),
            String::from_utf8_lossy(&known.magic)
        );
        return Err(Error::corrupt(message));
    }
    let version = u32::from_le_bytes([row[8], row[9], row[10], row[11]]);
    let mut features = [0; 8];
    features.copy_from_slice(&row[12..20]);
    let features = u64::from_le_bytes(features);
    if version > known.version || features & !known.features != 0 {
        let message = format!(
            "the directory {place} has format {version} with features {features:#x}; this version of marea \
             reads up to format {} with features {:#x}; use the version that wrote it or a newer one",
            known.version, known.features
        );
        return Err(Error::corrupt(message));
    }
    Ok(Opened::Existing { version, features })
}
