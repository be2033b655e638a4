//! What the log has written, and how much of that is safe: stored beside the database, since the database
//! itself cannot tell what it has lost.
//!
//! ```text
//! file "marea.point": two slots, at 0 and 4096, written in turn; the newer one that is whole counts
//!   0  magic "mareapnt"           8       48  synced: writes, commits, wall clock in ms   24
//!   8  version = 1                4       72  written: the same                           24
//!  12  feature bits (none known)  4       96  crc32c of all before it                      4
//!  16  number of this slot        8       (little endian)
//!  24  incarnation of the log    16
//!  40  1 if all is synced, else 0 8
//! ```
//! `written` is also a row of the database, in the same write as what it counts. So when the log is
//! opened, that row says how far the database goes, and this file how far it must go ([`Point::check`]).
//!
//! With an fsync for each commit, the file itself is not synced: it is written after the commits that it
//! counts and so never claims too much. With relaxed fsync it is synced after each sync of the log.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as Io, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::format::{Fields, META, Row, WRITTEN};
use crate::base::{Error, Result};
use crate::disk::{Database, from_io, sync_directory};

/// The name of the file in the log's directory.
pub(super) const FILE: &str = "marea.point";
const MAGIC: [u8; 8] = *b"mareapnt";
const VERSION: u32 = 1;
const LEN: usize = 100;
const SLOT: u64 = 4096;

/// How much was written up to some moment, since the log was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Writes to the database.
    pub(super) writes: u64,
    pub(super) commits: u64,
    /// Wall clock, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

impl Mark {
    /// What a database contains; `None` if nothing was ever written to it.
    pub(super) fn of(database: &Database) -> Result<Option<Self>> {
        let mut row = Vec::new();
        let found = database.get(META, WRITTEN, &mut row)?;
        found.then(|| Self::read(&row)).transpose()
    }

    pub(super) fn row(&self) -> Vec<u8> {
        Row::new()
            .put(&self.writes.to_le_bytes())
            .put(&self.commits.to_le_bytes())
            .put(&self.at_ms.to_le_bytes())
            .seal()
    }

    pub(super) fn read(row: &[u8]) -> Result<Self> {
        let mut fields = Fields::open(row)?;
        Ok(Self {
            writes: fields.u64()?,
            commits: fields.u64()?,
            at_ms: fields.i64()?,
        })
    }
}

/// The content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) incarnation: u128,
    /// Whether each commit was synced before its answer.
    pub(super) every_commit: bool,
    /// What is definitely on disk.
    pub(super) synced: Mark,
    /// What was written, as far as this file reached the disk.
    pub(super) written: Mark,
}

impl Point {
    /// Refuses a database that holds less than what was safe.
    pub(super) fn check(&self, path: &Path, incarnation: u128, found: Mark) -> Result<()> {
        let place = path.display();
        if self.incarnation != incarnation {
            return Err(Error::corrupt(format!(
                "opening {place}: damaged data: {FILE} belongs to another log; restore the whole directory \
                 from a copy, or let `EmbeddedLog::repair` keep what remains"
            )));
        }
        if found.writes < self.synced.writes {
            return Err(Error::corrupt(format!(
                "opening {place}: damaged data: of {} commits synced to the disk, {} are missing, those \
                 after {} ms since 1970; check the disk and restore the directory from a copy, or let \
                 `EmbeddedLog::repair` (`--repair` of the example) keep what remains",
                self.synced.commits,
                self.synced.commits.saturating_sub(found.commits),
                found.at_ms
            )));
        }
        Ok(())
    }

    fn encode(&self, number: u64) -> [u8; LEN] {
        let mut slot = [0; LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            slot[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&0_u32.to_le_bytes());
        put(&number.to_le_bytes());
        put(&self.incarnation.to_le_bytes());
        put(&u64::from(self.every_commit).to_le_bytes());
        for mark in [self.synced, self.written] {
            put(&mark.writes.to_le_bytes());
            put(&mark.commits.to_le_bytes());
            put(&mark.at_ms.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&slot[..LEN - 4]);
        slot[LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
        slot
    }

    /// `None` if the slot is damaged.
    fn decode(slot: &[u8]) -> Option<(u64, u64, Self)> {
        let (fields, checksum) = slot.split_at_checked(LEN - 4)?;
        let whole = crc32c::crc32c(fields).to_le_bytes() == *checksum && fields.starts_with(&MAGIC);
        if !whole {
            return None;
        }
        let u64_at = |at: usize| {
            let bytes = fields.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let mark = |at| Mark {
            writes: u64_at(at),
            commits: u64_at(at + 8),
            at_ms: u64_at(at + 16).cast_signed(),
        };
        let point = Self {
            incarnation: u128::from(u64_at(24)) | u128::from(u64_at(32)) << 64,
            every_commit: u64_at(40) == 1,
            synced: mark(48),
            written: mark(72),
        };
        Some((u64_at(8), u64_at(16), point))
    }
}

/// The file, open.
#[derive(Debug)]
pub(super) struct PointFile {
    file: File,
    /// Of the last slot written.
    number: u64,
}

impl PointFile {
    /// The content of the file in `directory`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if its content is unreadable, or of a newer version.
    pub(super) fn read(directory: &Path) -> Result<Option<Point>> {
        let path = directory.join(FILE);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Err(cause) if matches!(cause.kind(), Io::NotFound | Io::NotADirectory) => {
                return Ok(None);
            }
            read => read.map_err(|cause| from_io(&path, "reading", cause))?,
        };
        // Created, but the machine died before anything was written to it.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let slots = [0, SLOT as usize].into_iter().filter_map(|at| {
            let slot = bytes.get(at..at + LEN)?;
            Point::decode(slot)
        });
        let Some((format, _, point)) = slots.max_by_key(|(_, number, _)| *number) else {
            return Err(Error::corrupt(format!(
                "{}: damaged data: both halves fail their checksums; restore the directory from a copy, or \
                 let `EmbeddedLog::repair` (`--repair` of the example) keep what remains",
                path.display()
            )));
        };
        if format != u64::from(VERSION) {
            return Err(Error::corrupt(format!(
                "{}: format {} with features {:#x}; this version of marea reads format {VERSION} without \
                 features; use the version that wrote it or a newer one",
                path.display(),
                format as u32,
                format >> 32
            )));
        }
        Ok(Some(point))
    }

    /// Starts a new file, which is on disk when the call returns.
    pub(super) fn create(directory: &Path, point: &Point) -> Result<Self> {
        let path = directory.join(FILE);
        let failed = |cause| from_io(&path, "writing", cause);
        let mut options = OpenOptions::new();
        // Not truncated: until the new slots are complete, one of the old ones is valid.
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(failed)?;
        let number_at = |at: usize| {
            let slot = bytes.get(at..at + LEN).and_then(Point::decode);
            slot.map_or(0, |(_, number, _)| number)
        };
        let mut this = Self {
            number: number_at(0).max(number_at(SLOT as usize)),
            file,
        };
        for _ in 0..2 {
            this.write(point, true).map_err(failed)?;
        }
        sync_directory(directory)?;
        Ok(this)
    }

    pub(super) fn write(&mut self, point: &Point, synced: bool) -> std::io::Result<()> {
        self.number += 1;
        let at = SLOT * (self.number % 2);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(&point.encode(self.number))?;
        if synced {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// The point of an open log.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) file: PointFile,
    pub(super) point: Point,
}

impl Keeper {
    /// Updates the file; a failure leaves it behind the truth, which is safe.
    pub(super) fn keep(&mut self, synced: bool) {
        if let Err(error) = self.file.write(&self.point, synced) {
            tracing::warn!(%error, "{FILE} of the log could not be written: lost commits may go unnoticed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_not_written_whole_leaves_the_one_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert_eq!(PointFile::read(path).expect("none"), None);
        let mark = |writes| Mark {
            writes,
            commits: writes / 2,
            at_ms: -1,
        };
        let point = |writes| Point {
            incarnation: u128::MAX - 5,
            every_commit: true,
            synced: mark(writes),
            written: mark(writes + 1),
        };
        let mut file = PointFile::create(path, &point(1)).expect("made");
        for writes in 2..6 {
            file.write(&point(writes), false).expect("written");
            assert_eq!(PointFile::read(path).expect("read"), Some(point(writes)));
        }
        let whole = std::fs::read(path.join(FILE)).expect("read");
        let newest = SLOT as usize * (file.number % 2) as usize;
        for byte in 0..LEN {
            let mut bytes = whole.clone();
            bytes[newest + byte] ^= 4;
            std::fs::write(path.join(FILE), bytes).expect("written");
            assert_eq!(PointFile::read(path).expect("read"), Some(point(4)));
        }
        let neither = vec![7; whole.len()];
        std::fs::write(path.join(FILE), neither).expect("written");
        PointFile::read(path).expect_err("damaged");
        std::fs::write(path.join(FILE), []).expect("written");
        assert_eq!(PointFile::read(path).expect("empty"), None);
    }
}
