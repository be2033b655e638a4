//! How often the embedded log calls fsync: counted from outside, by `strace`, if it is installed.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use marea::base::{SystemEnv, TopicPartition};
use marea::disk::Budget;
use marea::log::embedded::{EmbeddedLog, Fsync, Settings};
use marea::log::{BatchBuilder, Commit, Log, TopicSpec};

/// Not a test of its own: commits as often as it is told, under the given policy.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_FSYNC") else {
        return;
    };
    let (policy, commits) = plan.split_once('|').expect("a plan");
    let directory = tempfile::tempdir().expect("a directory");
    let fsync = if policy == "never" {
        Fsync::Never
    } else {
        Fsync::EveryCommit
    };
    let settings = Settings {
        fsync,
        ..Settings::new(directory.path().join("log"), Budget::new(16 << 20))
    };
    let log = Arc::new(EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens"));
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    for _ in 0..commits.parse::<u32>().expect("a number") {
        let mut batch = BatchBuilder::default();
        batch.push(Some(b"k"), Some(b"v"), 0, &[]);
        let appends = batch
            .seal()
            .map(|batch| (TopicPartition::new("t", 0), batch));
        let commit = Commit {
            appends: appends.into_iter().collect(),
            group: None,
        };
        writer.submit(commit).expect("asked");
        while writer
            .poll(Duration::from_secs(5))
            .expect("committed")
            .is_none()
        {}
    }
}

/// The calls of fsync and related functions by a child with this many commits.
fn syncs(policy: &str, commits: u32) -> Option<u64> {
    let trace = tempfile::NamedTempFile::new().expect("a file");
    let status = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,sync_file_range",
            "-o",
        ])
        .arg(trace.path())
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "fsync::child"])
        .env("MAREA_TEST_FSYNC", format!("{policy}|{commits}"))
        .stdout(std::process::Stdio::null())
        .status()
        .ok()?;
    assert!(status.success(), "the child failed");
    let calls = std::fs::read_to_string(trace.path()).expect("a trace");
    Some(
        calls
            .lines()
            .filter(|line| line.contains("sync(") && !line.contains("resumed"))
            .count() as u64,
    )
}

#[test]
fn a_commit_is_one_fsync_or_none_when_relaxed() {
    let Some(idle) = syncs("every", 0) else {
        println!("SKIPPED: strace is not installed, so nobody counts the calls from outside");
        return;
    };
    assert_eq!(syncs("every", 100), Some(idle + 100), "one fsync a commit");
    // A clean shutdown of the log flushes to disk what is not there yet, and then notes that it is: two calls,
    // whatever the number of commits.
    let idle = syncs("never", 0).expect("strace was there");
    assert_eq!(
        syncs("never", 100),
        Some(idle + 2),
        "none a commit when relaxed"
    );
}
