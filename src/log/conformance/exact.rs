//! Guarantees that only a log in this process can make.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    Arc, Commit, Duration, Factory, NOW_MS, SystemEnv, append, appends, at, end, start_with,
    try_commit,
};
use crate::base::ErrorKind;
use crate::log::{CommittedOffset, GroupCommit, JoinRequest};

use super::members::{
    TIMEOUT_MS, assert_fenced, commit_as, join, polled, request, start_group, tasks,
};

/// The append's time is the log's own clock.
pub fn batches_carry_the_wall_clock_of_their_append(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    append(&*log, &at("t", 0), &["x"]);
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at("t", 0), 0)]).expect("assigned");
    let fetched = reader.poll(1, Duration::ZERO).expect("readable");
    assert_eq!(fetched[0].batch.append_time_ms(), NOW_MS);
}

/// Commits follow each other without a gap, even with refused and empty ones between them, and a batch is
/// returned as it was appended.
pub fn offsets_have_no_gaps(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    assert_eq!(append(&*log, &p, &["a", "b"]), 2);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let unknown = appends(&[(&p, &["x"]), (&at("t", 2), &["x"])]);
    try_commit(&mut *writer, unknown).expect_err("no such partition");
    try_commit(&mut *writer, Commit::default()).expect("an empty commit");
    assert_eq!(append(&*log, &p, &["c"]), 3);
    assert_eq!(append(&*log, &q, &["x"]), 1);
    assert_eq!((end(&*log, &p), end(&*log, &q)), (3, 1));
    log.delete_records(&[(p.clone(), 99)])
        .expect("above the end: all");
    assert_eq!(
        (log.start_offset(&p).expect("known"), end(&*log, &p)),
        (3, 3)
    );
    assert_eq!(append(&*log, &p, &["d", "e"]), 5);
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(p.clone(), 4)]).expect("assigned");
    let fetched = reader.poll(1, Duration::ZERO).expect("readable");
    assert_eq!((fetched[0].base_offset, fetched[0].position), (3, 4));
    assert_eq!(reader.position(&p), Some(5));
}

/// While a writer commits to two partitions together, no reader sees the second behind the first.
pub fn a_commit_of_two_partitions_is_seen_at_once(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let done = Arc::new(AtomicBool::new(false));
    let env = SystemEnv::shared();
    let (writing, ended) = (Arc::clone(&log), Arc::clone(&done));
    let thread = crate::base::Env::spawn(
        &*env,
        "writes",
        Box::new(move || {
            let mut writer = writing.writer("w", 1 << 20).expect("a writer");
            for n in 0..300_i64 {
                let mut commit = appends(&[(&at("t", 0), &["x"]), (&at("t", 1), &["x"])]);
                let committed = CommittedOffset {
                    offset: n + 1,
                    metadata: format!("note {n}"),
                };
                commit.group = Some(GroupCommit {
                    group: "g".into(),
                    token: None,
                    offsets: vec![(at("t", 0), committed)],
                });
                try_commit(&mut *writer, commit).expect("committed");
            }
            ended.store(true, Ordering::SeqCst);
        }),
    )
    .expect("a thread");
    loop {
        // In this order: whatever grows in between, the later answer is not behind the earlier one.
        let last = done.load(Ordering::SeqCst) || thread.is_finished();
        let progress = log.committed("g", &[at("t", 0)]).expect("known");
        let progress = progress[0].as_ref().map_or(0, |committed| committed.offset);
        let first = end(&*log, &at("t", 0));
        let second = end(&*log, &at("t", 1));
        assert!(
            progress <= first && first <= second,
            "{progress} {first} {second}"
        );
        if last {
            break;
        }
    }
    assert!(thread.join());
    let committed = log
        .committed("g", &[at("t", 0), at("t", 1)])
        .expect("known");
    let wanted = CommittedOffset {
        offset: 300,
        metadata: "note 299".into(),
    };
    assert_eq!(committed, [Some(wanted), None]);
    assert_eq!(end(&*log, &at("t", 1)), 300);
}

/// A small byte limit returns a batch of each partition in turn.
pub fn partitions_take_exact_turns(factory: Factory<'_>) {
    let log = start_with(factory, "t", 3);
    for partition in 0..3 {
        for _ in 0..5 {
            append(&*log, &at("t", partition), &["x"]);
        }
    }
    let mut reader = log.reader(1 << 20).expect("a reader");
    let all: Vec<_> = (0..3).map(|partition| (at("t", partition), 0)).collect();
    reader.assign(&all).expect("assigned");
    for round in 1..=5 {
        for _ in 0..3 {
            assert_eq!(reader.poll(1, Duration::ZERO).expect("readable").len(), 1);
        }
        for (place, _) in &all {
            assert_eq!(reader.position(place), Some(round), "{place}");
        }
    }
    assert!(reader.poll(1, Duration::ZERO).expect("readable").is_empty());
}

/// A new member gets a task only after the old owner gave it back; shares end up even.
pub fn tasks_are_handed_over_one_by_one(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    assert_eq!(polled(&mut *a), Some(vec![0, 1, 2, 3]));
    assert_eq!(polled(&mut *a), None, "nothing changed");
    let mut b = join(&*log, "b");
    assert_eq!(polled(&mut *b), Some(vec![]), "all tasks are still a's");
    let kept = polled(&mut *a).expect("fewer");
    assert_eq!(kept.len(), 2);
    let lost: Vec<u32> = (0..4)
        .filter(|partition| !kept.contains(partition))
        .collect();
    assert_eq!(polled(&mut *b), None);
    a.release(&tasks(&lost[..1])).expect("a member");
    assert_eq!(polled(&mut *b), Some(lost[..1].to_vec()));
    a.release(&tasks(&lost[1..])).expect("a member");
    assert_eq!(polled(&mut *b), Some(lost.clone()));
    assert_eq!(polled(&mut *a), None);
    b.leave();
    assert_eq!(polled(&mut *a), Some(vec![0, 1, 2, 3]), "free at once");
}

/// Other members may join and leave: the token of a member that keeps its task stays valid.
pub fn others_come_and_go_unnoticed(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    polled(&mut *a);
    let token = a.token();
    let b = join(&*log, "b");
    let c = join(&*log, "c");
    commit_as(&*log, token.clone(), 0).expect("not told yet");
    b.leave();
    c.leave();
    assert_eq!(polled(&mut *a), None, "all is as it was");
    assert_eq!(a.token(), token);
    commit_as(&*log, token, 0).expect("still its own");
}

/// A member that does not poll is expelled when others do, and cannot return with its old token.
pub fn a_member_is_silent_by_the_given_clock(factory: Factory<'_>) {
    let (env, log) = start_group(factory);
    let impatient = |member| JoinRequest {
        session_timeout_ms: TIMEOUT_MS,
        max_poll_interval_ms: TIMEOUT_MS,
        ..request(member, 4)
    };
    let mut a = log.join(impatient("a")).expect("joined");
    polled(&mut *a);
    let mut b = log.join(impatient("b")).expect("joined");
    assert_eq!(polled(&mut *b), Some(vec![]));
    env.advance_ms(TIMEOUT_MS as i64);
    assert_eq!(polled(&mut *b), None, "not yet");
    commit_as(&*log, a.token(), 0).expect("not yet");
    env.advance_ms(1);
    assert_eq!(polled(&mut *b), Some(vec![0, 1, 2, 3]));
    assert_fenced(&*log, a.token(), 0);
    assert_eq!(a.poll().expect_err("expelled").kind(), ErrorKind::Fenced);
    commit_as(&*log, b.token(), 0).expect("its own");
}

/// A worker that is busy for longer than the session keeps its tasks while heartbeats are sent for it,
/// and loses them once it has not polled for the whole interval.
pub fn a_heartbeat_stands_in_for_polls_up_to_their_interval(factory: Factory<'_>) {
    let (env, log) = start_group(factory);
    let patient = |member| JoinRequest {
        session_timeout_ms: TIMEOUT_MS,
        max_poll_interval_ms: 3 * TIMEOUT_MS,
        ..request(member, 4)
    };
    let mut a = log.join(patient("a")).expect("joined");
    polled(&mut *a);
    let heartbeat = a.heartbeat();
    let mut b = log.join(patient("b")).expect("joined");
    assert_eq!(polled(&mut *b), Some(vec![]));
    for _ in 0..3 {
        env.advance_ms(TIMEOUT_MS as i64);
        heartbeat.beat().expect("a member");
        assert_eq!(polled(&mut *b), None, "not yet");
        commit_as(&*log, a.token(), 0).expect("not yet");
    }
    env.advance_ms(1);
    heartbeat.beat().expect("nobody has expelled it yet");
    assert_eq!(polled(&mut *b), Some(vec![0, 1, 2, 3]));
    assert_fenced(&*log, a.token(), 0);
    let expelled = heartbeat.beat().expect_err("expelled");
    assert_eq!(expelled.kind(), ErrorKind::Fenced);
    commit_as(&*log, b.token(), 0).expect("its own");
}
