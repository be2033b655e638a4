//! The directory of an application's state: used by one process at a time, with one subdirectory per
//! task.
//!
//! ```text
//! <path>/<application>/lock        locked while the process runs; its content is irrelevant
//! <path>/<application>/instance    16 hexadecimal digits, the permanent name of this instance
//! <path>/<application>/global/     the rows of global stores, filled anew at each start
//! <path>/<application>/tasks/<subtopology>_<partition>/
//! <path>/<application>/tasks/<subtopology>_<partition>.<n>/       beside one that is held (`directory/task_directory.rs`)
//! <path>/<application>/tasks/<subtopology>_<partition>.removed/   being deleted
//! ```

mod task_directory;

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::task_directory::{Claims, settle};
use crate::base::{Env, Error, ErrorKind, Result, TaskId, is_name_char};
use crate::disk::{create_directories, from_io, sync_directory};

pub use self::task_directory::TaskDirectory;

/// The locked directory of an application on this machine. Dropping it releases the lock.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    instance: String,
    pub(super) claims: Claims,
    /// Holds the lock.
    _lock: File,
}

/// The longest application id: names of topics and files that begin with it must fit, too.
const ID_LEN_MAX: usize = 200;

/// Refuses an application id that cannot name a directory and begin the names of topics.
///
/// # Errors
/// `Invalid`.
pub fn check_application(id: &str) -> Result<()> {
    if id.len() > ID_LEN_MAX {
        return Err(Error::invalid(format!(
            "an application id of {} characters is too long, since it names topics and a directory; use at most \
             {ID_LEN_MAX}",
            id.len()
        )));
    }
    if id.is_empty() || id.starts_with('.') || !id.chars().all(is_name_char) {
        return Err(Error::invalid(format!(
            "{id:?} cannot name an application; use letters, digits, '.', '_' and '-', and no '.' in front"
        )));
    }
    Ok(())
}

impl StateDirectory {
    /// Opens and locks the directory of `application` in `path`, creating what is missing.
    ///
    /// # Errors
    /// `Unavailable` while another process has it; `Invalid` if it is not writable; `Full` if the disk
    /// is. All name the path.
    pub fn open(path: &Path, application: &str, env: &dyn Env) -> Result<Self> {
        check_application(application)?;
        let path = path.join(application);
        let tasks = path.join("tasks");
        create_directories(&tasks)?;
        let lock = lock(&path, env)?;
        sweep(&tasks)?;
        settle(&tasks)?;
        let instance = instance(&path, env)?;
        Ok(Self {
            path,
            instance,
            claims: Claims::default(),
            _lock: lock,
        })
    }

    /// The application's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of this instance of the application: random, and constant as long as the directory
    /// exists.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where the state of `task` is, or would be.
    pub fn task_path(&self, task: &TaskId) -> PathBuf {
        self.path.join("tasks").join(task.to_string())
    }

    /// The tasks that have state here, sorted.
    ///
    /// # Errors
    /// `Unavailable` if the directory cannot be read.
    pub fn tasks(&self) -> Result<Vec<TaskId>> {
        let path = self.path.join("tasks");
        let failed = |cause| from_io(&path, "reading the state directory", cause);
        let mut tasks = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // A directory without a task's name is not ours.
            let task = name.to_str().and_then(|name| {
                let (subtopology, partition) = name.rsplit_once('_')?;
                Some(TaskId::new(subtopology, partition.parse().ok()?))
            });
            tasks.extend(task);
        }
        tasks.sort();
        Ok(tasks)
    }

    /// Deletes the content of a task's directory, before it is recreated.
    ///
    /// # Errors
    /// As [`StateDirectory::remove_task`].
    pub fn empty(&self, directory: &TaskDirectory) -> Result<()> {
        self.remove(directory.path())
    }

    /// Deletes the state of a task that is not open; does nothing if there is none.
    ///
    /// # Errors
    /// `Invalid` without permission, `Unavailable` if the disk fails.
    pub fn remove_task(&self, task: &TaskId) -> Result<()> {
        self.remove(&self.task_path(task))
    }

    /// Transfers the directory of a task that is not open to another task, which has none yet.
    ///
    /// # Errors
    /// As [`StateDirectory::remove_task`].
    pub fn rename_task(&self, from: &TaskId, to: &TaskDirectory) -> Result<()> {
        let from = self.task_path(from);
        let failed = |cause| from_io(&from, "renaming the state directory", cause);
        fs::rename(&from, to.path()).map_err(failed)?;
        sync_directory(&self.path.join("tasks"))
    }

    /// Deletes the rows of the global stores, and returns where they go.
    ///
    /// # Errors
    /// As [`StateDirectory::remove_task`].
    pub fn empty_global(&self) -> Result<PathBuf> {
        let path = self.path.join("global");
        remove_directory(&path)?;
        Ok(path)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        // Renamed first: a crash must not leave half of it under the task's name.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!("{name}{REMOVED}"));
        remove_directory(&aside)?;
        match fs::rename(path, &aside) {
            Ok(()) => remove_directory(&aside),
            Err(cause) if cause.kind() == IoErrorKind::NotFound => Ok(()),
            Err(cause) => Err(from_io(path, "deleting the state directory", cause)),
        }
    }
}

/// Suffix of a task's directory while it is being deleted.
const REMOVED: &str = ".removed";

pub(super) fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != IoErrorKind::NotFound => {
            Err(from_io(path, "deleting the state directory", cause))
        }
        _ => Ok(()),
    }
}

/// Finishes what [`StateDirectory::remove_task`] had begun before a crash.
fn sweep(tasks: &Path) -> Result<()> {
    let failed = |cause| from_io(tasks, "reading the state directory", cause);
    for entry in fs::read_dir(tasks).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().ends_with(REMOVED) {
            remove_directory(&entry.path())?;
        }
    }
    Ok(())
}

/// How long to wait for a lock, in milliseconds: a process that is being started briefly inherits what
/// its parent held.
const LOCK_MS: u64 = 250;
const LOCK_AGAIN: Duration = Duration::from_millis(10);

fn lock(directory: &Path, env: &dyn Env) -> Result<File> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|cause| from_io(&path, "opening the lock", cause))?;
    let until_ms = env.monotonic_ms() + LOCK_MS;
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && env.monotonic_ms() < until_ms {
        env.sleep(LOCK_AGAIN);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the state directory {} is in use by another process; stop that process, or give \
                 this one a directory of its own",
                directory.display()
            ),
        )),
        Err(TryLockError::Error(cause)) => Err(from_io(&path, "locking", cause)),
    }
}

fn instance(directory: &Path, env: &dyn Env) -> Result<String> {
    let path = directory.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let text = text.trim();
            if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(text.to_owned());
            }
            Err(Error::corrupt(format!(
                "{} does not contain an instance name; delete it, and a new one will be created",
                path.display()
            )))
        }
        Err(cause) if cause.kind() == IoErrorKind::NotFound => {
            let name = format!("{:016x}", env.random_u64());
            // Written elsewhere and renamed: a crash does not leave an incomplete name.
            let aside = directory.join("instance.new");
            let failed = |cause| from_io(&aside, "writing", cause);
            let mut file = File::create(&aside).map_err(failed)?;
            file.write_all(name.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&aside, &path).map_err(failed)?;
            sync_directory(directory)?;
            Ok(name)
        }
        Err(cause) => Err(from_io(&path, "reading", cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ManualEnv, SystemEnv};

    #[test]
    fn one_opener_at_a_time_and_the_instance_keeps_its_name() {
        let place = tempfile::tempdir().expect("a directory");
        let env = SystemEnv::shared();
        let first = StateDirectory::open(place.path(), "app", &*env).expect("opens");
        let error = StateDirectory::open(place.path(), "app", &*env).expect_err("is locked");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("in use by another process"));
        let other = StateDirectory::open(place.path(), "other", &*env).expect("opens");
        assert_ne!(first.instance(), other.instance());
        let instance = first.instance().to_owned();
        drop(first);
        // A child that another test is starting has inherited the lock until it becomes another program, which
        // on a busy machine may take longer than an opener waits.
        let until_ms = env.monotonic_ms() + 60_000;
        let again = loop {
            match StateDirectory::open(place.path(), "app", &*env) {
                Ok(again) => break again,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert!(env.monotonic_ms() < until_ms, "{error}");
                }
            }
        };
        assert_eq!(again.instance(), instance);
    }

    #[test]
    fn tasks_are_listed_and_removed() {
        let place = tempfile::tempdir().expect("a directory");
        let env = ManualEnv::new(0, 1);
        let directory = StateDirectory::open(place.path(), "app", &*env).expect("opens");
        let task = TaskId::new("ocean_counts", 3);
        fs::create_dir_all(directory.task_path(&task).join("inner")).expect("creates");
        fs::create_dir_all(directory.path().join("tasks/stray")).expect("creates");
        assert_eq!(
            directory.tasks().expect("lists"),
            std::slice::from_ref(&task)
        );
        directory.remove_task(&task).expect("removes");
        directory.remove_task(&task).expect("nothing to remove");
        assert!(directory.tasks().expect("lists").is_empty());
    }

    #[test]
    fn a_deletion_that_a_crash_interrupted_is_finished() {
        let place = tempfile::tempdir().expect("a directory");
        let env = ManualEnv::new(0, 1);
        let task = TaskId::new("counts", 0);
        let half = place.path().join("app/tasks/counts_0.removed");
        fs::create_dir_all(&half).expect("creates");
        fs::write(half.join("000007.sst"), "rows").expect("writes");
        let directory = StateDirectory::open(place.path(), "app", &*env).expect("opens");
        assert!(directory.tasks().expect("lists").is_empty());
        assert!(!half.exists(), "the rest goes at the next start");
        // And the deletion does not block the next one.
        for _ in 0..2 {
            fs::create_dir_all(directory.task_path(&task).join("inner")).expect("creates");
            directory.remove_task(&task).expect("removes");
            assert!(!directory.task_path(&task).exists() && !half.exists());
        }
    }

    #[test]
    fn bad_names_and_bad_places_are_refused_with_the_reason() {
        let place = tempfile::tempdir().expect("a directory");
        let env = ManualEnv::new(0, 1);
        for name in ["", "..", "a/b", &"x".repeat(ID_LEN_MAX + 1)] {
            let error = StateDirectory::open(place.path(), name, &*env).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        let longest = "x".repeat(ID_LEN_MAX);
        StateDirectory::open(place.path(), &longest, &*env).expect("opens");
        let file = place.path().join("file");
        fs::write(&file, "x").expect("writes");
        let error = StateDirectory::open(&file, "app", &*env).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("file"));
        fs::create_dir_all(place.path().join("app/tasks")).expect("creates");
        fs::write(place.path().join("app/instance"), "no").expect("writes");
        let error = StateDirectory::open(place.path(), "app", &*env).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
