//! What a dead process left, and then lost more: refused, or cut back to whole commits.

use std::fs;
use std::process::Command;

use super::*;
use crate::base::{ErrorKind, SystemEnv};
use crate::log::embedded::Fsync;
use crate::log::{Isolation, TopicSpec};

const COMMITS: i64 = 50;

/// The directory of a log as the death of its process leaves it: a copy, while the log is open.
fn leftovers() -> PathBuf {
    leftovers_of(Fsync::EveryCommit)
}

fn leftovers_of(fsync: Fsync) -> PathBuf {
    let path = directory();
    let settings = Settings {
        fsync,
        ..settings(&path)
    };
    let log = EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens");
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    for _ in 0..COMMITS {
        let text = "x".repeat(500);
        let appends = (0..2)
            .map(|p| (at(p), batch(&[(None, Some(&text))])))
            .collect();
        let group = None;
        commit(&log, Commit { appends, group }).expect("committed");
    }
    let copy = directory();
    for entry in fs::read_dir(&path).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    copy
}

fn newest(path: &Path, suffix: &str) -> PathBuf {
    let files = fs::read_dir(path).expect("a directory");
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| file.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files.pop().expect("such a file")
}

fn is_refused_as_damaged(path: &Path) {
    for attempt in 0..2 {
        let error = EmbeddedLog::open(settings(path), SystemEnv::shared())
            .expect_err("opens as if nothing were lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{attempt}: {error}");
        let text = error.to_string();
        assert!(text.contains("damaged data"), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("from a copy"), "{text}");
    }
}

fn ends(path: &Path) -> (Offset, Offset) {
    let log = open(path, SystemEnv::shared());
    let end = |p| {
        log.end_offset(&at(p), Isolation::ReadCommitted)
            .expect("known")
    };
    (end(0), end(1))
}

#[test]
fn what_is_whole_opens_with_all_commits() {
    assert_eq!(ends(&leftovers()), (COMMITS, COMMITS));
}

#[test]
fn a_missing_write_ahead_file_is_refused() {
    let path = leftovers();
    fs::remove_file(newest(&path, ".log")).expect("removed");
    is_refused_as_damaged(&path);
}

#[test]
fn a_flipped_byte_before_good_commits_is_refused() {
    let path = leftovers();
    let file = newest(&path, ".log");
    let mut bytes = fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    is_refused_as_damaged(&path);
}

#[test]
fn an_incomplete_last_commit_is_cut_off() {
    for cut in [1, 100, 1_500] {
        // With an fsync a commit, who was told of it would be deceived.
        let path = leftovers_of(Fsync::Never);
        let file = newest(&path, ".log");
        let bytes = fs::read(&file).expect("read");
        fs::write(&file, &bytes[..bytes.len() - cut]).expect("written");
        let (one, other) = ends(&path);
        assert_eq!(one, other, "half of a commit");
        assert!((COMMITS - 3..COMMITS).contains(&one), "{one}");
        assert_eq!(ends(&path), (one, other), "and opens again");
    }
}

#[test]
fn other_missing_files_are_refused_and_nothing_is_made_in_their_place() {
    for file in ["MANIFEST-", "CURRENT"] {
        let path = leftovers();
        let names = fs::read_dir(&path).expect("a directory");
        let victim = names
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(file))
            });
        fs::remove_file(victim.expect("such a file")).expect("removed");
        is_refused_as_damaged(&path);
    }
}

#[test]
fn a_missing_file_of_rows_is_refused() {
    let path = leftovers();
    // Opening after a crash brings the write-ahead log into files of rows.
    assert_eq!(ends(&path), (COMMITS, COMMITS));
    fs::remove_file(newest(&path, ".sst")).expect("removed");
    is_refused_as_damaged(&path);
}

#[test]
fn a_log_that_opens_takes_little_of_the_disk() {
    use std::os::unix::fs::MetadataExt;
    let path = directory();
    let _log = open(&path, SystemEnv::shared());
    let blocks: u64 = fs::read_dir(&path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| file.to_string_lossy().contains("MANIFEST"))
        .map(|file| fs::metadata(file).expect("a file").blocks())
        .sum();
    assert!(blocks * 512 <= 256 << 10, "{} bytes", blocks * 512);
}

/// The other half of the next test.
#[test]
fn child_with_few_open_files() {
    let Ok(path) = std::env::var(FEW_FILES_CHILD) else {
        return;
    };
    let held: Vec<_> = (0..64)
        .map_while(|_| fs::File::open("/dev/null").ok())
        .collect();
    let error = EmbeddedLog::open(settings(Path::new(&path)), SystemEnv::shared());
    drop(held);
    let error = error.expect_err("no file can be opened");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("ulimit -H -n"), "{error}");
}

const FEW_FILES_CHILD: &str = "MAREA_LOG_TEST_FEW_FILES_CHILD";

#[test]
fn too_many_open_files_are_named() {
    let path = leftovers();
    let script = "ulimit -n 24; exec \"$0\" --exact --nocapture \
                  log::embedded::tests::damage::child_with_few_open_files";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this test"))
        .env(FEW_FILES_CHILD, &path)
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(ends(&path), (COMMITS, COMMITS));
}
