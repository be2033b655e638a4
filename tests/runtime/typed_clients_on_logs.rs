//! The cases of the typed clients on the logs of this process, and over one that misbehaves.

use std::sync::Arc;

use marea::prelude::*;

use crate::faulty::{Fault, FaultyLog};
use crate::typed_clients::{CASES, fed, feed};

#[test]
fn they_work_on_the_log_in_memory() {
    for (_, case) in CASES {
        case(marea::open("memory:").expect("a log"));
    }
}

#[test]
fn they_work_on_the_embedded_log() {
    for (_, case) in CASES {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("embedded:{}", directory.path().display());
        case(marea::open(&url).expect("a log"));
    }
}

#[test]
fn a_source_is_fed_exactly_once_whatever_the_log_answers() {
    for fault in [
        Fault::Abort { every: 2 },
        Fault::LoseAnswer { every: 2 },
        Fault::LoseOutcome { every: 2 },
    ] {
        let log = marea::open("memory:").expect("a log");
        log.create_topics(&[TopicSpec::new("t", 2)])
            .expect("created");
        let faulty = Arc::new(FaultyLog::new(log.clone(), fault));
        let over: Arc<dyn Log> = faulty.clone();
        feed(&over, 200).expect("fed");
        assert_eq!(fed(&log), (0..200).collect::<Vec<_>>(), "{fault:?}");
        assert!(faulty.faults() > 10, "{fault:?}");
    }
}

#[test]
fn a_record_whose_fate_nobody_knows_is_not_called_sent() {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let faulty: Arc<dyn Log> =
        Arc::new(FaultyLog::new(log.clone(), Fault::LoseOutcome { every: 3 }));
    let mut producer = faulty.producer::<String, i64>("t").expect("a producer");
    let sent: Vec<_> = (0..9)
        .filter(|n| producer.send("k".to_owned(), *n).is_ok())
        .collect();
    assert_eq!(sent.len(), 6, "every third has no known outcome: {sent:?}");
    let there = fed(&log);
    assert!(
        sent.iter().all(|number| there.contains(number)),
        "{sent:?} {there:?}"
    );
}

#[test]
fn what_is_acknowledged_is_among_the_records_before_its_markers_are() {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[TopicSpec::new("t", 3)])
        .expect("created");
    feed(&log, 20).expect("fed");
    // The first check finds two of the three partitions without their records.
    let faulty = Arc::new(FaultyLog::new(log, Fault::LateMarkers { times: 2 }));
    let over: Arc<dyn Log> = faulty.clone();
    assert_eq!(fed(&over), (0..20).collect::<Vec<_>>());
    assert_eq!(faulty.faults(), 2);
}
