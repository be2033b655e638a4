//! Which directory a task's state is in, and its owner in this process.
//!
//! ```text
//! tasks/<task>        the usual one
//! tasks/<task>.<n>    a later one, made while a worker that lost the task had not let go of the one before
//! ```
//!
//! A worker that hangs in a closure keeps its database open. The next owner of the task cannot wait for
//! that, and need not: the state is in the changelogs. The directory with the largest number is valid; at
//! the next start it gets the usual name, and the others are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{StateDirectory, remove_directory};
use crate::base::{Error, ErrorKind, Result, TaskId};
use crate::disk::{DAMAGE_MARK, from_io};

/// The owners within this process.
#[derive(Debug, Default)]
pub(in crate::state) struct Claimed {
    /// The directories that are in use.
    held: BTreeSet<PathBuf>,
    /// The newest number of each task that has other than the usual directory. At start there are none.
    newest: BTreeMap<TaskId, u64>,
}

pub(in crate::state) type Claims = Arc<Mutex<Claimed>>;

/// A task's directory, with one owner at a time. Dropping it releases the directory; the database in it
/// must be closed before.
#[derive(Debug)]
pub struct TaskDirectory {
    path: PathBuf,
    claims: Claims,
}

impl TaskDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the rows here were found to be damaged when they were last open.
    pub fn is_damaged(&self) -> bool {
        self.path.join(DAMAGE_MARK).exists()
    }
}

impl Drop for TaskDirectory {
    fn drop(&mut self) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.held.remove(&self.path);
    }
}

impl StateDirectory {
    /// Takes the directory of a task for the caller alone. While another owner in this process has it, a
    /// `fresh` one is made beside it, whose rows come from the changelogs.
    ///
    /// # Errors
    /// `Unavailable` while another owner has it and no fresh one is requested.
    pub fn claim(&self, task: &TaskId, fresh: bool) -> Result<TaskDirectory> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = claims.newest.get(task).copied().unwrap_or(0);
        let mut path = numbered(&self.task_path(task), number);
        if claims.held.contains(&path) {
            if !fresh {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "the directory {} is still in use by another worker of this process",
                        path.display()
                    ),
                ));
            }
            number += 1;
            path = numbered(&self.task_path(task), number);
            claims.newest.insert(task.clone(), number);
        }
        claims.held.insert(path.clone());
        let claims = Arc::clone(&self.claims);
        Ok(TaskDirectory { path, claims })
    }
}

impl StateDirectory {
    /// Whether the rows of a task, wherever they are now, were found to be damaged when they were last open.
    pub fn is_damaged(&self, task: &TaskId) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let number = claims.newest.get(task).copied().unwrap_or(0);
        let path = numbered(&self.task_path(task), number);
        path.join(DAMAGE_MARK).exists()
    }
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    match number {
        0 => path.to_owned(),
        number => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{name}.{number}"))
        }
    }
}

/// Parses `<task>.<n>`; `None` for other names.
fn parts(name: &str) -> Option<(&str, u64)> {
    let (task, number) = name.rsplit_once('.')?;
    Some((task, number.parse().ok()?))
}

/// At start, when none is in use: the newest directory of each task is kept, under the usual name.
pub(in crate::state) fn settle(tasks: &Path) -> Result<()> {
    let failed = |cause| from_io(tasks, "reading the state directory", cause);
    let mut numbered: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for entry in fs::read_dir(tasks).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some((task, number)) = parts(&name.to_string_lossy()) {
            numbered.entry(task.to_owned()).or_default().insert(number);
        }
    }
    for (task, mut numbers) in numbered {
        let usual = tasks.join(task);
        let Some(newest) = numbers.pop_last() else {
            continue;
        };
        // The newest is renamed last: after a crash in between it is found again.
        for number in numbers.into_iter().chain([0]) {
            remove_directory(&self::numbered(&usual, number))?;
        }
        let from = self::numbered(&usual, newest);
        fs::rename(&from, &usual).map_err(|cause| from_io(&from, "renaming", cause))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ManualEnv;

    fn open(place: &Path) -> StateDirectory {
        StateDirectory::open(place, "app", &*ManualEnv::new(0, 1)).expect("opens")
    }

    #[test]
    fn a_task_has_one_owner_and_a_fresh_directory_beside_one_that_is_held() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = open(place.path());
        let task = TaskId::new("counts", 3);
        let held = directory.claim(&task, false).expect("free");
        assert_eq!(held.path(), directory.task_path(&task));
        let error = directory.claim(&task, false).expect_err("held");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        // Other tasks have other directories, even one whose name has the same prefix.
        assert!(directory.claim(&TaskId::new("counts", 33), false).is_ok());
        let fresh = directory.claim(&task, true).expect("beside it");
        assert!(fresh.path().ends_with("counts_3.1"));
        drop(held);
        // The newest is valid, even when the first is free again.
        assert!(directory.claim(&task, false).is_err());
        fs::create_dir_all(fresh.path()).expect("made");
        drop(fresh);
        let again = directory.claim(&task, true).expect("free");
        assert!(again.path().ends_with("counts_3.1"));
    }

    #[test]
    fn at_the_next_start_the_newest_directory_has_the_usual_name() {
        let place = tempfile::tempdir().expect("a directory");
        let tasks = place.path().join("app/tasks");
        for name in [
            "counts_3",
            "counts_3.2",
            "counts_3.10",
            "counts_4",
            "counts_5.1",
        ] {
            fs::create_dir_all(tasks.join(name)).expect("made");
            fs::write(tasks.join(name).join("rows"), name).expect("written");
        }
        let directory = open(place.path());
        for (partition, from) in [(3, "counts_3.10"), (4, "counts_4"), (5, "counts_5.1")] {
            let path = directory.task_path(&TaskId::new("counts", partition));
            assert_eq!(fs::read_to_string(path.join("rows")).expect("there"), from);
        }
        assert_eq!(directory.tasks().expect("lists").len(), 3);
        assert_eq!(fs::read_dir(tasks).expect("lists").count(), 3);
    }
}
