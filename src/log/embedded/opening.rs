//! Opening the database of a log: complete, or without a tail that was never acknowledged.
//!
//! | found | every commit was synced | relaxed fsync |
//! |---|---|---|
//! | an incomplete last record of the write-ahead log | cut off, if it was never acknowledged | cut off, and reported |
//! | other damage in it above what was synced | refused | cut off, and reported |
//! | less than what was synced | refused | refused |
//!
//! Which of the two applies is recorded in [`Point::every_commit`], and does not depend on how the log is
//! opened now. A refused log can be repaired (`repair.rs`). The reasons are in docs/adr/0016.

use std::path::Path;

use super::format::{self, Fields, META, Row};
use super::point::{self, Keeper, Mark, Point, PointFile};
use super::settings::{Fsync, Settings};
use super::work_copy;
use crate::base::{Env, Error, ErrorKind, Result};
use crate::disk::{Database, Durability, Opened as Format, Recovery, check_format, may_be_damaged};

/// A database that contains everything it should.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) incarnation: u128,
    pub(super) keeper: Keeper,
}

/// Adds to an error what else can be done about damage.
pub(super) fn with_cure(error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt || error.message().contains("repair") {
        return error;
    }
    let message = format!(
        "{}; `EmbeddedLog::repair` (`--repair` of the example) keeps what remains",
        error.message()
    );
    Error::new(error.kind(), message).with_source(error)
}

fn damaged(path: &Path, error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt {
        return error;
    }
    let what = "damaged data: the file list (MANIFEST) cannot be read; check the disk and restore the directory \
                from a copy";
    let message = format!("opening {}: {what}", path.display());
    Error::corrupt(message).with_source(error)
}

pub(super) fn open(settings: &Settings, env: &dyn Env) -> Result<Opened> {
    let path = &settings.path;
    let before = PointFile::read(path)?;
    check_not_emptied(path, before.as_ref())?;
    let every_commit = settings.fsync == Fsync::EveryCommit;
    let was_relaxed = !before.map_or(every_commit, |point| point.every_commit);
    let options = settings.options();
    // The point shows whose directory it is.
    let ours = |error: Error| match before {
        Some(_) if may_be_damaged(&error) => damaged(path, error),
        _ => error,
    };
    let (database, cut) = match Database::open(&options).map_err(ours) {
        Err(damage) if damage.kind() == ErrorKind::Corrupt && was_relaxed => {
            // On opening, RocksDB deletes files it does not know: harmful if its file list is damaged.
            let would_hold = work_copy::writes_to_a_point_in_time(path)?;
            if before.is_some_and(|point| would_hold.is_none_or(|it| it < point.synced.writes)) {
                return Err(with_cure(damage));
            }
            let opened = Database::open_recovering(&options, Recovery::PointInTime);
            (opened.map_err(ours).map_err(with_cure)?, true)
        }
        opened => (opened.map_err(with_cure)?, false),
    };
    let format = check_format(&database, META, format::FORMAT)?;
    if before.is_some() && format == Format::New {
        let what = "the rows synced when the log was created are missing";
        let message = format!("opening {}: damaged data: {what}", path.display());
        return Err(with_cure(Error::corrupt(message)));
    }
    let incarnation = incarnation(&database, env)?;
    let found = Mark::of(&database)?;
    if let Some(point) = &before {
        point.check(path, incarnation, found.unwrap_or_default())?;
        let known = point
            .written
            .commits
            .saturating_sub(found.unwrap_or_default().commits);
        if cut || known > 0 {
            let safe_ms = point.synced.at_ms;
            tracing::warn!(
                path = %path.display(),
                lost_commits = known,
                kept_commits = found.unwrap_or_default().commits,
                safe_until_ms = safe_ms,
                "the machine crashed with unsynced commits: the last ones are lost, each as a whole, at \
                 least `lost_commits` and none from before `safe_until_ms`; results derived from them \
                 elsewhere may have to be recreated"
            );
        }
    } else if found.is_some() {
        return Err(Error::corrupt(format!(
            "opening {}: damaged data: the file {} is missing; restore the whole directory from a copy, or \
             let `EmbeddedLog::repair` (`--repair` of the example) keep what remains",
            path.display(),
            point::FILE
        )));
    }
    // RocksDB has flushed what it took from the write-ahead log to files of rows.
    let found = found.unwrap_or_default();
    let point = Point {
        incarnation,
        every_commit,
        synced: found,
        written: found,
    };
    let file = PointFile::create(path, &point)?;
    Ok(Opened {
        database,
        incarnation,
        keeper: Keeper { file, point },
    })
}

/// Refuses a directory of which only the point is left, or that a repair has taken apart: RocksDB would
/// take it for a new one.
fn check_not_emptied(path: &Path, point: Option<&Point>) -> Result<()> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    let what = if work_copy::is_unfinished(path) {
        "its repair was interrupted; run the repair again"
    } else if point.is_some() {
        "the file CURRENT is missing; check the disk and restore the directory from a copy"
    } else {
        return Ok(());
    };
    let message = format!("opening {}: damaged data: {what}", path.display());
    Err(with_cure(Error::corrupt(message)))
}

fn incarnation(database: &Database, env: &dyn Env) -> Result<u128> {
    let mut row = Vec::new();
    if database.get(META, format::INCARNATION, &mut row)? {
        return Fields::open(&row)?.u128();
    }
    let drawn = u128::from(env.random_u64()) << 64 | u128::from(env.random_u64());
    let mut batch = database.batch();
    let row = Row::new().put(&drawn.to_le_bytes()).seal();
    batch.put(META, format::INCARNATION, &row);
    database.write(batch, Durability::Synced)?;
    Ok(drawn)
}
