//! Creating directories so that a power failure does not remove them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::from_io;
use crate::base::Result;

/// The file that marks a directory of rows, which have no write-ahead log, once damage was found in it.
pub(crate) const DAMAGE_MARK: &str = "damaged";

/// Creates the directory and any missing parents, and syncs the directories that got a new entry: without
/// that, a power failure may remove a new directory with everything that was synced in it. Returns the
/// directories synced.
///
/// # Errors
/// `Invalid` if it is not writable or there is a file in its place; `Full` if the disk is; `Unavailable`
/// otherwise.
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
        // A user who may write but not read a directory cannot sync it either.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|cause| from_io(path, "syncing the directory", cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

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
