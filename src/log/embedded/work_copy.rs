//! A working copy of a log's directory: to find out what it would contain if it were cut at its damage.

use std::fs;
use std::io;
use std::path::Path;

use super::format::{FORMAT, META};
use super::point::{self, Mark};
use super::settings::Settings;
use crate::base::Result;
use crate::disk::{Budget, Database, Recovery, check_format, from_io};

/// The memory that a repair uses, in bytes.
pub(super) const BUDGET_BYTES: usize = 64 << 20;
pub(super) const WORK: &str = "repair.work";
pub(super) const FRESH: &str = "repair.fresh";
pub(super) const READY: &str = "repair.ready";
pub(super) const MOVING: &str = "repair.moving";

/// Whether the directory has to be repaired before it can be opened.
pub(super) fn is_unfinished(path: &Path) -> bool {
    !path.join("CURRENT").exists() && [READY, MOVING].iter().any(|part| path.join(part).exists())
}

/// How many writes the log would contain if it were cut at its first damage, determined on a copy; `None`
/// if it would not open.
pub(super) fn writes_to_a_point_in_time(path: &Path) -> Result<Option<u64>> {
    let work = path.join(WORK);
    copy(path, &work, true)?;
    let mark = opened(&work, Recovery::PointInTime).and_then(|database| Mark::of(&database));
    remove(&work)?;
    Ok(mark.ok().map(|mark| mark.unwrap_or_default().writes))
}

pub(super) fn opened(path: &Path, recovery: Recovery) -> Result<Database> {
    let settings = Settings::new(path, Budget::new(BUDGET_BYTES));
    let database = Database::open_recovering(&settings.options(), recovery)?;
    let mut row = Vec::new();
    // A damaged one may have lost its format row too.
    if recovery == Recovery::Whole || database.get(META, b"format", &mut row)? {
        check_format(&database, META, FORMAT)?;
    }
    Ok(database)
}

/// The files of the directory, without its subdirectories.
pub(super) fn list(path: &Path) -> Result<Vec<String>> {
    let failed = |cause| from_io(path, "reading the directory", cause);
    let entries = match fs::read_dir(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    // CURRENT names the file that names all others: removed first, added last.
    names.sort_by_key(|name| name != "CURRENT");
    Ok(names)
}

/// Makes `to` a copy of the database in `from`, optionally without its write-ahead log. Tables are never
/// written again, so a link is enough.
pub(super) fn copy(from: &Path, to: &Path, write_ahead: bool) -> Result<()> {
    remove(to)?;
    fs::create_dir(to).map_err(|cause| from_io(to, "creating the directory", cause))?;
    for name in list(from)? {
        let left_out = name == "LOCK" || name.starts_with("LOG") || name == point::FILE;
        if left_out || (name.ends_with(".log") && !write_ahead) {
            continue;
        }
        let (from, to) = (from.join(&name), to.join(&name));
        if name.ends_with(".sst") && fs::hard_link(&from, &to).is_ok() {
            continue;
        }
        fs::copy(&from, &to).map_err(|cause| from_io(&to, "writing", cause))?;
    }
    Ok(())
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(from_io(path, "removing", cause))
        }
        _ => Ok(()),
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|cause| from_io(from, "renaming", cause))
}
