//! Time in a running application: it advances with filters, with empty partitions and with busy workers, and an
//! input is left out only if it is silent. Nothing here drains, except to compare.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{I64, Utf8, WindowedCodec};
use marea::dsl::{Consumed, Grouped, Idle, Produced, StreamBuilder, Suppressed, TimeWindows};
use marea::log::{Isolation, Log};
use marea::runtime::State;
use marea::task::{DropReason, ErrorPolicies, Policy};

use crate::blind::{BlindLog, Says};
use crate::counting::*;
use crate::pipeline::memory_log;

#[test]
fn a_filter_before_a_repartition_does_not_stall_time() {
    let log = memory_log();
    let running = start(&log, 2, topology(Some(Idle::Never)), SystemEnv::shared());
    for round in 0..60 {
        put(&*log, 0, &[("keep", round, round * 50)]);
        put(&*log, 1, &[("drop", round, round * 50)]);
    }
    // Windows of 100 ms, two records in each, up to 2,950 ms: all that ended by 2,900 are final.
    wait("the windows to close", || finals(&*log) >= 58);
    assert_eq!(finals(&*log), 58);
    assert_eq!(running.snapshot().drops.kafka_streams_total(), 0);
}

#[test]
fn a_rare_key_behind_two_hops_is_final_and_nothing_is_late() {
    let builder = StreamBuilder::new();
    let windows = || TimeWindows::of(Duration::from_millis(100));
    builder
        .stream_with("in", Consumed::with(Utf8, I64).idle_timeout(Idle::Never))
        .filter(|key: &String, _| key != "drop")
        .group_by(Grouped::with("first", Utf8, I64), |_, value| {
            (value % 7).to_string()
        })
        .windowed_by(windows())
        .count("first-counts")
        .suppress(Suppressed::until_window_closes_with("first-final", I64))
        .to_stream()
        .present()
        .map(|window, count| (window.key, count))
        .group_by(Grouped::with("second", Utf8, I64), |key, _| {
            (if key == "6" { "rare" } else { "often" }).to_owned()
        })
        .windowed_by(windows())
        .count("second-counts")
        .suppress(Suppressed::until_window_closes_with("second-final", I64))
        .to_stream()
        .present()
        .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
    let topology = builder.build().expect("a topology");
    let log = memory_log();
    let running = start(&log, 3, topology, SystemEnv::shared());
    // A value of 6 comes once, early; the last partition's records are all filtered out.
    put(&*log, 0, &[("keep", 6, 5)]);
    for round in 0..200 {
        put(&*log, 0, &[("keep", round % 6, round * 25)]);
        put(&*log, 1, &[("keep", 3, round * 25)]);
        put(&*log, 2, &[("drop", 0, round * 25)]);
    }
    // The inputs reach 4,975. Behind the first hop rows of windows up to 4,900 are final; a record that may still
    // come there can be as old as 4,875, so the second hop closes up to 4,800.
    let rare = ("rare".to_owned(), 0);
    wait("both hops", || {
        let counts = counts(&*log);
        counts.contains_key(&("often".to_owned(), 4_600)) && counts.contains_key(&rare)
    });
    assert_eq!(counts(&*log).get(&rare), Some(&1));
    assert_eq!(
        running.snapshot().drops.kafka_streams_total(),
        0,
        "nothing is late"
    );
}

/// Windows directly behind the input close by what they have seen; what they no longer hold, they do not hold
/// back.
#[test]
fn a_partition_that_is_filtered_out_before_windows_does_not_stall_those_behind_them() {
    let builder = StreamBuilder::new();
    let windows = || TimeWindows::of(Duration::from_millis(100));
    builder
        .stream_with("in", Consumed::with(Utf8, I64).idle_timeout(Idle::Never))
        .filter(|key: &String, _| key != "drop")
        .group_by_key(Grouped::with("unused", Utf8, I64))
        .windowed_by(windows())
        .count("first-counts")
        .suppress(Suppressed::until_window_closes_with("first-final", I64))
        .to_stream()
        .present()
        .map(|window, count| (window.key, count))
        .group_by_key(Grouped::with("second", Utf8, I64))
        .windowed_by(windows())
        .count("second-counts")
        .suppress(Suppressed::until_window_closes_with("second-final", I64))
        .to_stream()
        .present()
        .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
    let log = memory_log();
    let topology = builder.build().expect("a topology");
    let running = start(&log, 2, topology, SystemEnv::shared());
    for round in 0..100 {
        put(&*log, 0, &[("keep", 3, round * 25)]);
        put(&*log, 1, &[("drop", 0, round * 25)]);
    }
    wait("both hops", || {
        counts(&*log).contains_key(&("keep".to_owned(), 2_000))
    });
    assert_eq!(running.snapshot().drops.kafka_streams_total(), 0);
}

#[test]
fn an_empty_partition_is_left_out_while_the_worker_is_busy() {
    let log = memory_log();
    let idle = Idle::After(Duration::from_millis(50));
    let running = start(&log, 2, topology(Some(idle)), SystemEnv::shared());
    // The worker always has records until the end of this.
    let sent = Cell::new(0);
    wait("a window to close", || {
        for _ in 0..4 {
            let rows = (sent.get()..sent.get() + 50_000).map(|n| ("one", n, n));
            put(&*log, 0, &rows.collect::<Vec<Row>>());
            sent.set(sent.get() + 50_000);
        }
        finals(&*log) > 0
    });
    assert!(running.snapshot().records > 0);
    assert_eq!(running.snapshot().drops.kafka_streams_total(), 0);
}

#[test]
fn clocks_alone_go_where_they_move_somebody() {
    let mut all = 0;
    for partitions in [4u32, 16, 64] {
        let log = memory_log();
        let running = start(&log, partitions, topology(None), SystemEnv::shared());
        let mut sent = 0;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            for partition in 0..partitions {
                put(&*log, partition, &[("k", 3, sent * 50)]);
            }
            sent += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        let records = sent * i64::from(partitions);
        wait("the records", || {
            running.snapshot().records >= 2 * records as u64
        });
        let end = |p| {
            let place = TopicPartition::new("app-by-repartition", p);
            log.end_offset(&place, Isolation::ReadCommitted)
                .expect("an end")
        };
        let repartitioned: i64 = (0..partitions).map(end).sum();
        // One key: one partition gets records, from all tasks. Once per second a task that has sent none in the
        // meantime sends its clock.
        assert!(
            repartitioned <= records + 10 * i64::from(partitions),
            "{partitions} partitions: {records} records, {repartitioned} on the repartition topic"
        );
        all += repartitioned;
    }
    assert!(all <= 10_000, "{all}");
}

#[test]
fn bursts_with_silence_in_between_lose_nothing() {
    let env = SteppedEnv::shared();
    let log = memory_log();
    let running = start(&log, 4, topology(None), env.clone());
    let mut all: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for burst in 0..4i64 {
        // 60 s of event time, in turns of 500 records.
        for turn in 0..3i64 {
            let row = |n: i64| ("keep", n, burst * 60_000 + turn * 20_000 + n * 40);
            let rows: Vec<Row> = (0..500).map(row).collect();
            for (_, value, timestamp_ms) in &rows {
                let window = ((value % 3).to_string(), timestamp_ms / 100 * 100);
                *all.entry(window).or_insert(0) += 4;
            }
            // The clock goes on while this thread is held up: between two commits, partitions that have not got
            // their records yet would be silent.
            put_to_each(&*log, 0..4, &rows);
        }
        env.pass(Duration::from_secs(15));
    }
    env.pass_until("the last window but one", || {
        let final_counts = counts(&*log);
        final_counts.len() >= all.len() - 3
    });
    let drops = running.snapshot().drops;
    assert_eq!(drops.of(DropReason::ClosedWhileIdle), 0);
    assert_eq!(drops.kafka_streams_total(), 0);
    running.drain(DEADLINE).expect("drained");
    assert_eq!(counts(&*log), all);
}

/// One partition continues while nothing is known of another one, which turns out to have older records.
fn nothing_is_lost_while_the_log_says(says: Says) {
    let env = SteppedEnv::shared();
    let log = BlindLog::new(memory_log());
    let away = TopicPartition::new("in", 1);
    let shared: Arc<dyn Log> = log.clone();
    let running = start(&shared, 2, topology(None), env.clone());
    put(&*log, 0, &[("keep", 1, 0)]);
    put(&*log, 1, &[("keep", 1, 0)]);
    log.set(&away, Some(says));
    for round in 1..=30 {
        put(&*log, 0, &[("keep", 1, round * 1_000)]);
        env.pass(Duration::from_secs(1));
    }
    env.pass(Duration::from_secs(30));
    // The snapshot says who holds time back.
    env.pass_until("the snapshot to say who is waited for", || {
        let mut tasks = running.snapshot().tasks.into_iter();
        let held_back = tasks.find_map(|task| task.held_back);
        held_back.is_some_and(|held_back| {
            held_back.origin == Some(1) && (held_back.time_ms, held_back.ahead_ms) == (0, 30_000)
        })
    });
    for round in 1..=30 {
        put(&*log, 1, &[("keep", 1, round * 1_000)]);
    }
    log.set(&away, None);
    env.pass_until("all windows", || finals(&*log) >= 30);
    assert_eq!(running.snapshot().drops.kafka_streams_total(), 0);
    assert!(counts(&*log).values().all(|count| *count == 2));
}

#[test]
fn a_leader_that_is_away_for_30_s_is_not_silent() {
    nothing_is_lost_while_the_log_says(Says::Nothing);
}

#[test]
fn a_transaction_that_is_open_for_60_s_is_not_silence() {
    nothing_is_lost_while_the_log_says(Says::More);
}

#[test]
fn a_history_fed_partition_by_partition_loses_only_what_is_counted() {
    for idle in [None, Some(Idle::Never)] {
        let env = SteppedEnv::shared();
        let log = memory_log();
        let running = start(&log, 2, topology(idle), env.clone());
        for partition in 0..2 {
            for round in 0..10 {
                let rows: Vec<Row> = (0..100)
                    .map(|n| ("keep", 1, round * 1_000 + n * 10))
                    .collect();
                put(&*log, partition, &rows);
            }
            match (partition, idle) {
                (0, None) => env.pass_until("the first to be final", || finals(&*log) > 95),
                _ => env.pass(Duration::from_secs(14)),
            }
        }
        running.drain(DEADLINE).expect("drained");
        let drops = running.snapshot().drops;
        let lost = drops.of(DropReason::ClosedWhileIdle) as i64;
        assert_eq!(drops.of(DropReason::Late), 0);
        assert_eq!(
            counts(&*log).values().sum::<i64>() + lost,
            2_000,
            "all is accounted for"
        );
        match idle {
            None => assert!(
                lost > 900,
                "the second partition came when time had passed: {lost}"
            ),
            _ => assert_eq!(lost, 0),
        }
    }
}

#[test]
fn a_timestamp_of_the_future_fails_its_record_and_moves_no_time() {
    let future_ms = 4_070_908_800_000;
    let rows = |from: i64| {
        (0..100)
            .map(|n| ("keep", 3, from + n))
            .collect::<Vec<Row>>()
    };
    let log = memory_log();
    let running = start(&log, 1, topology(None), SystemEnv::shared());
    put(&*log, 0, &[("keep", 3, future_ms)]);
    wait("the failure", || running.snapshot().state == State::Failed);
    let error = running.snapshot().error.expect("an error");
    assert!(error.contains("in-0 at offset 0, decode"), "{error}");
    assert!(error.contains("timestamp_ahead_max_ms"), "{error}");
    drop(running);

    for limit in [true, false] {
        let log = memory_log();
        let mut settings = settings();
        settings.policies = ErrorPolicies {
            decode: Policy::Skip,
            ..ErrorPolicies::default()
        };
        if !limit {
            settings.timestamp_ahead_max_ms = None;
        }
        let running = start_with(&log, 1, topology(None), SystemEnv::shared(), settings);
        put(&*log, 0, &rows(0));
        put(&*log, 0, &[("keep", 3, future_ms)]);
        put(&*log, 0, &rows(2_000));
        wait("the records", || {
            running.snapshot().records >= 400 + u64::from(!limit)
        });
        let drops = running.snapshot().drops;
        let expected = if limit { (1, 0) } else { (0, 100) };
        assert_eq!(
            (drops.of(DropReason::Skipped), drops.of(DropReason::Late)),
            expected
        );
    }
}

#[test]
fn what_a_source_refuses_moves_no_time() {
    let builder = StreamBuilder::new();
    let consumed = Consumed::with(Utf8, I64).accept(|record| record.value >= 0);
    let consumed =
        consumed.timestamps(|record, _| (record.value < 1_000).then_some(record.timestamp_ms));
    let accepted = builder.stream_with("in", consumed);
    final_counts(accepted.group_by_key(Grouped::with("by", Utf8, I64)));
    let log = memory_log();
    let running = start(
        &log,
        1,
        builder.build().expect("a topology"),
        SystemEnv::shared(),
    );
    put(
        &*log,
        0,
        &[
            ("a", 1, 10),
            ("a", -1, 90_000),
            ("a", 5_000, 95_000),
            ("a", 1, 20),
            ("b", 1, 150),
        ],
    );
    wait("the records", || running.snapshot().records >= 5);
    let drops = running.snapshot().drops;
    assert_eq!(
        (drops.of(DropReason::Refused), drops.of(DropReason::Late)),
        (2, 0)
    );
    wait("the first window", || finals(&*log) >= 1);
    assert_eq!(counts(&*log), BTreeMap::from([(("a".to_owned(), 0), 2)]));
}

/// Refused records say nothing about time: an input with nothing else is as silent as an empty one.
#[test]
fn an_input_of_refused_records_alone_is_left_out() {
    let builder = StreamBuilder::new();
    let consumed = Consumed::with(Utf8, I64)
        .accept(|record| record.value >= 0)
        .idle_timeout(Idle::After(Duration::from_millis(400)));
    let accepted = builder.stream_with("in", consumed);
    let by_nothing = Grouped::with("by", Utf8, I64);
    final_counts(accepted.group_by(by_nothing, |_, _| "all".to_owned()));
    let log = memory_log();
    let topology = builder.build().expect("a topology");
    let running = start(&log, 2, topology, SystemEnv::shared());
    let sent = Cell::new(0);
    wait("a window to close", || {
        let n = sent.replace(sent.get() + 1);
        put(&*log, 0, &[("good", 1, n * 20)]);
        put(&*log, 1, &[("bad", -1, n * 20)]);
        finals(&*log) > 3
    });
    assert!(running.snapshot().drops.of(DropReason::Refused) > 0);
    assert_eq!(running.snapshot().drops.of(DropReason::ClosedWhileIdle), 0);
}
