use std::sync::Arc;

use super::*;
use crate::base::{Env, SystemEnv};

/// A position inside a batch: the batch comes whole, with the position to skip to.
pub fn a_reader_starts_at_its_positions(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    append(&*log, &p, &["a", "b", "c"]);
    append(&*log, &p, &["d"]);
    append(&*log, &q, &["x"]);
    let mut reader = log.reader().expect("a reader");
    assert!(
        reader
            .poll(1, Duration::ZERO)
            .expect("nothing assigned")
            .is_empty()
    );
    reader
        .assign(&[(p.clone(), 1), (q.clone(), 1)])
        .expect("assigned");
    assert_eq!(
        (reader.position(&p), reader.position(&q)),
        (Some(1), Some(1))
    );
    let fetched = reader.poll(1, Duration::ZERO).expect("readable");
    assert_eq!(
        fetched.len(),
        1,
        "about as many bytes as asked for, at least one batch"
    );
    assert_eq!((fetched[0].base_offset, fetched[0].position), (0, 1));
    assert_eq!(reader.position(&p), Some(3));
    assert_eq!(drain(&mut *reader), [(0, 3, "d".to_owned())]);
    append(&*log, &q, &["y"]);
    assert_eq!(drain(&mut *reader), [(1, 1, "y".to_owned())]);
    assert_eq!(
        (reader.position(&p), reader.position(&q)),
        (Some(4), Some(2))
    );
    reader.assign(&[(q.clone(), 0)]).expect("assigned");
    assert_eq!(reader.position(&p), None);
    assert_eq!(
        drain(&mut *reader),
        [(1, 0, "x".to_owned()), (1, 1, "y".to_owned())]
    );
    for position in 0..=4 {
        assert_eq!(read(&*log, &p, position).len() as i64, 4 - position);
    }
}

/// Pausing neither loses nor repeats records.
pub fn a_paused_partition_keeps_its_position(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    let mut reader = log.reader().expect("a reader");
    reader
        .assign(&[(p.clone(), 0), (q.clone(), 0)])
        .expect("assigned");
    append(&*log, &p, &["a"]);
    assert_eq!(drain(&mut *reader).len(), 1);
    reader.pause(&p, true);
    append(&*log, &p, &["b"]);
    append(&*log, &q, &["x"]);
    assert_eq!(drain(&mut *reader), [(1, 0, "x".to_owned())]);
    assert_eq!(reader.position(&p), Some(1));
    reader.pause(&p, false);
    assert_eq!(drain(&mut *reader), [(0, 1, "b".to_owned())]);
}

/// A small budget of bytes does not starve the last partition.
pub fn partitions_take_turns(factory: Factory<'_>) {
    let log = start_with(factory, "t", 3);
    for partition in 0..3 {
        for _ in 0..5 {
            append(&*log, &at("t", partition), &["x"]);
        }
    }
    let mut reader = log.reader().expect("a reader");
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

/// A poll with a long time-out returns as soon as there is something.
pub fn a_waiting_reader_wakes_up_on_an_append(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let env = SystemEnv::shared();
    let waiting = Arc::clone(&log);
    let body = move || {
        let mut reader = waiting.reader().expect("a reader");
        reader.assign(&[(at("t", 0), 0)]).expect("assigned");
        let fetched = reader.poll(1 << 20, LONG * 3).expect("readable");
        assert_eq!(fetched.len(), 1);
    };
    let started_ms = env.monotonic_ms();
    let thread = env.spawn("waits", Box::new(body)).expect("a thread");
    env.sleep(Duration::from_millis(50));
    assert!(!thread.is_finished(), "it waits");
    append(&*log, &at("t", 0), &["x"]);
    assert!(thread.join());
    assert!(env.monotonic_ms() - started_ms < LONG.as_millis() as u64);
}
