//! The same input gives the same final output, whoever does the work and at whatever speed.

use std::time::Duration;

use marea::testing::{Compare, InputRecord, Invariance};

use crate::pipeline::{
    append, application, create_topics, expected, finals, memory_log, readings, topology,
};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_backlog_gives_the_same_sums_with_any_partitions_and_workers() {
    let readings = readings(20_000);
    for (partitions, workers) in [(1, 1), (4, 1), (4, 2), (4, 4), (3, 2)] {
        let log = memory_log();
        create_topics(&*log, partitions);
        append(&*log, &readings, partitions, 1_000);
        let mut running = application(log.clone(), workers).start().expect("started");
        running.drain(DEADLINE).expect("drained");
        let snapshot = running.snapshot();
        running.close(DEADLINE).expect("closed");
        assert_eq!(
            snapshot.drops.kafka_streams_total(),
            0,
            "{partitions} partitions, {workers} workers"
        );
        assert!(
            finals(&*log) == expected(&readings),
            "{partitions} partitions, {workers} workers"
        );
    }
}

fn input(count: i64) -> Vec<InputRecord> {
    let record = |(sensor, ocean, value, timestamp_ms): (String, String, i64, i64)| InputRecord {
        topic: "readings".into(),
        key: Some(sensor.into_bytes()),
        value: Some(format!("{ocean};{value}").into_bytes()),
        timestamp_ms,
    };
    readings(count).into_iter().map(record).collect()
}

#[test]
fn neither_pace_nor_workers_nor_partitions_change_the_final_sums() {
    let invariance = Invariance {
        workers: vec![1, 3],
        ..Invariance::default()
    };
    let outputs = [("finals", Compare::EveryRecord)];
    invariance
        .check(|| Ok(topology()), &input(4_000), &outputs)
        .expect("all alike");
}

/// Behind two repartitions, without suppression: the output of a task in the middle has no order except that of
/// the origins it reads.
#[test]
fn nor_do_they_behind_two_repartitions() {
    use marea::codec::{I64, Utf8, WindowedCodec};
    use marea::dsl::{Consumed, Grouped, Materialized, Produced, Repartitioned};
    use marea::dsl::{StreamBuilder, TimeWindows};
    let topology = || {
        let builder = StreamBuilder::new();
        builder
            .stream_with("readings", Consumed::with(Utf8, Utf8))
            .map(|sensor, reading: String| (format!("{sensor}-again"), reading))
            .repartition(Repartitioned::with("again", Utf8, Utf8))
            .map(|_sensor, reading: String| {
                let (ocean, value) = reading.split_once(';').expect("ocean;value");
                (ocean.to_owned(), value.parse::<i64>().expect("a number"))
            })
            .group_by_key(Grouped::with("by-ocean", Utf8, I64))
            .windowed_by(TimeWindows::of(Duration::from_secs(1)).grace(Duration::from_millis(500)))
            .aggregate(
                || 0,
                |_, value, sum| sum + value,
                Materialized::with("sums", I64),
            )
            .to_stream()
            .present()
            .to_with(
                "sums-out",
                Produced::with(WindowedCodec::new(Utf8, 1_000), I64),
            );
        builder.build()
    };
    let outputs = [("sums-out", Compare::LastOfEachKey)];
    Invariance::default()
        .check(topology, &input(4_000), &outputs)
        .expect("all alike");
}

/// The check itself can fail: a topology whose output shows which worker's batch a record came in differs.
#[test]
fn a_topology_that_depends_on_its_pace_is_found_out() {
    use marea::codec::Utf8;
    use marea::dsl::{Consumed, Produced, StreamBuilder};
    use std::sync::atomic::{AtomicU64, Ordering};
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let topology = || {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        let builder = StreamBuilder::new();
        builder
            .stream_with("readings", Consumed::with(Utf8, Utf8))
            .map_values(move |_, reading| format!("{run} {reading}"))
            .to_with("finals", Produced::with(Utf8, Utf8));
        builder.build()
    };
    let outputs = [("finals", Compare::EveryRecord)];
    let error = Invariance::default()
        .check(topology, &input(10), &outputs)
        .expect_err("differs");
    assert!(
        error
            .to_string()
            .contains("topic finals differs between 1 partitions"),
        "{error}"
    );
}

#[test]
fn a_handle_can_be_awaited_to_its_end() {
    use futures::StreamExt;
    use marea::runtime::State;

    let log = memory_log();
    create_topics(&*log, 2);
    append(&*log, &readings(100), 2, 10);
    let mut running = application(log, 2).start().expect("started");
    let seen = std::thread::spawn({
        let states = running.states();
        move || futures::executor::block_on(states.collect::<Vec<_>>())
    });
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    futures::executor::block_on(running.ended()).expect("no failure");
    let seen = seen.join().expect("the states end");
    assert_eq!(seen.last(), Some(&State::Stopped), "{seen:?}");
}

#[test]
fn a_panic_in_a_closure_fails_the_application_and_those_who_wait_for_it() {
    use marea::base::ErrorKind;
    use marea::codec::Utf8;
    use marea::dsl::{Consumed, Produced, StreamBuilder};
    use marea::runtime::{Application, Settings, State, StateBackend};

    let log = memory_log();
    create_topics(&*log, 1);
    append(&*log, &readings(10), 1, 10);
    let builder = StreamBuilder::new();
    builder
        .stream_with("readings", Consumed::with(Utf8, Utf8))
        .map_values(|key, _| -> String { panic!("no {key}") })
        .to_with("finals", Produced::with(Utf8, Utf8));
    let settings = Settings {
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let running = Application::builder(builder.build().expect("a topology"), "panics")
        .log(log)
        .settings(settings)
        .start()
        .expect("started");
    let error = futures::executor::block_on(running.ended()).expect_err("it failed");
    assert_eq!(error.kind(), ErrorKind::User);
    for part in ["readings", "0", "no s0"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(running.snapshot().state, State::Failed);
}
