//! Open files: how many this process may have, and how many its databases use.
//!
//! ```text
//!  limit   | others | database | database | ... |  tables, shared by all databases  |
//!            sockets,  lock, manifest, logs of
//!            files of  each: open as long as
//!            the user  the database is
//! ```
//!
//! A process that runs out of files fails anywhere: at a flush, at a socket, in the user's code. So the
//! limit is raised as far as the system allows, tables get a share that stays below it, and a database
//! for which there is no room is refused before it is opened, with the number that is needed.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{Error, Result};

/// The open files of a database besides its tables: the lock, the manifest, its own log, the write-ahead
/// log and the directory, plus one for each column.
const FILES_OF_A_DATABASE: u64 = 5;
/// What is left for everything else, unless that is more than an eighth of the limit.
const FILES_OF_OTHERS: u64 = 128;
/// RocksDB reserves ten of its files for itself.
const FILES_OF_ROCKSDB: u64 = 10;
/// The minimum and maximum number of tables that a database keeps open; it opens the others when it reads
/// them.
const TABLES_MIN: u64 = 1;
const TABLES_MAX: u64 = 512;

/// The files of the open databases of this process, including one table each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Raises the soft limit on this process's open files to the hard one, once, and returns the result. The
/// default of most systems, 1,024, exists for programs that could not handle more: a hundred tasks need
/// more.
pub(super) fn raise_file_limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let before = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(0, |(soft, _)| soft);
        match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) => {
                if limit > before {
                    tracing::debug!(before, limit, "raised the limit on open files");
                }
                limit
            }
            // Systems without such a limit, or that do not allow raising it.
            Err(error) => {
                tracing::warn!(%error, before, "the limit on open files could not be raised");
                if before == 0 { u64::MAX } else { before }
            }
        }
    })
}

/// The share of the process's files that one database has; returned when it is dropped.
#[derive(Debug)]
pub(super) struct FilesOfADatabase {
    /// RocksDB's `max_open_files`.
    pub(super) max_open_files: i32,
    taken: u64,
}

impl FilesOfADatabase {
    /// Takes the share of the database at `path`, one of `expected` databases.
    ///
    /// # Errors
    /// `Invalid` if there are not enough files, with the limit, the need and the remedy.
    pub(super) fn take(path: &Path, columns: usize, expected: u64) -> Result<Self> {
        let limit = raise_file_limit();
        let needs = FILES_OF_A_DATABASE + columns as u64 + TABLES_MIN;
        let taken = TAKEN.fetch_add(needs, Ordering::AcqRel) + needs;
        match max_open_files(limit, taken, needs, expected) {
            Some(max_open_files) => Ok(Self {
                max_open_files,
                taken: needs,
            }),
            None => {
                TAKEN.fetch_sub(needs, Ordering::AcqRel);
                let need = others(u64::MAX) + taken.max(needs * expected);
                let doing = format!("opening {}", path.display());
                Err(too_many(
                    &doing,
                    &format!("about {need} for {expected} databases, one per task"),
                ))
            }
        }
    }
}

impl Drop for FilesOfADatabase {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.taken, Ordering::AcqRel);
    }
}

fn others(limit: u64) -> u64 {
    FILES_OF_OTHERS.min(limit / 8)
}

/// The share of a database that needs `needs` files, one of `expected` such, when all open databases
/// including it have taken `taken`; `None` if there is no room for it.
fn max_open_files(limit: u64, taken: u64, needs: u64, expected: u64) -> Option<i32> {
    let room = limit.saturating_sub(others(limit));
    if taken > room {
        return None;
    }
    let databases = expected.max(taken / needs).max(1);
    let rest = room.saturating_sub(taken.max(needs * databases));
    let tables = TABLES_MIN + (rest / databases).min(TABLES_MAX - TABLES_MIN);
    i32::try_from(tables + FILES_OF_ROCKSDB).ok()
}

/// Says that this process has too few files, and what to do.
fn too_many(doing: &str, needs: &str) -> Error {
    let limit = raise_file_limit();
    Error::invalid(format!(
        "{doing}: too many open files: this process may open {limit}, its hard limit, and needs {needs}; \
         raise the hard limit (`ulimit -H -n`, LimitNOFILE of the service, --ulimit nofile of the \
         container), or use more instances or fewer partitions"
    ))
}

/// What the file was for that the system refused.
pub(super) fn refused(doing: &str) -> Error {
    let taken = TAKEN.load(Ordering::Acquire);
    too_many(
        doing,
        &format!("more: its databases alone use about {taken}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_share_what_the_limit_leaves() {
        // With few databases, they get as many tables as they like.
        assert_eq!(max_open_files(20_000, 9, 9, 1), Some(522));
        // 192 out of a limit of 4,096: what remains of 3,968 is 20 for each, nine of them its own.
        assert_eq!(max_open_files(4_096, 9, 9, 192), Some(10 + 12));
        assert_eq!(max_open_files(4_096, 192 * 9, 9, 192), Some(10 + 12));
        // All open databases together stay below the limit, whatever was expected.
        for (limit, expected) in [(128, 24), (1_024, 1), (1_024, 192), (20_000, 768)] {
            let mut files = others(limit);
            let mut open = 0;
            while let Some(of_rocksdb) = max_open_files(limit, 9 * (open + 1), 9, expected) {
                if open == expected {
                    break;
                }
                open += 1;
                files += 8 + of_rocksdb as u64 - FILES_OF_ROCKSDB;
            }
            assert!(open > 0 && files <= limit, "{limit} {expected}: {files}");
        }
        assert_eq!(max_open_files(1_024, 192 * 9, 9, 192), None);
    }
}
