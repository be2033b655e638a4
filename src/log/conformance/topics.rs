use super::{
    Commit, Factory, Isolation, Log, Offset, TopicPartition, TopicSpec, append, assign, at, drain,
    end, eventually, read, start_with, try_commit, values,
};
use crate::base::ErrorKind;
use crate::log::{Cleanup, CommittedOffset, GroupCommit, JoinRequest};

fn record_progress(log: &dyn Log, place: &TopicPartition, offset: Offset) {
    let committed = CommittedOffset {
        offset,
        metadata: String::new(),
    };
    let commit = Commit {
        appends: Vec::new(),
        group: Some(GroupCommit {
            group: "g".into(),
            token: None,
            offsets: vec![(place.clone(), committed)],
        }),
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    try_commit(&mut *writer, commit).expect("committed");
}

/// Creating is idempotent; a mismatch names both sides and creates nothing.
pub fn topics_are_created_once_and_refused_when_they_differ(factory: Factory<'_>) {
    let log = start_with(factory, "b", 2);
    append(&*log, &at("b", 1), &["x"]);
    let compact = TopicSpec::new("a", 1).with_cleanup(Cleanup::Compact);
    log.create_topics(&[TopicSpec::new("b", 2), compact.clone()])
        .expect("created");
    assert_eq!(values(&*log, &at("b", 1)), ["x"], "it was not recreated");
    assert_eq!(log.topic_names().expect("known"), ["a", "b"]);
    assert_eq!(log.topic("a").expect("known"), Some(compact));
    assert_eq!(log.topic("c").expect("known"), None);
    let others = [
        TopicSpec::new("b", 3),
        TopicSpec::new("b", 2).with_cleanup(Cleanup::Compact),
    ];
    for (other, both) in others
        .into_iter()
        .zip([["2 ", "3 "], ["delete", "compact"]])
    {
        let error = log
            .create_topics(&[TopicSpec::new("c", 1), other])
            .expect_err("it differs");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            both.iter().all(|side| error.message().contains(side)),
            "{error}"
        );
    }
    let error = log
        .create_topics(&[TopicSpec::new("d", 0)])
        .expect_err("no partitions");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(log.topic_names().expect("known"), ["a", "b"]);
    for unknown in [at("b", 2), at("c", 0)] {
        let error = log.start_offset(&unknown).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = log
            .end_offset(&unknown, Isolation::ReadUncommitted)
            .expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let mut reader = log.reader(1 << 20).expect("a reader");
        let error = reader.assign(&[(unknown, 0)]).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

/// A topic recreated under the name of a deleted one is empty, and no group has read it.
pub fn a_deleted_topic_is_gone_with_its_offsets(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    log.create_topics(&[TopicSpec::new("u", 1)])
        .expect("created");
    let (t, u) = (at("t", 0), at("u", 0));
    append(&*log, &t, &["old"]);
    append(&*log, &u, &["stays"]);
    record_progress(&*log, &t, 1);
    record_progress(&*log, &u, 1);
    log.delete_topics(&["t".into(), "unknown".into()])
        .expect("deleted");
    assert_eq!(log.topic_names().expect("known"), ["u"]);
    assert_eq!(
        log.end_offset(&t, Isolation::ReadCommitted)
            .expect_err("gone")
            .kind(),
        { ErrorKind::Invalid }
    );
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created anew");
    assert!(read(&*log, &t, 0).is_empty());
    eventually("the offsets of t to be gone, and of u to stay", || {
        let committed = log.committed("g", &[t.clone(), u.clone()]).expect("known");
        committed[0].is_none() && committed[1].is_some()
    });
    append(&*log, &t, &["new"]);
    assert_eq!(read(&*log, &t, 0), [(0, "new".to_owned())]);
    assert_eq!(read(&*log, &u, 0), [(0, "stays".to_owned())]);
}

/// Deleting moves the start, even into a batch; offsets keep growing.
pub fn records_before_an_offset_are_deleted(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    append(&*log, &p, &["a", "b", "c"]);
    append(&*log, &p, &["d"]);
    append(&*log, &q, &["x"]);
    let mut behind = log.reader(1 << 20).expect("a reader");
    assign(&mut *behind, &[(p.clone(), 0)]);
    let last = append(&*log, &p, &["e"]) - 1;
    log.delete_records(&[(p.clone(), 2), (q.clone(), 0)])
        .expect("deleted");
    assert_eq!(log.start_offset(&p).expect("known"), 2);
    assert_eq!(log.start_offset(&q).expect("known"), 0);
    let left = ["c", "d", "e"];
    assert_eq!(read(&*log, &p, 0)[0], (2, "c".to_owned()));
    assert_eq!(values(&*log, &p), left);
    // It may already have returned the others.
    let passed = drain(&*log, &mut *behind, &[&p]).into_iter();
    let passed: Vec<String> = passed.map(|(_, _, value)| value).collect();
    assert!(
        passed
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .ends_with(&left),
        "{passed:?}"
    );
    log.delete_records(&[(p.clone(), 1)])
        .expect("below the start: nothing to do");
    assert_eq!(values(&*log, &p), left);
    let mut waiting = log.reader(1 << 20).expect("a reader");
    assign(&mut *waiting, &[(p.clone(), last)]);
    log.delete_records(&[(p.clone(), 99)])
        .expect("above the end: all");
    let start = log.start_offset(&p).expect("known");
    assert_eq!(start, end(&*log, &p));
    assert!(start > last);
    assert!(read(&*log, &p, 0).is_empty());
    assert!(append(&*log, &p, &["f"]) > start);
    assert_eq!(values(&*log, &p), ["f"]);
    assert_eq!(
        drain(&*log, &mut *waiting, &[&p]).pop().expect("one").2,
        "f"
    );
    let error = log
        .delete_records(&[(q.clone(), 1), (at("t", 2), 1)])
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        log.start_offset(&q).expect("known"),
        0,
        "nothing of a refused call happens"
    );
}

/// A group with members is in use.
pub fn a_group_is_deleted_once_it_has_no_members(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    append(&*log, &at("t", 0), &["x"]);
    record_progress(&*log, &at("t", 0), 1);
    let request = JoinRequest {
        group: "g".into(),
        member: "m".into(),
        tasks: Vec::new(),
        session_timeout_ms: 10_000,
        max_poll_interval_ms: 600_000,
    };
    let member = log.join(request.clone()).expect("joined");
    let generation = member.token().generation;
    let error = log.delete_group("g").expect_err("it has a member");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains('m'), "{error}");
    member.leave();
    log.delete_group("g").expect("deleted");
    log.delete_group("unknown").expect("nothing to do");
    assert_eq!(log.committed("g", &[at("t", 0)]).expect("known"), [None]);
    let again = log.join(request).expect("joined");
    assert!(
        again.token().generation > generation,
        "a generation only grows"
    );
    again.leave();
}
