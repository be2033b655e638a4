use std::sync::Arc;

use super::{
    Duration, Env, Factory, Isolation, LONG, LOOK, Offset, Reader, SystemEnv, append, assign, at,
    drain, eventually, read, start_with,
};
use crate::base::ErrorKind;
use crate::log::Skipped;

/// A position inside a batch: the whole batch is returned, with the position to skip to.
pub fn a_reader_starts_at_its_positions(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    append(&*log, &p, &["a", "b", "c"]);
    append(&*log, &p, &["d"]);
    append(&*log, &q, &["x"]);
    let mut reader = log.reader(1 << 20).expect("a reader");
    assert!(
        reader
            .poll(1, Duration::ZERO)
            .expect("nothing assigned")
            .is_empty()
    );
    assign(&mut *reader, &[(p.clone(), 1), (q.clone(), 1)]);
    assert_eq!(
        (reader.position(&p), reader.position(&q)),
        (Some(1), Some(1))
    );
    let both = [&p, &q];
    let values = |records: Vec<(u32, Offset, String)>| -> Vec<(u32, String)> {
        let records = records.into_iter();
        records
            .map(|(partition, _, value)| (partition, value))
            .collect()
    };
    let read_on = drain(&*log, &mut *reader, &both);
    assert_eq!(read_on[0], (0, 1, "b".to_owned()));
    assert_eq!(
        values(read_on),
        [
            (0, "b".to_owned()),
            (0, "c".to_owned()),
            (0, "d".to_owned())
        ]
    );
    append(&*log, &q, &["y"]);
    assert_eq!(
        values(drain(&*log, &mut *reader, &both)),
        [(1, "y".to_owned())]
    );
    assign(&mut *reader, &[(q.clone(), 0)]);
    assert_eq!(reader.position(&p), None);
    assert_eq!(
        values(drain(&*log, &mut *reader, &[&q])),
        [(1, "x".to_owned()), (1, "y".to_owned())]
    );
    let all = read(&*log, &p, 0);
    for (n, (offset, _)) in all.iter().enumerate() {
        assert_eq!(read(&*log, &p, *offset), all[n..]);
    }
}

/// A reader that seeks back reaches the end again, past whatever a log keeps behind the last record.
pub fn a_reader_put_back_reaches_the_end_again(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let p = at("t", 0);
    append(&*log, &p, &["a", "b"]);
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(drain(&*log, &mut *reader, &[&p]).len(), 2);
    for position in [1, 2, 0].repeat(10) {
        assign(&mut *reader, &[(p.clone(), position)]);
        let left = usize::try_from(2 - position).expect("small");
        assert_eq!(drain(&*log, &mut *reader, &[&p]).len(), left);
    }
}

/// Pausing neither loses nor repeats records.
pub fn a_paused_partition_keeps_its_position(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0), (q.clone(), 0)]);
    append(&*log, &p, &["a"]);
    assert_eq!(drain(&*log, &mut *reader, &[&p]).len(), 1);
    reader.pause(&p, true);
    append(&*log, &p, &["b"]);
    append(&*log, &q, &["x"]);
    let only = |records: Vec<(u32, Offset, String)>| {
        assert_eq!(records.len(), 1, "{records:?}");
        (records[0].0, records[0].2.clone())
    };
    assert_eq!(only(drain(&*log, &mut *reader, &[&q])), (1, "x".to_owned()));
    let position = reader.position(&p);
    reader.pause(&p, false);
    reader.pause(&p, true);
    append(&*log, &q, &["y"]);
    assert_eq!(only(drain(&*log, &mut *reader, &[&q])), (1, "y".to_owned()));
    assert_eq!(reader.position(&p), position);
    reader.pause(&p, false);
    assert_eq!(only(drain(&*log, &mut *reader, &[&p])), (0, "b".to_owned()));
}

/// A pause ends with the assignment in which it was made, and with its reader.
pub fn a_pause_ends_with_its_assignment(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let texts = |records: Vec<(u32, Offset, String)>| -> Vec<String> {
        records.into_iter().map(|(_, _, text)| text).collect()
    };
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0), (q.clone(), 0)]);
    reader.pause(&p, true);
    append(&*log, &p, &["a"]);
    append(&*log, &q, &["x"]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&q])), ["x"]);
    // A backend that fetches ahead learns only now that its fetches are useless.
    reader.poll(1 << 20, LOOK).expect("readable");
    assign(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["a"]);
    reader.pause(&p, true);
    append(&*log, &p, &["b"]);
    reader.poll(1 << 20, LOOK).expect("readable");
    drop(reader);
    let mut reader = log.reader(1 << 20).expect("another reader");
    assign(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["a", "b"]);
}

/// A small byte limit does not starve any partition, and returns about what was requested.
pub fn partitions_take_turns(factory: Factory<'_>) {
    let log = start_with(factory, "t", 3);
    for partition in 0..3 {
        for _ in 0..5 {
            append(&*log, &at("t", partition), &["x"]);
        }
    }
    let mut reader = log.reader(1 << 20).expect("a reader");
    let all: Vec<_> = (0..3).map(|partition| (at("t", partition), 0)).collect();
    assign(&mut *reader, &all);
    let mut records = 0;
    eventually("all 15 records", || {
        let fetched = reader.poll(1, LOOK).expect("readable");
        assert!(fetched.len() <= 1, "at least one batch, and not more");
        records += fetched
            .iter()
            .map(|fetched| fetched.batch.record_count())
            .sum::<u32>();
        records == 15
    });
    for (place, _) in &all {
        assert!(reader.position(place).expect("assigned") >= 5, "{place}");
    }
}

/// A poll with a long time-out returns as soon as there is a record.
pub fn a_waiting_reader_wakes_up_on_an_append(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let env = SystemEnv::shared();
    let waiting = Arc::clone(&log);
    let body = move || {
        let mut reader = waiting.reader(1 << 20).expect("a reader");
        assign(&mut *reader, &[(at("t", 0), 0)]);
        let fetched = reader.poll(1 << 20, LONG).expect("readable");
        assert_eq!(fetched.len(), 1);
    };
    let started_ms = env.monotonic_ms();
    let thread = env.spawn("waits", Box::new(body)).expect("a thread");
    env.sleep(Duration::from_millis(50));
    assert!(!thread.is_finished(), "it waits");
    append(&*log, &at("t", 0), &["x"]);
    assert!(thread.join());
    // Not only once its time was over.
    assert!(env.monotonic_ms() - started_ms < LONG.as_millis() as u64);
}

/// A reported end includes everything that was appended before the last record that was returned.
pub fn a_reader_learns_where_partitions_end(factory: Factory<'_>) {
    let log = start_with(factory, "t", 3);
    let (p, q, empty) = (at("t", 0), at("t", 1), at("t", 2));
    let mut reader = log.reader(1 << 20).expect("a reader");
    let all: Vec<_> = (0..3).map(|partition| (at("t", partition), 0)).collect();
    assign(&mut *reader, &all);
    for round in 1..8 {
        append(&*log, &q, &["first"]);
        append(&*log, &p, &["then"]);
        let mut seen = false;
        eventually("the record", || {
            let fetched = reader.poll(1 << 20, LOOK).expect("readable");
            seen |= fetched.iter().any(|fetched| fetched.partition == p);
            seen
        });
        let mut ends = |place| reader.end(place, LONG).expect("there").expect("an answer");
        assert_eq!(ends(&empty), 0);
        assert!(ends(&q) >= round, "round {round}: {}", ends(&q));
        assert!(ends(&p) >= round, "round {round}: {}", ends(&p));
    }
    let recent = || log.recent_ends(&[p.clone(), q.clone()]);
    eventually("recent ends", || {
        recent().iter().all(|end| end.is_some_and(|end| end >= 7))
    });
    // The age of an answer starts at the request, so that it never claims to be newer than it is.
    let marks = || log.recent_high_watermarks(&[p.clone(), empty.clone()]);
    eventually("recent high watermarks", || {
        let fresh = |mark: &Option<_>, least| {
            mark.is_some_and(|(end, age_ms)| end >= least && age_ms < 60_000)
        };
        matches!(&marks()[..], [of_p, of_empty] if fresh(of_p, 7) && fresh(of_empty, 0))
    });
}

/// Records that were deleted before a reader reached them are reported once, and it continues with what is
/// left.
pub fn a_reader_is_told_what_was_deleted_before_it_came(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    for value in ["a", "b", "c"] {
        append(&*log, &p, &[value]);
    }
    append(&*log, &q, &["x"]);
    let third = read(&*log, &p, 0)[2].0;
    log.delete_records(&[(p.clone(), third)]).expect("deleted");
    let mut reader = log.reader(1 << 20).expect("a reader");
    let told = |reader: &mut dyn Reader, from, to| {
        let gap = Skipped {
            partition: p.clone(),
            from,
            to,
        };
        assert_eq!(reader.skipped(), [gap]);
        assert_eq!(reader.skipped(), [], "only once");
    };
    assign(&mut *reader, &[(p.clone(), 0), (q.clone(), 0)]);
    assert_eq!(drain(&*log, &mut *reader, &[&p, &q]).len(), 2);
    told(&mut *reader, 0, third);
    // Again, with a reader that has the records before.
    let position = reader.position(&p).expect("assigned");
    reader.pause(&p, true);
    reader.assign(&[]).expect("nothing assigned");
    for value in ["d", "e"] {
        append(&*log, &p, &[value]);
    }
    let last = read(&*log, &p, 0).last().expect("records").0;
    log.delete_records(&[(p.clone(), last)]).expect("deleted");
    assign(&mut *reader, &[(p.clone(), position)]);
    let values: Vec<_> = drain(&*log, &mut *reader, &[&p]);
    assert_eq!(values, [(0, last, "e".to_owned())]);
    told(&mut *reader, position, last);
    // Records that exist are not reported.
    assign(&mut *reader, &[(p.clone(), last)]);
    assert_eq!(drain(&*log, &mut *reader, &[&p]).len(), 1);
    assert_eq!(reader.skipped(), []);
}

/// No reader waits for records that could only replace others: a partition that ends before a position is
/// not the one that was read.
pub fn a_position_beyond_the_end_is_an_error(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let p = at("t", 0);
    append(&*log, &p, &["a"]);
    let end = log.end_offset(&p, Isolation::ReadUncommitted);
    let beyond = end.expect("an end") + 5;
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), beyond)]);
    let mut error = None;
    eventually("an error", || {
        error = reader.poll(1 << 20, LOOK).err();
        error.is_some()
    });
    let error = error.expect("an error");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error.message().contains("t-0") && error.message().contains(&beyond.to_string()),
        "{error}"
    );
}
