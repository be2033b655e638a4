use std::sync::Arc;

use super::{
    BatchBuilder, Commit, CommitError, Duration, Factory, LOOK, Receipt, SystemEnv, TopicSpec,
    append, appends, assign, at, batch, drain, eventually, read, start, start_with, try_commit,
    values,
};
use crate::base::{ErrorKind, Header};
use crate::log::{CommittedOffset, GroupCommit};

/// Keys, values and headers, including null and empty ones, and any timestamp are returned as appended.
pub fn appended_records_are_read_in_order_with_all_they_carry(factory: Factory<'_>) {
    type Entry<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, i64, &'a [Header]);
    let (_, log) = start(factory);
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let header = |key: &str, value: Option<&[u8]>| Header {
        key: key.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let headers = [
        header("a", Some(b"1")),
        header("a", None),
        header("", Some(b"")),
    ];
    let wanted: [Entry<'_>; 6] = [
        (Some(b"k"), Some(b"v"), 5, &[]),
        (None, Some(b""), i64::MIN, &headers),
        (Some(b""), None, i64::MAX, &[]),
        (None, None, -1, &headers[1..]),
        (Some(b"\xff\x00"), Some(b"\x00"), 0, &[]),
        (Some(b"k"), Some(b"again"), 4, &headers[..1]),
    ];
    let mut builder = BatchBuilder::default();
    for (key, value, timestamp_ms, headers) in wanted {
        builder.push(key, value, timestamp_ms, headers);
    }
    let commit = Commit {
        appends: vec![(at("t", 0), builder.seal().expect("records"))],
        group: None,
    };
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let receipt = try_commit(&mut *writer, commit).expect("committed");
    assert_eq!(receipt.ends, [(at("t", 0), 6)].into());
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(at("t", 0), 0)]);
    let mut fetched = Vec::new();
    eventually("the records", || {
        fetched = reader.poll(1 << 20, LOOK).expect("readable");
        !fetched.is_empty()
    });
    let [fetched] = fetched.as_slice() else {
        panic!("one batch, not {}", fetched.len());
    };
    assert_eq!((fetched.base_offset, fetched.position), (0, 0));
    let mut cursor = fetched.batch.cursor(fetched.base_offset);
    for (n, (key, value, timestamp_ms, headers)) in wanted.into_iter().enumerate() {
        let record = cursor.next_record().expect("intact").expect("six records");
        assert_eq!(
            (record.offset, record.timestamp_ms),
            (n as i64, timestamp_ms)
        );
        assert_eq!((record.key, record.value), (key, value));
        assert_eq!(record.headers().expect("intact").as_slice(), headers);
    }
    assert!(cursor.next_record().expect("intact").is_none());
}

/// A commit of records on two partitions and of progress is there completely or not at all.
pub fn a_commit_is_seen_whole_or_not_at_all(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    for n in 0..20_i64 {
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
        if n % 3 == 2 {
            commit.appends.push((at("t", 2), batch(&["x"])));
            try_commit(&mut *writer, commit).expect_err("no such partition");
        } else {
            try_commit(&mut *writer, commit).expect("committed");
        }
    }
    let committed = log
        .committed("g", &[at("t", 0), at("t", 1)])
        .expect("known");
    let wanted = CommittedOffset {
        offset: 20,
        metadata: "note 19".into(),
    };
    assert_eq!(committed, [Some(wanted), None]);
    for partition in 0..2 {
        assert_eq!(values(&*log, &at("t", partition)).len(), 14);
    }
}

/// A commit may hold many batches of a partition; the receipt names the ends after the last.
pub fn several_batches_of_a_commit_keep_their_order(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let commit = appends(&[
        (&p, &["a", "b"]),
        (&q, &["x"]),
        (&p, &["c"]),
        (&p, &["d", "e"]),
    ]);
    let receipt = try_commit(&mut *writer, commit).expect("committed");
    assert_eq!(receipt.ends, [(p.clone(), 5), (q, 1)].into());
    assert_eq!(writer.poll(Duration::ZERO).expect("idle"), None);
    let receipt = try_commit(&mut *writer, Commit::default()).expect("an empty commit");
    assert_eq!(receipt, Receipt::default());
    assert!(append(&*log, &p, &["f"]) >= 6);
    assert_eq!(values(&*log, &p), ["a", "b", "c", "d", "e", "f"]);
}

/// An unknown partition aborts the whole commit, and the writer remains usable.
pub fn a_refused_commit_leaves_nothing(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    for unknown in [at("t", 1), at("u", 0)] {
        let commit = appends(&[(&at("t", 0), &["x"]), (&unknown, &["x"])]);
        let refused = try_commit(&mut *writer, commit).expect_err("no such partition");
        let CommitError::Aborted(error) = refused else {
            panic!("aborted, not {refused}");
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(&unknown.to_string()), "{error}");
    }
    assert!(values(&*log, &at("t", 0)).is_empty());
    let receipt = try_commit(&mut *writer, appends(&[(&at("t", 0), &["y"])])).expect("committed");
    let last = receipt.ends[&at("t", 0)] - 1;
    assert_eq!(read(&*log, &at("t", 0), 0), [(last, "y".to_owned())]);
}

/// The size of a record is that of key, value and headers; the batch may be larger.
pub fn a_record_larger_than_its_topic_takes_is_refused(factory: Factory<'_>) {
    let (_, log) = start(factory);
    let mut spec = TopicSpec::new("t", 1);
    spec.max_record_bytes = 100;
    log.create_topics(&[spec]).expect("created");
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let fits = "x".repeat(100);
    let many = appends(&[(&at("t", 0), &[&fits, &fits, &fits])]);
    try_commit(&mut *writer, many).expect("each record fits");
    let mut builder = BatchBuilder::default();
    let header = Header {
        key: "h".into(),
        value: None,
    };
    builder.push(None, Some(fits.as_bytes()), 1, &[]);
    builder.push(None, Some(fits.as_bytes()), 1, &[header]);
    let commit = Commit {
        appends: vec![(at("t", 0), builder.seal().expect("records"))],
        group: None,
    };
    let refused = try_commit(&mut *writer, commit).expect_err("one byte too many");
    let CommitError::Aborted(error) = refused else {
        panic!("aborted, not {refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.message().contains("t-0") && error.message().contains("101"),
        "{error}"
    );
    assert_eq!(values(&*log, &at("t", 0)).len(), 3);
}

/// Commits of several writers interleave; each writer's own stay in order, and no offset is assigned
/// twice.
pub fn writers_at_once_get_offsets_of_their_own(factory: Factory<'_>) {
    const WRITERS: usize = 4;
    const COMMITS: usize = 50;
    let log = start_with(factory, "t", 2);
    let env = SystemEnv::shared();
    let threads: Vec<_> = (0..WRITERS)
        .map(|w| {
            let log = Arc::clone(&log);
            let body = move || {
                let mut writer = log.writer(&format!("w{w}"), 1 << 20).expect("a writer");
                for n in 0..COMMITS {
                    let (one, two) = (format!("{w} {:03}", 2 * n), format!("{w} {:03}", 2 * n + 1));
                    let values: &[&str] = &[&one, &two];
                    let commit = appends(&[(&at("t", 0), values), (&at("t", 1), values)]);
                    let receipt = try_commit(&mut *writer, commit).expect("committed");
                    let own = read(&*log, &at("t", 0), receipt.ends[&at("t", 0)] - 2);
                    assert_eq!((&own[0].1, &own[1].1), (&one, &two), "the receipt's place");
                }
            };
            crate::base::Env::spawn(&*env, "writer", Box::new(body)).expect("a thread")
        })
        .collect();
    assert!(threads.into_iter().all(crate::base::Thread::join));
    for partition in 0..2 {
        let records = read(&*log, &at("t", partition), 0);
        assert_eq!(records.len(), WRITERS * COMMITS * 2);
        assert!(records.is_sorted_by(|(before, _), (after, _)| before < after));
        for w in 0..WRITERS {
            let prefix = format!("{w} ");
            let own = records
                .iter()
                .filter(|(_, value)| value.starts_with(&prefix));
            let own: Vec<&String> = own.map(|(_, value)| value).collect();
            assert_eq!(own.len(), COMMITS * 2);
            assert!(own.is_sorted());
        }
    }
}

/// The second holder of a writer's id takes over; the first gets an error and leaves nothing.
pub fn a_writer_opened_again_fences_the_first(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let place = at("t", 0);
    let mut first = log.writer("w", 1 << 20).expect("a writer");
    try_commit(&mut *first, appends(&[(&place, &["a"])])).expect("committed");
    let mut other = log.writer("v", 1 << 20).expect("a writer");
    let mut second = log.writer("w", 1 << 20).expect("a writer");
    let refused = try_commit(&mut *first, appends(&[(&place, &["b"])])).expect_err("fenced");
    let CommitError::Fenced(error) = refused else {
        panic!("fenced, not {refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    try_commit(&mut *second, appends(&[(&place, &["c"])])).expect("committed");
    try_commit(&mut *other, appends(&[(&place, &["d"])])).expect("another id is not fenced");
    assert_eq!(values(&*log, &place), ["a", "c", "d"]);
}

/// A reader and a writer with almost no memory still deliver and accept what is requested: large records,
/// and many small ones.
pub fn what_is_larger_than_a_clients_memory_passes(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let mut writer = log.writer("w", 1).expect("a writer");
    let large = ["a", "b", "c"].map(|letter| letter.repeat(900_000));
    let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let [a, b, c] = &large;
    let commit = appends(&[(&p, &[a]), (&q, &many), (&p, &[b]), (&p, &[c])]);
    try_commit(&mut *writer, commit).expect("committed");
    let mut reader = log.reader(1).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0), (q.clone(), 0)]);
    let read = drain(&*log, &mut *reader, &[&p, &q]);
    let of = |partition: u32| -> Vec<&str> {
        let records = read.iter().filter(|(number, ..)| *number == partition);
        records.map(|(.., value)| value.as_str()).collect()
    };
    assert!(of(0) == [a, b, c], "large ones");
    assert!(of(1) == many, "small ones");
}
