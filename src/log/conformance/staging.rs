use super::{
    Commit, CommitError, Duration, Factory, LOOK, Log, Offset, Reader, Receipt, TopicPartition,
    Writer, append, appends, assign, at, end, join, settle, start_group, start_with, try_commit,
    values,
};
use crate::base::ErrorKind;
use crate::log::{CommittedOffset, GroupCommit};

/// How long a case checks that something is not visible.
const LOOKS: u32 = 20;

/// Large enough that some of them exceed what any log buffers.
const LARGE: usize = 400_000;

/// A name that is as long as a large record.
fn large(name: &str) -> String {
    name.repeat(LARGE / name.len())
}

/// The first letters of what a partition holds.
fn letters(log: &dyn Log, place: &TopicPartition) -> Vec<String> {
    let short = |value: String| value.chars().take(1).collect();
    values(log, place).into_iter().map(short).collect()
}

/// Stages a part, then submits the rest.
fn try_in_parts(
    writer: &mut dyn Writer,
    part: Commit,
    rest: Commit,
) -> Result<Receipt, CommitError> {
    writer.stage(part.appends)?;
    try_commit(writer, rest)
}

/// A reader of committed records gets nothing, however often it polls.
fn assert_unseen(log: &dyn Log, reader: &mut dyn Reader, place: &TopicPartition, from: Offset) {
    for _ in 0..LOOKS {
        let fetched = reader.poll(1 << 20, LOOK).expect("readable");
        assert!(fetched.is_empty(), "{place}: what is staged is seen");
        assert_eq!(end(log, place), from);
    }
}

/// Parts of a commit, small and large, become visible when it is submitted, all at once and in order.
pub fn what_is_staged_is_seen_when_it_is_submitted(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    assert_eq!(writer.staged_bytes(), 0);
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0)]);
    writer
        .stage(appends(&[(&p, &["a"])]).appends)
        .expect("staged");
    assert!(writer.staged_bytes() > 0);
    assert_unseen(&*log, &mut *reader, &p, 0);
    let (b, c, d, e) = (large("b"), large("c"), large("d"), large("e"));
    let part = appends(&[(&p, &[&b]), (&q, &[&c]), (&p, &[&d])]);
    writer.stage(part.appends).expect("staged");
    writer
        .stage(appends(&[(&q, &[&e])]).appends)
        .expect("staged");
    assert_unseen(&*log, &mut *reader, &p, 0);
    let mut rest = appends(&[(&p, &["f", "g"])]);
    let committed = CommittedOffset {
        offset: 7,
        metadata: String::new(),
    };
    rest.group = Some(GroupCommit {
        group: "g".into(),
        token: None,
        offsets: vec![(p.clone(), committed.clone())],
    });
    let receipt = try_commit(&mut *writer, rest).expect("committed");
    assert_eq!(receipt.ends, [(p.clone(), 5), (q.clone(), 2)].into());
    assert_eq!(writer.staged_bytes(), 0);
    let offsets = log.committed("g", std::slice::from_ref(&p)).expect("known");
    assert_eq!(offsets, [Some(committed)]);
    // Whatever happens to the writer.
    drop(writer);
    assert_eq!(letters(&*log, &p), ["a", "b", "d", "f", "g"]);
    assert_eq!(letters(&*log, &q), ["c", "e"]);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    // A commit of staged records only.
    let part = appends(&[(&q, &[&b, &c, &d])]);
    try_in_parts(&mut *writer, part, Commit::default()).expect("committed");
    assert_eq!(letters(&*log, &q), ["c", "e", "b", "c", "d"]);
}

/// Abandoned records are gone, and the writer remains usable.
pub fn what_is_abandoned_is_never_seen(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let place = at("t", 0);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    writer.abandon();
    let many = [large("a"), large("b"), large("c")];
    let many: [&str; 3] = [&many[0], &many[1], &many[2]];
    for part in [&["x"][..], &many] {
        for _ in 0..2 {
            writer
                .stage(appends(&[(&place, part)]).appends)
                .expect("staged");
        }
        writer.abandon();
        try_commit(&mut *writer, appends(&[(&place, &["y"])])).expect("committed");
    }
    assert_eq!(letters(&*log, &place), ["y", "y"]);
    writer
        .stage(appends(&[(&place, &many)]).appends)
        .expect("staged");
    writer.abandon();
    assert_eq!(writer.poll(Duration::ZERO).expect("idle"), None);
    // It delays nothing else.
    append(&*log, &place, &["z"]);
    assert_eq!(letters(&*log, &place), ["y", "y", "z"]);
}

/// A writer that is gone, or whose id was opened again, leaves nothing of what it did not submit.
pub fn what_a_writer_staged_goes_with_it(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let place = at("t", 0);
    let many = [large("a"), large("b"), large("c")];
    let many: [&str; 3] = [&many[0], &many[1], &many[2]];
    let mut first = log.writer("w", 1 << 20).expect("a writer");
    first
        .stage(appends(&[(&place, &many)]).appends)
        .expect("staged");
    let mut second = log.writer("w", 1 << 20).expect("a writer");
    try_commit(&mut *second, appends(&[(&place, &["x"])])).expect("committed");
    let refused = try_in_parts(
        &mut *first,
        appends(&[(&place, &many)]),
        appends(&[(&place, &["y"])]),
    );
    let refused = refused.expect_err("fenced");
    assert!(
        matches!(&refused, CommitError::Fenced(error) if error.kind() == ErrorKind::Fenced),
        "{refused}"
    );
    second
        .stage(appends(&[(&place, &many)]).appends)
        .expect("staged");
    drop(second);
    drop(first);
    // No reader waits for a time-out of the log.
    append(&*log, &place, &["z"]);
    assert_eq!(letters(&*log, &place), ["x", "z"]);
}

/// A commit that is refused takes along what was staged for it, and the writer remains usable.
pub fn a_refused_commit_takes_along_what_was_staged(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let (place, unknown) = (at("t", 0), at("u", 0));
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let many = [large("a"), large("b"), large("c")];
    let many: [&str; 3] = [&many[0], &many[1], &many[2]];
    let part = |place: &TopicPartition| appends(&[(place, &many)]);
    let rest = |place: &TopicPartition| appends(&[(place, &["x"])]);
    for (part, rest) in [
        (part(&place), rest(&unknown)),
        (part(&unknown), rest(&place)),
    ] {
        let refused = try_in_parts(&mut *writer, part, rest).expect_err("no such partition");
        let CommitError::Aborted(error) = refused else {
            panic!("aborted, not {refused}");
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("u-0"), "{error}");
        writer.abandon();
    }
    try_commit(&mut *writer, rest(&place)).expect("committed");
    assert_eq!(letters(&*log, &place), ["x"]);
}

/// The group refuses a zombie when it submits, and what it staged is gone.
pub fn what_a_zombie_staged_is_never_seen(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let out = at("out", 0);
    let mut a = join(&*log, "a");
    settle(&mut *a, |tasks| tasks.len() == 4);
    let old = a.token();
    let many = [large("a"), large("b"), large("c")];
    let many: [&str; 3] = [&many[0], &many[1], &many[2]];
    let commit = |token| {
        let committed = CommittedOffset {
            offset: 1,
            metadata: String::new(),
        };
        let mut commit = appends(&[(&out, &["x"])]);
        commit.group = Some(GroupCommit {
            group: "g".into(),
            token: Some(token),
            offsets: vec![(at("t", 0), committed)],
        });
        commit
    };
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let part = || appends(&[(&out, &many)]);
    try_in_parts(&mut *writer, part(), commit(old.clone())).expect("its own");
    writer.stage(part().appends).expect("staged");
    // Replaced by another of the same name in between.
    let mut again = join(&*log, "a");
    settle(&mut *again, |tasks| tasks.len() == 4);
    let refused = try_commit(&mut *writer, commit(old)).expect_err("fenced");
    assert!(matches!(&refused, CommitError::Fenced(_)), "{refused}");
    try_in_parts(&mut *writer, part(), commit(again.token())).expect("its own");
    let once = ["a", "b", "c", "x"];
    assert_eq!(letters(&*log, &out), [once, once].concat());
    a.leave();
    again.leave();
}
