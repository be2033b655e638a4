//! Directories: made so that a power failure does not unmake them, and looked at before RocksDB is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::from_io;
use crate::base::{Error, ErrorKind, Result};

/// Creates the directory and those above it that are missing, and syncs the directories that got a
/// new entry: without that, a power failure may take away a new directory with all that was synced in
/// it. Returns the directories synced.
///
/// # Errors
/// `Invalid` when it may not be written or a file stands in its place; `Full` when the disk is;
/// `Unavailable` otherwise.
pub(crate) fn create_directories(path: &Path) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    fs::create_dir_all(path).map_err(|cause| from_io(path, "creating the directory", cause))?;
    let mut synced = Vec::with_capacity(missing.len());
    for made in missing.iter().rev() {
        let parent = match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_directory(parent)?;
        synced.push(parent.to_owned());
    }
    Ok(synced)
}

/// Makes the entries of a directory survive a power failure.
///
/// # Errors
/// As [`create_directories`].
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    if !cfg!(unix) {
        // Elsewhere a directory cannot be opened as a file, and its entries are journaled.
        return Ok(());
    }
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    match synced {
        // Who may write a directory and not read it cannot sync it either.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|cause| from_io(path, "syncing the directory", cause)),
    }
}

/// What RocksDB's directory looks like from outside.
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

    /// Refuses what RocksDB would take for a new directory although it is the rest of an old one: it
    /// would delete that.
    pub(super) fn check_not_a_rest(&self, path: &Path) -> Result<()> {
        if !self.current && (self.tables || self.write_ahead) {
            return Err(damaged(path, "the file CURRENT is missing"));
        }
        Ok(())
    }

    /// Refuses a directory that another program made, before anything is written into it, and one
    /// without its write-ahead log. `existing` and `wanted` are columns.
    pub(super) fn check_columns(
        &self,
        path: &Path,
        existing: &[String],
        wanted: &[String],
        write_ahead: bool,
    ) -> Result<()> {
        let ours = wanted.is_empty() || wanted.iter().any(|name| existing.contains(name));
        // A process that died while it made the directory leaves no rows, and perhaps no columns.
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

const FOREIGN: &str = "holds a RocksDB database that is not of this kind";

pub(super) fn foreign(path: &Path) -> Error {
    Error::invalid(format!(
        "the directory {} {FOREIGN}; it was left as it is; choose another directory",
        path.display()
    ))
}

/// Whether what does not open may be damaged although the error does not say so: a database whose file list is
/// damaged looks like one of another program, or of another RocksDB.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_got_an_entry_is_synced_from_the_top() {
        let place = tempfile::tempdir().expect("a directory");
        let top = place.path();
        let synced = create_directories(&top.join("a/b/c")).expect("created");
        assert_eq!(
            synced,
            [top.to_owned(), top.join("a"), top.join("a/b")],
            "parents before children"
        );
        assert!(top.join("a/b/c").is_dir());
        let again = create_directories(&top.join("a/b/c")).expect("there");
        assert!(again.is_empty(), "nothing was made: {again:?}");
        fs::write(top.join("file"), "x").expect("written");
        for path in ["file", "file/deeper"] {
            let error = create_directories(&top.join(path)).expect_err("a file");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }
}
