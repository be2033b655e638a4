//! Nobody who commits waits for those who make room, however much they have to read.

use std::cell::Cell;

use super::*;
use crate::log::embedded::compaction::compact_watched;
use crate::log::{Cleanup, Isolation, TopicSpec};

const BATCHES: i64 = 20;

fn filled(cleanup: Cleanup) -> (EmbeddedLog, TopicSpec) {
    let settings = Settings {
        tail_bytes: 0,
        housekeeping_interval_ms: NEVER_MS,
        ..settings(&directory())
    };
    let log = EmbeddedLog::open(settings, ManualEnv::new(0, 1)).expect("opens");
    let spec = TopicSpec::new("t", 1).with_cleanup(cleanup);
    log.create_topics(std::slice::from_ref(&spec))
        .expect("created");
    let text = "x".repeat(600_000);
    for _ in 0..BATCHES {
        append(&log, &[(Some("k"), Some(&text))]).expect("committed");
    }
    (log, spec)
}

fn bounds(log: &EmbeddedLog) -> (Offset, Offset) {
    let end = log.end_offset(&at(0), Isolation::ReadCommitted);
    (
        log.start_offset(&at(0)).expect("known"),
        end.expect("known"),
    )
}

#[test]
fn commits_go_on_in_the_middle_of_a_purge() {
    let (log, _) = filled(Cleanup::Delete);
    let (_, partition) = log.shared.find(&at(0)).expect("known");
    // Each batch that the purge looks at, a commit is asked for and answered.
    let committed = Cell::new(0);
    let purged = log.shared.purge(&partition, 0, |stored| {
        append(&log, &[(None, Some("small"))]).expect("committed");
        committed.set(committed.get() + 1);
        stored.next < BATCHES
    });
    purged.expect("purged");
    assert_eq!(committed.get(), BATCHES);
    assert_eq!(bounds(&log), (BATCHES - 1, 2 * BATCHES));
    let offsets: Vec<_> = read(&log, 0).iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (BATCHES - 1..2 * BATCHES).collect::<Vec<_>>());
    assert!(log.stats().bytes_stored < 1 << 20, "and all of them count");
}

#[test]
fn commits_and_purges_go_on_in_the_middle_of_a_compaction() {
    let (log, spec) = filled(Cleanup::CompactDelete);
    let (_, partition) = log.shared.find(&at(0)).expect("known");
    let committed = Cell::new(0);
    let compacted = compact_watched(&log.shared, &spec, &partition, &|_| {
        append(&log, &[(None, Some("small"))]).expect("committed");
        committed.set(committed.get() + 1);
        let purged = log.delete_records(&[(at(0), committed.get() / 3)]);
        purged.expect("purged");
    });
    compacted.expect("compacted");
    let committed = committed.get();
    // The second pass does not see what was purged in the first.
    assert_eq!(committed, 2 * BATCHES - BATCHES / 3);
    assert_eq!(bounds(&log), (committed / 3, BATCHES + committed));
    let offsets: Vec<_> = read(&log, 0).iter().map(|(offset, ..)| *offset).collect();
    let kept = BATCHES - 1..BATCHES + committed;
    assert_eq!(offsets, kept.collect::<Vec<_>>());
    assert!(log.stats().bytes_stored < 1 << 20, "and all of them count");
}

/// Housekeeping and somebody who asks for it may compact at the same time.
#[test]
fn two_compactions_of_a_partition_count_what_they_took_away_once() {
    let (log, _) = filled(Cleanup::Compact);
    append(&log, &[(Some("other"), Some("x"))]).expect("committed");
    let log = Arc::new(log);
    let env = crate::base::SystemEnv::shared();
    let clean = |_| {
        let log = Arc::clone(&log);
        let clean = move || log.clean_now().expect("compacted");
        env.spawn("clean", Box::new(clean)).expect("a thread")
    };
    let cleaning: Vec<_> = (0..4).map(clean).collect();
    assert!(cleaning.into_iter().all(crate::base::Thread::join));
    let left: usize = read(&*log, 0)
        .iter()
        .map(|(_, _, value)| value.as_ref().map_or(0, String::len))
        .sum();
    assert!(left > 600_000 && log.stats().bytes_stored >= left as u64);
    log.delete_records(&[(at(0), i64::MAX)]).expect("purged");
    assert_eq!(log.stats().bytes_stored, 0);
}
