//! The ocean topology under the simulator: crashes between any two turns and inside commits, zombies, lost
//! answers, outages.
//!
//! To run a single seed: `MAREA_SEED=17 cargo test --release --test sim`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

#[path = "it/looped.rs"]
mod looped;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use marea::dsl::StreamBuilder;
use marea::log::TopicSpec;
use marea::testing::sim::Faults;
use marea::testing::{Compare, InputRecord, Simulation};
use ocean::feed::{Next, Source};
use ocean::generate::{Generator, Settings};
use ocean::topology::{self, ALERTS, AVERAGES, DEAD_LETTERS, Options, READINGS};

const PARTITIONS: u32 = 4;
const OUTPUTS: [(&str, Compare); 3] = [
    (AVERAGES, Compare::EveryRecord),
    (ALERTS, Compare::EveryRecord),
    (DEAD_LETTERS, Compare::EveryRecord),
];

/// Ten seconds of readings, one of them broken.
fn readings() -> Vec<InputRecord> {
    let settings = Settings {
        seed: 7,
        readings: 1_200,
        per_second: 120,
        speed: 1,
        start_ms: 1_700_000_000_000,
        pause_ms: 0,
    };
    let mut generator = Generator::new(settings, None).expect("a generator");
    let mut readings = Vec::new();
    let mut line = Vec::new();
    while !matches!(
        generator.next(&mut line, 1 << 20).expect("a line"),
        Next::End
    ) {
        let number = readings.len() as i64;
        readings.push(InputRecord {
            topic: READINGS.into(),
            // Each partition has all sensors, in order of time.
            key: Some(number.to_string().into_bytes()),
            value: Some(line.clone()),
            timestamp_ms: settings.start_ms + number * 1_000 / settings.per_second as i64,
        });
    }
    readings
}

fn options() -> Options {
    Options {
        window: Duration::from_secs(2),
        grace: Duration::from_millis(500),
        ..Options::default()
    }
}

fn simulation(seeds: Range<u64>) -> Simulation {
    let mut simulation = Simulation {
        topics: topology::topics(PARTITIONS).to_vec(),
        seeds,
        ..Simulation::default()
    };
    simulation.settings.policies = topology::policies();
    simulation.settings.dead_letter_topic = Some(DEAD_LETTERS.to_owned());
    simulation
}

fn seeds(most: u64) -> Range<u64> {
    match std::env::var("MAREA_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("MAREA_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..most,
    }
}

#[test]
fn the_ocean_gives_each_result_once_whatever_goes_wrong() {
    let seeds = seeds(200);
    let all = seeds.end - seeds.start;
    let lives = simulation(seeds)
        .check(|| topology::build(options()), &readings(), &OUTPUTS)
        .expect("each result once");
    println!("{} turns, {}", lives.turns, lives.faults);
    let faults = lives.faults;
    for (what, times) in [
        ("crashes", faults.crashes),
        ("freezes", faults.freezes),
        ("blocks", faults.blocks),
        ("outages", faults.outages),
        ("aborts", faults.aborts),
        ("lost answers", faults.lost_answers),
        ("late commits", faults.late),
    ] {
        assert!(times >= all || all < 20, "{what}: {times} in {all} lives");
    }
    assert!(
        faults.fenced > 0 || all < 20,
        "no zombie ever tried to commit"
    );
}

/// Workers are frozen, blocked and cut off for longer than an input may be silent, and all of them have records to
/// come: nobody's records may be left out, and become late, because of that.
#[test]
fn what_goes_wrong_is_never_taken_for_silence() {
    let mut simulation = simulation(seeds(100));
    simulation.settings.idle_timeout_ms = Some(400);
    let lives = simulation
        .check(|| topology::build(options()), &readings(), &OUTPUTS)
        .expect("each result once");
    println!("{} turns, {}", lives.turns, lives.faults);
}

/// Tasks with silent inputs report them again and again, which keeps their readers busy all the time.
#[test]
fn a_drain_ends_while_inputs_are_silent() {
    let mut simulation = simulation(0..0);
    // Shorter than the pauses of the feeder: records that come then may be late, so results may differ.
    simulation.settings.idle_timeout_ms = Some(10);
    let readings = readings();
    for seed in seeds(5) {
        let life = simulation.run(|| topology::build(options()), &readings, &OUTPUTS, seed);
        life.expect("an end");
    }
}

#[test]
fn a_seed_gives_the_same_life_twice() {
    let readings = readings();
    let simulation = simulation(0..0);
    let mut traces = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let run = || simulation.run(|| topology::build(options()), &readings, &OUTPUTS, seed);
        let (first, second) = (run().expect("a life"), run().expect("a life"));
        assert_eq!(first, second, "seed {seed}");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 20, "another seed, another life");
}

/// The check can fail: a topology whose output shows how often a record was tried is detected, and the message
/// says how to run the same life again.
#[test]
fn what_a_crash_shows_through_is_found_out() {
    use marea::codec::Utf8;
    use marea::dsl::{Consumed, Produced, StreamBuilder};
    let tries = std::sync::Arc::new(AtomicU64::new(0));
    let topology = || {
        let tries = tries.clone();
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(Utf8, Utf8))
            .map_values(move |_, _| tries.fetch_add(1, Ordering::Relaxed).to_string())
            .to_with("out", Produced::with(Utf8, Utf8));
        builder.build()
    };
    let record = |n: i64| InputRecord {
        topic: "in".into(),
        key: Some(n.to_string().into_bytes()),
        value: Some(b"x".to_vec()),
        timestamp_ms: n,
    };
    let input: Vec<_> = (0..200).map(record).collect();
    let simulation = Simulation {
        topics: vec![TopicSpec::new("in", 2), TopicSpec::new("out", 1)],
        seeds: 3..4,
        faults: Faults {
            crash: 20,
            ..Faults::NONE
        },
        ..Simulation::default()
    };
    let error = simulation
        .check(topology, &input, &[("out", Compare::EveryRecord)])
        .expect_err("it differs");
    for part in [
        "seed 3",
        "seeds: 3..4",
        "topic out differs",
        "crashes",
        "records",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// Timers by stream time depend only on the records of their task: each fires as it would undisturbed.
#[test]
fn timers_by_stream_time_fire_once_whatever_goes_wrong() {
    use marea::base::Record;
    use marea::codec::{I64, Utf8};
    use marea::dsl::{
        Clock, Consumed, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
        StreamBuilder,
    };
    type Context<'a> = ProcessorContext<'a, String, i64>;

    /// Sends what it has counted every 50 ms, and each record sets a timer of its own that fires once.
    struct Totals;
    impl Processor for Totals {
        type KeyIn = String;
        type ValueIn = String;
        type KeyOut = String;
        type ValueOut = i64;

        fn init(&mut self, context: &mut Context<'_>) -> marea::Result<()> {
            context.schedule("total", Duration::from_millis(50), Clock::Stream)
        }

        fn process(
            &mut self,
            record: Record<String, String>,
            context: &mut Context<'_>,
        ) -> marea::Result<()> {
            let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
            let all = "all".to_owned();
            counts.put(&all, &(counts.get(&all)?.unwrap_or(0) + 1))?;
            let (due_ms, once) = (record.timestamp_ms + 30, Duration::from_secs(1_000));
            context.schedule_from(&record.key, due_ms, once, Clock::Stream)
        }

        fn punctuate(
            &mut self,
            timer: &str,
            time_ms: i64,
            context: &mut Context<'_>,
        ) -> marea::Result<()> {
            let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
            let count = counts.get(&"all".to_owned())?.unwrap_or(0);
            if timer != "total" {
                context.cancel(timer)?;
            }
            context.forward(Record::new(timer.to_owned(), count, time_ms))
        }
    }
    let topology = || {
        let builder = StreamBuilder::new();
        builder.add_store(Stores::key_value("counts", Utf8, I64));
        builder
            .stream_with("in", Consumed::with(Utf8, Utf8))
            .process(|| Totals, Processed::named("totals").stores(["counts"]))
            .to_with("out", Produced::with(Utf8, I64));
        builder.build()
    };
    let record = |n: i64| InputRecord {
        topic: "in".into(),
        key: Some(n.to_string().into_bytes()),
        value: Some(b"x".to_vec()),
        timestamp_ms: n * 3,
    };
    let input: Vec<_> = (0..400).map(record).collect();
    let simulation = Simulation {
        topics: vec![TopicSpec::new("in", 2), TopicSpec::new("out", 1)],
        seeds: seeds(60),
        ..Simulation::default()
    };
    let lives = simulation
        .check(topology, &input, &[("out", Compare::EveryRecord)])
        .expect("each timer once");
    println!("{} turns, {}", lives.turns, lives.faults);
}

/// Requests and answers of a join by a foreign key: after each life each row has what it wants, and the last
/// results come once, when all answers have arrived.
#[test]
fn what_is_sent_back_is_neither_lost_nor_late_whatever_goes_wrong() {
    let row = |topic: &str, key: String, value: String, timestamp_ms: i64| InputRecord {
        topic: topic.into(),
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
        timestamp_ms,
    };
    let mut input = Vec::new();
    for n in 0..250 {
        let key = if n % 40 == 39 { "late" } else { "k" };
        let left = format!("r{}:{n}", n * 7 % 11);
        input.push(row("left", format!("{key}{}", n % 30), left, n * 4));
        input.push(row("right", format!("r{}", n % 9), n.to_string(), n * 4));
    }
    let topics = ["left", "right", "out", "final", "both"];
    let mut simulation = Simulation {
        topics: topics.map(|topic| TopicSpec::new(topic, 3)).to_vec(),
        seeds: seeds(60),
        ..Simulation::default()
    };
    simulation.settings.idle_timeout_ms = None;
    let outputs = [
        ("out", Compare::LastOfEachKey),
        ("final", Compare::EveryRecord),
        ("both", Compare::EveryRecord),
    ];
    let lives = simulation
        .check(|| looped::topology(&Default::default()), &input, &outputs)
        .expect("each answer");
    println!("{} turns, {}", lives.turns, lives.faults);
}

/// A join by a foreign key, in which rows of both sides change, move and are deleted: after each life each left row
/// is joined with what it names.
#[test]
fn a_join_by_a_foreign_key_is_whole_whatever_goes_wrong() {
    let topology = || {
        let builder = StreamBuilder::new();
        let lefts = builder.table::<String, String>("left", "lefts");
        let rights = builder.table::<String, String>("right", "rights");
        let key = |_: &String, left: &String| Some(left.split_once(':')?.0.to_owned());
        lefts
            .left_join_foreign(
                rights,
                key,
                |_, left, right| format!("{left}+{right:?}"),
                "join",
            )
            .to_stream()
            .to("out");
        builder.build()
    };
    let row = |topic: &str, key: String, value: Option<String>, timestamp_ms: i64| InputRecord {
        topic: topic.into(),
        key: Some(key.into_bytes()),
        value: value.map(String::into_bytes),
        timestamp_ms,
    };
    let mut input = Vec::new();
    for n in 0..250 {
        let left = match n % 13 {
            0 => None,
            1 => Some(format!("nobody-{n}")),
            _ => Some(format!("r{}:{}", n * 7 % 11, n % 3)),
        };
        input.push(row("left", format!("k{}", n % 30), left, n * 4));
        let right = (n % 8 != 0).then(|| n.to_string());
        input.push(row("right", format!("r{}", n % 9), right, n * 4));
    }
    // The sides need not be co-partitioned.
    let topics = [("left", 3), ("right", 2), ("out", 1)];
    let topics = topics.map(|(topic, partitions)| TopicSpec::new(topic, partitions));
    let mut simulation = Simulation {
        topics: topics.to_vec(),
        seeds: seeds(40),
        ..Simulation::default()
    };
    simulation.settings.idle_timeout_ms = None;
    let outputs = [("out", Compare::LastOfEachKey)];
    let lives = simulation
        .check(topology, &input, &outputs)
        .expect("each row");
    println!("{} turns, {}", lives.turns, lives.faults);
}

/// Each instance fills its global stores before it has tasks, during outages too, and whenever it comes back.
#[test]
fn global_tables_are_whole_whatever_goes_wrong() {
    let topology = || {
        let builder = StreamBuilder::new();
        let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
        builder
            .stream::<String, String>("readings")
            .left_join_global(
                &oceans,
                |_, reading| reading.clone(),
                |_, reading, ocean| format!("{reading} {ocean:?}"),
            )
            .to("out");
        builder.build()
    };
    let record = |topic: &str, key: String, value: String, timestamp_ms: i64| InputRecord {
        topic: topic.into(),
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
        timestamp_ms,
    };
    let mut input = Vec::new();
    for n in 0..300 {
        let reading = record("readings", n.to_string(), format!("o{}", n % 60), n);
        let ocean = record("oceans", format!("o{}", n % 50), n.to_string(), n);
        input.extend([reading, ocean]);
    }
    let topics = ["readings", "oceans", "out"];
    let simulation = Simulation {
        topics: topics.map(|topic| TopicSpec::new(topic, 3)).to_vec(),
        seeds: seeds(40),
        ..Simulation::default()
    };
    let lives = simulation
        .check(topology, &input, &[("out", Compare::EveryRecord)])
        .expect("each row");
    assert!(lives.faults.crashes > 0 && lives.faults.outages > 0);
    println!("{} turns, {}", lives.turns, lives.faults);
}
