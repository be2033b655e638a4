//! Inspection of a directory before RocksDB is opened in it.

use std::fs;
use std::path::Path;

use super::error::from_io;
use crate::base::{Error, ErrorKind, Result};

/// What RocksDB's directory contains, seen from outside.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether there is a `CURRENT`, which names the file that names all others.
    pub(super) current: bool,
    /// Whether there are files of rows.
    tables: bool,
    /// Whether there are files of the write-ahead log, and whether one of them is not empty.
    pub(super) write_ahead: bool,
    write_ahead_filled: bool,
}

impl Look {
    pub(super) fn at(path: &Path) -> Result<Self> {
        let failed = |cause| from_io(path, "reading the directory", cause);
        let mut look = Self::default();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == "CURRENT" {
                look.current = true;
            } else if name.ends_with(".sst") {
                look.tables = true;
            } else if name.ends_with(".log") {
                look.write_ahead = true;
                look.write_ahead_filled |= entry.metadata().map_err(failed)?.len() > 0;
            }
        }
        Ok(look)
    }

    /// Refuses a directory that RocksDB would take for a new one although it is the remains of an old
    /// one: it would delete those.
    pub(super) fn check_not_a_rest(&self, path: &Path) -> Result<()> {
        if !self.current && (self.tables || self.write_ahead) {
            return Err(damaged(path, "the file CURRENT is missing"));
        }
        Ok(())
    }

    /// Refuses a directory that another program made, before anything is written to it, and one without
    /// its write-ahead log. `existing` and `wanted` are columns.
    pub(super) fn check_columns(
        &self,
        path: &Path,
        existing: &[String],
        wanted: &[String],
        write_ahead: bool,
    ) -> Result<()> {
        let ours = wanted.is_empty() || wanted.iter().any(|name| existing.contains(name));
        // A process that died while it created the directory leaves no rows, and perhaps no columns.
        let empty = !self.tables && !self.write_ahead_filled;
        if !ours && !empty {
            return Err(foreign(path));
        }
        if write_ahead && ours && !self.write_ahead {
            return Err(damaged(
                path,
                "the files of the write-ahead log (*.log) are missing",
            ));
        }
        Ok(())
    }
}

const FOREIGN: &str = "holds another kind of RocksDB database";

pub(super) fn foreign(path: &Path) -> Error {
    Error::invalid(format!(
        "the directory {} {FOREIGN}; it was not changed; choose another directory",
        path.display()
    ))
}

/// Whether a directory that does not open may be damaged although the error does not say so: a database
/// whose file list is damaged looks like one of another program, or of another version of RocksDB.
pub(crate) fn may_be_damaged(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal)
        || error.message().contains(FOREIGN)
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::corrupt(format!(
        "opening {}: damaged data: {what}; check the disk and restore the directory from a copy, or \
         delete it if its content can be rebuilt",
        path.display()
    ))
}
