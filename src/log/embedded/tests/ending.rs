//! How the log ends, and how those end who use it: nobody waits for what does not come.

use std::process::Command;
use std::sync::atomic::Ordering;

use super::*;
use crate::base::{ErrorKind, SystemEnv, TaskId};
use crate::log::embedded::compaction::compact;
use crate::log::embedded::queue::{Answer, Job};
use crate::log::embedded::{Fsync, Stats};
use crate::log::{Cleanup, JoinRequest, Skipped, TaskPlan, TopicSpec};

#[test]
fn a_commit_that_got_lost_is_answered() {
    let answer = Arc::new(Answer::default());
    let of = Arc::clone(&answer);
    drop(Job::new(Commit::default(), "w".into(), 1, of));
    let Some(Err(CommitError::Fatal(error))) = answer.wait(Duration::ZERO) else {
        panic!("it would wait for ever");
    };
    assert!(error.message().contains("reopen the log"), "{error}");
    assert!(answer.wait(Duration::ZERO).is_none(), "answered once");
}

/// The other half of the next test.
#[test]
fn child_whose_last_sync_fails() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let settings = Settings {
        fsync: Fsync::EveryMs(600_000),
        ..settings(Path::new(&path))
    };
    let log = EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens");
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let text = "x".repeat(30_000);
    let mut answered = 0;
    while append(&log, &[(None, Some(&text))]).is_ok() {
        answered += 1;
        assert!(answered < 10_000, "the limit does not work");
    }
    assert!(answered > 0);
    let error = log.close().expect_err("answered commits are not synced");
    let text = error.to_string();
    assert!(text.contains("may not be on the disk"), "{text}");
    log.close().expect("told once");
}

const CHILD: &str = "MAREA_LOG_TEST_LAST_SYNC_CHILD";

#[test]
fn closing_tells_that_the_last_sync_failed() {
    let script = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" --exact --nocapture \
                  log::embedded::tests::ending::child_whose_last_sync_fails";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this test"))
        .env(CHILD, directory())
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_compaction_ends_when_the_log_is_closed() {
    let log = open(&directory(), SystemEnv::shared());
    let spec = TopicSpec::new("t", 1).with_cleanup(Cleanup::Compact);
    log.create_topics(std::slice::from_ref(&spec))
        .expect("created");
    for value in ["1", "2"] {
        append(&log, &[(Some("k"), Some(value))]).expect("committed");
    }
    let (_, partition) = log.shared.find(&at(0)).expect("known");
    let before: Stats = log.stats();
    log.shared.closed.store(true, Ordering::SeqCst);
    let error = compact(&log.shared, &spec, &partition).expect_err("not finished");
    assert_eq!(error.kind(), ErrorKind::Closed);
    log.clean_now().expect("no failure, only less done");
    assert_eq!(log.stats(), before, "nothing was written");
    log.shared.closed.store(false, Ordering::SeqCst);
    compact(&log.shared, &spec, &partition).expect("done later");
    assert!(log.stats().writes > before.writes);
}

#[test]
fn a_member_that_is_dropped_leaves_its_group_at_once() {
    let log = open(&directory(), ManualEnv::new(0, 1));
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let task = TaskId::new("s", 0);
    let join = |member: &str| {
        log.join(JoinRequest {
            group: "g".into(),
            member: member.into(),
            tasks: vec![TaskPlan {
                task: task.clone(),
                inputs: vec![at(0)],
            }],
            session_timeout_ms: 600_000,
            max_poll_interval_ms: 600_000,
        })
        .expect("joined")
    };
    let mut a = join("a");
    let of_a = a.poll().expect("a member").expect("an assignment");
    assert_eq!(of_a.tasks, std::slice::from_ref(&task));
    let mut b = join("b");
    let nothing = b.poll().expect("a member");
    assert!(nothing.is_none_or(|of_b| of_b.tasks.is_empty()));
    drop(a);
    let of_b = b.poll().expect("a member").expect("an assignment");
    assert_eq!(of_b.tasks, std::slice::from_ref(&task), "at the same time");
    // One who was replaced takes nothing along.
    let mut again = join("b");
    drop(b);
    assert!(again.poll().is_ok(), "the group still has it");
}

#[test]
fn a_reader_that_lost_records_to_the_retention_says_so() {
    let log = open(&directory(), ManualEnv::new(0, 1));
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    for _ in 0..6 {
        append(&log, &[(None, Some("x"))]).expect("committed");
    }
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at(0), 2)]).expect("assigned");
    let mut ahead = log.reader(1 << 20).expect("a reader");
    ahead.assign(&[(at(0), 4)]).expect("assigned");
    log.delete_records(&[(at(0), 4)]).expect("deleted");
    assert!(!ahead.poll(1, Duration::ZERO).expect("read").is_empty());
    assert_eq!(ahead.skipped(), [], "nothing is lost");
    let fetched = reader.poll(1, Duration::ZERO).expect("read");
    assert_eq!(fetched[0].base_offset, 4);
    let gap = Skipped {
        partition: at(0),
        from: 2,
        to: 4,
    };
    assert_eq!(reader.skipped(), [gap]);
    assert!(!reader.poll(1, Duration::ZERO).expect("read").is_empty());
    assert_eq!(reader.skipped(), [], "once");
}

#[test]
fn a_record_that_is_too_large_is_refused_with_the_cure() {
    let log = open(&directory(), ManualEnv::new(0, 1));
    let mut spec = TopicSpec::new("t", 1);
    spec.max_record_bytes = 100;
    log.create_topics(&[spec]).expect("created");
    let text = "x".repeat(150);
    let error = append(&log, &[(Some("k"), Some(&text))]).expect_err("too large");
    let CommitError::Aborted(error) = error else {
        panic!("only this commit: {error}");
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for part in [
        "151 bytes",
        "topic t accepts at most 100",
        "`max_record_bytes`",
    ] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    append(&log, &[(Some("k"), Some("small"))]).expect("others go on");
}
