//! Repair: turns a damaged directory into a log that opens, and reports what was lost.
//!
//! The damaged files are never changed. What can be read of a copy of them (`salvage.rs`) is written to a
//! new database in a subdirectory, and then the two are exchanged:
//!
//! ```text
//! 1. repair.work     a copy (tables are linked), cut at the first damage of its write-ahead log
//! 2. repair.fresh    the new database, being filled;   when it is on the disk: repair.ready
//! 3. damaged.<n>     the old files move there, CURRENT first;   then repair.ready is repair.moving
//! 4.                 the new files move from there, CURRENT last
//! ```
//! From step 3 on there is no `CURRENT` until everything is done: a log whose repair was interrupted does
//! not open, and repairing it again continues from there.

mod salvage;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::log::EmbeddedLog;
use super::opening;
use super::point::{Mark, Point, PointFile};
use super::settings::Settings;
use super::work_copy::{
    BUDGET_BYTES, FRESH, MOVING, READY, WORK, copy, is_unfinished, list, opened, remove, rename,
};
use crate::base::{Env, Error, ErrorKind, Offset, Result, TopicPartition};
use crate::disk::{Budget, Database, Recovery, from_io, may_be_damaged, rebuild, sync_directory};

/// Records that are known to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecords {
    /// Their partition.
    pub partition: TopicPartition,
    /// The first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
}

/// A group that had read lost records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedBack {
    /// The group.
    pub group: String,
    /// Its partition.
    pub partition: TopicPartition,
    /// Its committed offset before.
    pub from: Offset,
    /// Its committed offset now: the end of the partition.
    pub to: Offset,
}

/// The result of [`EmbeddedLog::repair`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Where the damaged files are now; `None` if there was nothing to repair, and nothing was changed.
    pub damaged: Option<PathBuf>,
    /// Commits that are known to be lost.
    pub lost_commits: u64,
    /// Records that are known to be lost. In a compacted topic, older values of a key may be missing
    /// without being listed here.
    pub lost_records: Vec<LostRecords>,
    /// Groups whose offsets were above the new end of a partition, if the log was in pieces.
    pub moved_back: Vec<MovedBack>,
    /// What else could not be read.
    pub problems: Vec<String>,
}

impl EmbeddedLog {
    /// Makes a damaged log openable, and reports what was lost. All commits before the first damage in
    /// the write-ahead log are kept, and none after it; batches whose files are damaged are left out. The
    /// log gets a new incarnation, so that state derived from lost records is rebuilt. The damaged files
    /// are moved to the directory `damaged.<n>` in `path`: check the log, then delete it. An intact log
    /// is not changed.
    ///
    /// Needs as much free disk space as the log takes, and reads all of it.
    ///
    /// # Errors
    /// `Unavailable` while a process has the log open; `Invalid` if there is none at `path`; `Corrupt` if
    /// nothing of it can be read, or a newer version wrote it; `Full` if the disk is.
    pub fn repair(path: impl AsRef<Path>, env: &dyn Env) -> Result<Repair> {
        let path = path.as_ref();
        let repairing = |error: Error| error.context(format_args!("repairing {}", path.display()));
        repair(path, env).map_err(repairing)
    }
}

fn repair(path: &Path, env: &dyn Env) -> Result<Repair> {
    if is_unfinished(path) {
        let finished = "an interrupted repair was finished; its losses are no longer known";
        return Ok(Repair {
            damaged: Some(change_places(path)?),
            problems: vec![finished.to_owned()],
            ..Repair::default()
        });
    }
    for rest in [WORK, FRESH, READY, MOVING] {
        remove(&path.join(rest))?;
    }
    if list(path)?.is_empty() {
        let message = format!("there is no log in {}", path.display());
        return Err(Error::invalid(message));
    }
    let settings = |path: &Path| Settings::new(path, Budget::new(BUDGET_BYTES));
    let before = PointFile::read(path).ok().flatten();
    match opening::open(&settings(path), env) {
        Ok(opened) if salvage::is_whole(&opened.database)? => return Ok(Repair::default()),
        Ok(_) => {}
        Err(damage) if damage.kind() == ErrorKind::Corrupt => {}
        Err(error) => return Err(error),
    }
    let work = path.join(WORK);
    let seen = copy(path, &work, true)
        .and_then(|()| opened(&work, Recovery::Fragments))
        .and_then(|database| salvage::ends(&database))
        .unwrap_or_default();
    let (from, problems) = readable(path, &work)?;
    let fresh = path.join(FRESH);
    let to = opened(&fresh, Recovery::Whole)?;
    let incarnation = u128::from(env.random_u64()) << 64 | u128::from(env.random_u64());
    let written = before.map_or(Mark::default(), |point| point.written);
    let known = salvage::Known {
        incarnation,
        written,
        seen: &seen,
        in_pieces: problems.is_some(),
    };
    let (mut done, mark) = salvage::salvage(&from, &to, &known)?;
    done.problems.extend(problems);
    done.lost_commits = written.commits.saturating_sub(mark.commits);
    to.flush()?;
    drop((from, to));
    let point = Point {
        incarnation,
        every_commit: before.is_none_or(|point| point.every_commit),
        synced: mark,
        written: mark,
    };
    PointFile::create(&fresh, &point)?;
    rename(&fresh, &path.join(READY))?;
    sync_directory(path)?;
    done.damaged = Some(change_places(path)?);
    Ok(done)
}

/// Opens a copy, cut at the first damage; if the file list or files of rows are damaged, opens what
/// RocksDB can make of the others. Also returns which it was.
fn readable(path: &Path, work: &Path) -> Result<(Database, Option<String>)> {
    let writes = |database: &Database| {
        let mark = Mark::of(database).ok().flatten();
        mark.unwrap_or_default().writes
    };
    // A file list that ends early can be opened too, but does not know the last files of rows.
    let in_tables = rebuilt(path, work, false).map_or(0, |database| writes(&database));
    copy(path, work, true)?;
    match opened(work, Recovery::Salvage) {
        Ok(database) if writes(&database) >= in_tables => return Ok((database, None)),
        Err(error) if !may_be_damaged(&error) => return Err(error),
        _ => {}
    }
    let problem = "the file list or whole files of rows are damaged or missing: more may be lost than is \
                   reported here, such as topics and offsets of groups";
    Ok((rebuilt(path, work, true)?, Some(problem.to_owned())))
}

fn rebuilt(path: &Path, work: &Path, write_ahead: bool) -> Result<Database> {
    copy(path, work, write_ahead)?;
    rebuild(work, &Budget::new(BUDGET_BYTES))?;
    opened(work, Recovery::Salvage)
}

/// Steps 3 and 4, from wherever they were interrupted. Returns where the old files are.
fn change_places(path: &Path) -> Result<PathBuf> {
    let damaged = |number: u32| path.join(format!("damaged.{number}"));
    let mut number = 1;
    while damaged(number + 1).exists() {
        number += 1;
    }
    let (ready, moving) = (path.join(READY), path.join(MOVING));
    if ready.exists() {
        // A repair that was interrupted here has left no CURRENT above: its directory is the last one.
        if path.join("CURRENT").exists() && damaged(number).exists() {
            number += 1;
        }
        let damaged = damaged(number);
        fs::create_dir_all(&damaged)
            .map_err(|cause| from_io(&damaged, "creating the directory", cause))?;
        for name in list(path)? {
            rename(&path.join(&name), &damaged.join(&name))?;
        }
        sync_directory(&damaged)?;
        rename(&ready, &moving)?;
        sync_directory(path)?;
    }
    for name in list(&moving)?.iter().rev() {
        if name == "CURRENT" {
            sync_directory(path)?;
        }
        rename(&moving.join(name), &path.join(name))?;
    }
    for rest in [MOVING, WORK] {
        remove(&path.join(rest))?;
    }
    sync_directory(path)?;
    Ok(damaged(number))
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(damaged) = &self.damaged else {
            return write!(f, "the log is intact; nothing was changed");
        };
        writeln!(
            f,
            "the log can be opened again; at least {} commits are lost",
            self.lost_commits
        )?;
        for lost in &self.lost_records {
            let LostRecords {
                partition,
                from,
                to,
            } = lost;
            writeln!(f, "lost: {partition}, offsets {from} to {}", to - 1)?;
        }
        for moved in &self.moved_back {
            let MovedBack {
                group,
                partition,
                from,
                to,
            } = moved;
            writeln!(
                f,
                "group {group} continues in {partition} at {to}, not at {from}"
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        write!(f, "the damaged files are in {}", damaged.display())
    }
}
