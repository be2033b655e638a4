use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::base::{ErrorKind, SystemEnv};
use crate::disk::{Column, Database, Durability, Options};
use crate::log::embedded::{Fsync, Stats};
use crate::log::{Cleanup, CommittedOffset, GroupCommit, Isolation, JoinRequest, TopicSpec};

fn progress(offset: Offset) -> GroupCommit {
    let committed = CommittedOffset {
        offset,
        metadata: "note".into(),
    };
    GroupCommit {
        group: "g".into(),
        token: None,
        offsets: vec![(at(0), committed)],
    }
}

fn topic(partitions: u32) -> TopicSpec {
    TopicSpec::new("t", partitions)
}

#[test]
fn everything_is_there_after_reopening() {
    let path = directory();
    let env = ManualEnv::new(1_000, 1);
    let log = open(&path, env.clone());
    let incarnation = log.incarnation();
    let spec = TopicSpec {
        cleanup: Cleanup::CompactDelete,
        retention_ms: Some(i64::MAX),
        retention_bytes: Some(7 << 40),
        delete_retention_ms: 12,
        compaction_lag_ms: 13,
        max_record_bytes: 345,
        ..topic(2)
    };
    log.create_topics(&[spec.clone(), TopicSpec::new("gone", 1)])
        .expect("created");
    append(&log, &[(None, Some("a")), (None, Some("b"))]).expect("committed");
    let group = Some(progress(1));
    commit(
        &log,
        Commit {
            appends: vec![(at(0), batch(&[(None, None)]))],
            group,
        },
    )
    .expect("committed");
    log.delete_records(&[(at(0), 1)]).expect("deleted");
    log.delete_topics(&["gone".into()]).expect("deleted");
    let request = JoinRequest {
        group: "g".into(),
        member: "m".into(),
        tasks: Vec::new(),
        session_timeout_ms: 1_000,
        max_poll_interval_ms: 600_000,
    };
    let generation = log
        .join(request.clone())
        .expect("joined")
        .token()
        .generation;
    let stored = log.stats().bytes_stored;
    drop(log);
    let log = open(&path, env);
    assert_eq!(log.incarnation(), incarnation);
    assert_eq!(log.topic("t").expect("known"), Some(spec));
    assert_eq!(log.topic_names().expect("known"), ["t"]);
    assert_eq!(log.start_offset(&at(0)).expect("known"), 1);
    assert_eq!(
        read(&log, 0),
        [(1, None, Some("b".into())), (2, None, None)]
    );
    assert_eq!(
        log.committed("g", &[at(0)]).expect("known"),
        [Some(progress(1).offsets[0].1.clone())]
    );
    assert!(log.join(request).expect("joined").token().generation > generation);
    assert_eq!(log.stats().bytes_stored, stored);
    // The topic that comes next must not find what a deleted one left.
    log.create_topics(&[TopicSpec::new("gone", 1)])
        .expect("created");
    let gone = TopicPartition::new("gone", 0);
    assert_eq!(
        log.end_offset(&gone, Isolation::ReadCommitted)
            .expect("known"),
        0
    );
}

#[test]
fn offsets_are_not_used_twice_though_all_records_are_gone() {
    let path = directory();
    let log = open(&path, SystemEnv::shared());
    log.create_topics(&[topic(1)]).expect("created");
    append(&log, &[(None, None), (None, None)]).expect("committed");
    log.delete_records(&[(at(0), 2)]).expect("deleted");
    assert_eq!(log.stats().bytes_stored, 0);
    drop(log);
    let log = open(&path, SystemEnv::shared());
    let receipt = append(&log, &[(None, None)]).expect("committed");
    assert_eq!(receipt.ends[&at(0)], 3);
}

#[test]
fn a_second_handle_is_refused_with_the_path() {
    let path = directory();
    let log = open(&path, SystemEnv::shared());
    let error = EmbeddedLog::open(settings(&path), SystemEnv::shared()).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains(&path.display().to_string()),
        "{error}"
    );
    drop(log);
    open(&path, SystemEnv::shared());
}

const CHILD: &str = "MAREA_LOG_TEST_CHILD";

/// The other half of the next test: appends until it is killed. Alone it has nothing to do.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let log = open(Path::new(&path), SystemEnv::shared());
    log.create_topics(&[topic(2)]).expect("created");
    for n in 1.. {
        let appends = (0..2)
            .map(|p| (at(p), batch(&[(None, Some(&n.to_string()))])))
            .collect();
        let group = Some(progress(n));
        commit(&log, Commit { appends, group }).expect("committed");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {n}").expect("a reader");
    }
}

/// The end of both partitions, which every commit of the other halves moves alike.
fn end_of_whole_commits(log: &EmbeddedLog) -> Offset {
    let end_of = |p| {
        log.end_offset(&at(p), Isolation::ReadCommitted)
            .expect("known")
    };
    assert_eq!(end_of(0), end_of(1), "half of a commit");
    end_of(0)
}

#[test]
fn a_killed_process_leaves_whole_commits_and_all_acknowledged_ones() {
    let path = directory();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "--nocapture",
            "log::embedded::tests::durability::child_that_appends_until_it_is_killed",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let acknowledged = lines
        .filter_map(|line| {
            line.expect("text")
                .strip_prefix("acknowledged ")?
                .parse::<i64>()
                .ok()
        })
        .find(|n| *n >= 40);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let acknowledged = acknowledged.expect("it appends");
    let log = open(&path, SystemEnv::shared());
    let end = end_of_whole_commits(&log);
    assert!(end >= acknowledged, "{end} {acknowledged}");
    let committed = log.committed("g", &[at(0)]).expect("known");
    assert_eq!(
        committed[0].as_ref().map(|committed| committed.offset),
        Some(end)
    );
    let records = read(&log, 0);
    assert_eq!(records.len() as i64, end);
    for (offset, _, value) in records {
        assert_eq!(value, Some((offset + 1).to_string()));
    }
}

/// The other half of the next test: appends until its files may not grow any more.
#[test]
fn child_whose_disk_fails() {
    let Ok(path) = std::env::var(FAILING_CHILD) else {
        return;
    };
    let log = open(Path::new(&path), SystemEnv::shared());
    log.create_topics(&[topic(2)]).expect("created");
    let text = "x".repeat(30_000);
    let both = || {
        (0..2)
            .map(|p| (at(p), batch(&[(None, Some(&text))])))
            .collect()
    };
    let mut acknowledged = 0;
    let failure = loop {
        match commit(
            &log,
            Commit {
                appends: both(),
                group: None,
            },
        ) {
            Ok(_) => acknowledged += 1,
            Err(failure) => break failure,
        }
        assert!(acknowledged < 10_000, "the limit does not work");
    };
    assert!(matches!(failure, CommitError::Fatal(_)), "{failure}");
    let again = commit(
        &log,
        Commit {
            appends: both(),
            group: None,
        },
    )
    .expect_err("for good");
    assert!(matches!(again, CommitError::Fatal(_)), "{again}");
    for p in 0..2 {
        let end = log
            .end_offset(&at(p), Isolation::ReadCommitted)
            .expect("known");
        assert_eq!(end, acknowledged, "what failed is not seen");
    }
    assert_eq!(read(&log, 0).len() as i64, acknowledged, "reading goes on");
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {acknowledged}").expect("a reader");
}

const FAILING_CHILD: &str = "MAREA_LOG_TEST_FAILING_CHILD";

#[test]
fn a_failing_disk_stops_the_log_and_loses_nothing_acknowledged() {
    let path = directory();
    // The shell ignores the signal of the limit, so that the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" --exact --nocapture \
                  log::embedded::tests::durability::child_whose_disk_fails";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this test"))
        .env(FAILING_CHILD, &path)
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let acknowledged = text
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged "));
    let acknowledged: i64 = acknowledged.expect("a count").parse().expect("a number");
    assert!(acknowledged > 0);
    let log = open(&path, SystemEnv::shared());
    let end = end_of_whole_commits(&log);
    assert!(end >= acknowledged, "{end} {acknowledged}");
}

fn raw(path: &Path) -> Database {
    Database::open(&Options {
        path: path.to_owned(),
        columns: super::super::format::COLUMNS
            .iter()
            .map(|&name| name.into())
            .collect(),
        budget: &Budget::new(8 << 20),
        write_ahead: true,
    })
    .expect("opens")
}

#[test]
fn a_flipped_byte_is_found_and_its_place_named() {
    let path = directory();
    let log = open(&path, SystemEnv::shared());
    log.create_topics(&[topic(1)]).expect("created");
    append(&log, &[(None, Some("a")), (None, Some("b"))]).expect("committed");
    append(&log, &[(None, Some("c"))]).expect("committed");
    drop(log);
    let database = raw(&path);
    let key = super::super::format::batch_key((0, 0), 2);
    let mut value = Vec::new();
    assert!(database.get(Column(3), &key, &mut value).expect("read"));
    *value.last_mut().expect("bytes") ^= 1;
    let mut write = database.batch();
    write.put(Column(3), &key, &value);
    database.write(write, Durability::Synced).expect("written");
    drop(database);
    let log = open(&path, SystemEnv::shared());
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at(0), 0)]).expect("assigned");
    assert_eq!(
        reader
            .poll(1, Duration::ZERO)
            .expect("the first is well")
            .len(),
        1
    );
    let error = reader
        .poll(1, Duration::ZERO)
        .expect_err("the second is not");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(
        message.contains("t-0") && message.contains("offset 2"),
        "{message}"
    );
}

#[test]
fn a_newer_format_is_refused() {
    let path = directory();
    drop(open(&path, SystemEnv::shared()));
    let database = raw(&path);
    let mut row = Vec::new();
    assert!(database.get(Column(0), b"format", &mut row).expect("read"));
    row[8] += 1;
    let checksum = crc32c::crc32c(&row[..20]);
    row[20..].copy_from_slice(&checksum.to_le_bytes());
    let mut write = database.batch();
    write.put(Column(0), b"format", &row);
    database.write(write, Durability::Synced).expect("written");
    drop(database);
    let error = EmbeddedLog::open(settings(&path), SystemEnv::shared()).expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("format 2") && error.message().contains("format 1"),
        "{error}"
    );
}

#[test]
fn over_the_quota_appends_are_refused_until_there_is_room() {
    let quota_bytes = Some(1_000);
    let log = EmbeddedLog::open(
        Settings {
            quota_bytes,
            ..settings(&directory())
        },
        SystemEnv::shared(),
    )
    .expect("opens");
    log.create_topics(&[topic(1)]).expect("created");
    let text = "x".repeat(600);
    append(&log, &[(None, Some(&text))]).expect("there is room");
    let CommitError::Aborted(error) = append(&log, &[(None, Some(&text))]).expect_err("full")
    else {
        panic!("aborted");
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    let only_progress = Commit {
        appends: Vec::new(),
        group: Some(progress(1)),
    };
    commit(&log, only_progress).expect("progress needs no room, and lets records go");
    log.delete_records(&[(at(0), 1)]).expect("deleted");
    append(&log, &[(None, Some(&text))]).expect("there is room again");
}

#[test]
fn the_fsync_policy_decides_how_often_the_disk_is_synced() {
    let env = SystemEnv::shared();
    let run = |fsync| {
        let settings = Settings {
            fsync,
            ..settings(&directory())
        };
        let log = EmbeddedLog::open(settings, env.clone()).expect("opens");
        log.create_topics(&[topic(1)]).expect("created");
        let before = log.stats();
        for _ in 0..5 {
            append(&log, &[(None, None)]).expect("committed");
        }
        (before, log)
    };
    let syncs = |before: Stats, log: &EmbeddedLog| log.stats().syncs - before.syncs;
    let (before, log) = run(Fsync::EveryCommit);
    assert_eq!(syncs(before, &log), 5);
    assert_eq!(log.stats().commits, 5);
    let (before, log) = run(Fsync::Never);
    assert_eq!(syncs(before, &log), 0);
    let (before, log) = run(Fsync::EveryMs(20));
    assert!(
        eventually(&*env, || syncs(before, &log) >= 1),
        "in the background"
    );
    let (before, log) = run(Fsync::EveryMs(60_000));
    assert_eq!(syncs(before, &log), 0);
    log.close().expect("closed");
    assert_eq!(syncs(before, &log), 1, "closing leaves nothing behind");
}

#[test]
fn after_closing_everyone_is_told() {
    let log = open(&directory(), SystemEnv::shared());
    log.create_topics(&[topic(1)]).expect("created");
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at(0), 0)]).expect("assigned");
    let appends = vec![(at(0), batch(&[(None, None)]))];
    writer
        .submit(Commit {
            appends,
            group: None,
        })
        .expect("submitted");
    log.close().expect("closed");
    assert!(writer.poll(LONG).expect("done before the end").is_some());
    let Err(CommitError::Fatal(error)) = writer.submit(Commit::default()) else {
        panic!("fatal");
    };
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(
        reader.poll(1, LONG).expect_err("closed").kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        log.reader(1 << 20).map(|_| ()).expect_err("closed").kind(),
        ErrorKind::Closed
    );
    log.close().expect("again");
}
