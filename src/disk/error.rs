//! Errors of RocksDB and the file system, distinguished by what the user can do.

use std::io;
use std::path::Path;

use super::files::refused;
use crate::base::{Error, ErrorKind};

/// An error of RocksDB on the database at `path`.
#[cfg(feature = "rocksdb")]
pub(super) fn from_rocksdb(path: &Path, doing: &str, cause: rocksdb::Error) -> Error {
    let (kind, message) = describe(path, doing, &cause);
    Error::new(kind, message).with_source(cause)
}

/// The kind and the message of such an error, without its cause.
#[cfg(feature = "rocksdb")]
pub(super) fn describe(path: &Path, doing: &str, cause: &rocksdb::Error) -> (ErrorKind, String) {
    let text = cause.as_ref();
    let place = path.display();
    if text.contains("No space left") || text.contains("Disk quota exceeded") {
        let message = format!("{doing} {place}: the disk is full; free space and restart");
        return (ErrorKind::Full, message);
    }
    let locked = text.contains("lock hold by current process")
        || (text.contains("lock") && text.contains("Resource temporarily unavailable"));
    if locked {
        let message = format!(
            "the directory {place} is in use by another process; stop that process, or give this one \
             a directory of its own"
        );
        return (ErrorKind::Unavailable, message);
    }
    if text.contains("Permission denied") {
        let message = format!(
            "{doing} {place}: permission denied; grant this user read and write access, or choose another \
             directory"
        );
        return (ErrorKind::Invalid, message);
    }
    if text.contains("Read-only file system") {
        let message = format!(
            "{doing} {place}: the file system is read-only; choose another directory or remount it"
        );
        return (ErrorKind::Invalid, message);
    }
    // A limit of the whole system: not caused by this process, and perhaps temporary.
    if text.contains("Too many open files in system") {
        let message = format!("{doing} {place}: the system has too many open files");
        return (ErrorKind::Unavailable, message);
    }
    if text.contains("Too many open files") {
        let error = refused(&format!("{doing} {place}"));
        return (error.kind(), error.message().to_owned());
    }
    if text.contains("No such file or directory") {
        let message = format!(
            "{doing} {place}: damaged data: a file is missing; check the disk and restore the directory \
             from a copy, or delete it if its content can be rebuilt"
        );
        return (ErrorKind::Corrupt, message);
    }
    match cause.kind() {
        rocksdb::ErrorKind::Corruption => {
            let message = format!(
                "{doing} {place}: damaged data; check the disk and restore the directory from a copy, or \
                 delete it if its content can be rebuilt"
            );
            (ErrorKind::Corrupt, message)
        }
        rocksdb::ErrorKind::InvalidArgument | rocksdb::ErrorKind::NotSupported => (
            ErrorKind::Internal,
            format!("{doing} {place}: refused by RocksDB"),
        ),
        _ => {
            let message = format!(
                "{doing} {place}: the disk reported an error; restart once the disk is healthy"
            );
            (ErrorKind::Unavailable, message)
        }
    }
}

/// An error of the file system at `path`.
pub(crate) fn from_io(path: &Path, doing: &str, cause: io::Error) -> Error {
    let place = path.display();
    let (kind, cure) = match cause.kind() {
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Invalid,
            "grant this user read and write access, or choose another directory",
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::Invalid,
            "the file system is read-only; choose another directory or remount it",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "free space and restart")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => (
            ErrorKind::Invalid,
            "a file exists where a directory is required; choose another directory",
        ),
        // ENFILE and EMFILE have no kind of their own.
        _ if cause.raw_os_error() == Some(23) => {
            (ErrorKind::Unavailable, "the system has too many open files")
        }
        _ if cause.raw_os_error() == Some(24) => {
            return refused(&format!("{doing} {place}")).with_source(cause);
        }
        _ => (ErrorKind::Unavailable, "restart once the disk is healthy"),
    };
    Error::new(kind, format!("{doing} {place}: {cure}")).with_source(cause)
}
