//! Timers of processors, beyond the vectors: policies, and what an error undoes.

use std::time::Duration;

use marea::base::Record;
use marea::codec::{I64, Utf8};
use marea::dsl::{
    Clock, Consumed, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
    StreamBuilder,
};
use marea::task::{ErrorPolicies, Policy};
use marea::testing::Driver;
use marea::topology::Topology;
use marea::{Error, ErrorKind, Result};

type Context<'a> = ProcessorContext<'a, String, i64>;

/// A record sets a timer of its key, its value from now by the wall clock, or cancels it if the value is 0; with a
/// value of 13 it fails after that. A timer counts how often it fired; "fails" fails then, and "ends" cancels
/// itself and sets "next".
struct Alarms;

impl Processor for Alarms {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        let Record { key, value, .. } = record;
        match value {
            0 => {
                context.cancel(&key)?;
            }
            value => {
                let every = Duration::from_millis(value.unsigned_abs());
                context.schedule(&key, every, Clock::Wall)?;
            }
        }
        match value {
            13 => Err(Error::user("thirteen")),
            _ => Ok(()),
        }
    }

    fn punctuate(&mut self, timer: &str, time_ms: i64, context: &mut Context<'_>) -> Result<()> {
        let store = context.store::<KeyValueStore<String, i64>>("fired")?;
        let timer = timer.to_owned();
        let fired = store.get(&timer)?.unwrap_or(0) + 1;
        store.put(&timer, &fired)?;
        context.forward(Record::new(timer.clone(), fired, time_ms))?;
        assert_eq!(context.record_metadata(), None, "no record is handled");
        match timer.as_str() {
            "fails" => panic!("as it is called"),
            "ends" => {
                assert!(context.cancel(&timer)?);
                context.schedule("next", Duration::from_millis(5), Clock::Wall)
            }
            _ => Ok(()),
        }
    }
}

fn topology() -> Topology {
    let builder = StreamBuilder::new();
    builder.add_store(Stores::key_value("fired", Utf8, I64));
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(|| Alarms, Processed::named("alarms").stores(["fired"]))
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn driver(policy: Policy) -> Driver {
    let builder = Driver::builder(topology()).policies(ErrorPolicies::all(policy));
    builder.dead_letters("dead").build().expect("a driver")
}

fn set(driver: &mut Driver, timer: &str, every_ms: i64) -> Result<()> {
    let input = driver.input_topic_with("in", Utf8, I64);
    input.pipe(driver, Record::new(timer.to_owned(), every_ms, 1))
}

fn pass(driver: &mut Driver, ms: u64) -> Result<()> {
    driver.advance_wall_clock(Duration::from_millis(ms))
}

fn fired(driver: &mut Driver) -> Vec<(String, i64, i64)> {
    let out = driver.output_topic_with("out", Utf8, I64);
    let records = out.read(driver).expect("numbers");
    let rows = records.into_iter();
    rows.map(|r| (r.key, r.value, r.timestamp_ms)).collect()
}

fn row(timer: &str, times: i64, at_ms: i64) -> (String, i64, i64) {
    (timer.to_owned(), times, at_ms)
}

#[test]
fn timers_fire_in_the_order_of_their_times_and_not_of_their_names() {
    let mut driver = driver(Policy::Fail);
    set(&mut driver, "a", 50).expect("set");
    set(&mut driver, "b", 30).expect("set");
    pass(&mut driver, 60).expect("fired");
    assert_eq!(fired(&mut driver), [row("b", 1, 60), row("a", 1, 60)]);
    pass(&mut driver, 29).expect("nothing is due");
    assert_eq!(fired(&mut driver), []);
    pass(&mut driver, 1).expect("fired");
    assert_eq!(fired(&mut driver), [row("b", 2, 90)]);
}

#[test]
fn a_timer_that_is_set_again_keeps_its_due_time_and_takes_the_interval() {
    let mut driver = driver(Policy::Fail);
    set(&mut driver, "a", 50).expect("set");
    pass(&mut driver, 40).expect("nothing is due");
    set(&mut driver, "a", 500).expect("set again");
    pass(&mut driver, 10).expect("fired");
    assert_eq!(fired(&mut driver), [row("a", 1, 50)]);
    pass(&mut driver, 499).expect("nothing is due");
    pass(&mut driver, 1).expect("fired");
    assert_eq!(fired(&mut driver), [row("a", 2, 550)]);
    set(&mut driver, "a", 0).expect("taken back");
    pass(&mut driver, 5_000).expect("nothing is set");
    assert_eq!(fired(&mut driver), []);
}

#[test]
fn a_timer_can_take_itself_back_and_set_another() {
    let mut driver = driver(Policy::Fail);
    set(&mut driver, "ends", 10).expect("set");
    pass(&mut driver, 10).expect("fired");
    assert_eq!(fired(&mut driver), [row("ends", 1, 10)]);
    pass(&mut driver, 10).expect("fired");
    assert_eq!(fired(&mut driver), [row("next", 1, 20)]);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn a_timer_that_fails_follows_the_policy_and_leaves_nothing() {
    for policy in [Policy::Skip, Policy::DeadLetter] {
        let mut driver = driver(policy);
        set(&mut driver, "fails", 10).expect("set");
        set(&mut driver, "goes-on", 10).expect("set");
        for times in 1..=2 {
            pass(&mut driver, 10).expect("passed over");
            assert_eq!(fired(&mut driver), [row("goes-on", times, times * 10)]);
            assert_eq!(driver.drops().kafka_streams_total(), times as u64);
        }
        let rows = driver.key_value_rows("fired", Utf8, I64).expect("rows");
        assert_eq!(rows, [("goes-on".to_owned(), 2, None)]);
    }
    let mut driver = driver(Policy::Fail);
    set(&mut driver, "fails", 10).expect("set");
    let error = pass(&mut driver, 10).expect_err("a panic");
    assert_eq!(error.kind(), ErrorKind::User);
    for part in ["timer \"fails\"", "alarms", "as it is called"] {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
    let error = pass(&mut driver, 0).expect_err("it is still due");
    assert!(error.to_string().contains("as it is called"), "{error}");
    set(&mut driver, "fails", 0).expect("taken back");
    pass(&mut driver, 100).expect("nothing is set");
    assert_eq!(fired(&mut driver), []);
}

#[test]
fn what_a_failing_record_did_to_timers_is_undone() {
    let mut driver = driver(Policy::Skip);
    set(&mut driver, "known", 20).expect("set");
    set(&mut driver, "known", 13).expect("skipped, with the interval it set");
    set(&mut driver, "new", 13).expect("skipped, with the timer it set");
    pass(&mut driver, 20).expect("fired");
    assert_eq!(fired(&mut driver), [row("known", 1, 20)]);
    pass(&mut driver, 19).expect("nothing is due");
    assert_eq!(fired(&mut driver), []);
    pass(&mut driver, 1).expect("fired");
    assert_eq!(fired(&mut driver), [row("known", 2, 40)]);
}

#[test]
fn refusals_say_what_to_do() {
    let mut driver = driver(Policy::Fail);
    let error = set(&mut driver, "", 10).expect_err("no name");
    assert!(error.to_string().contains("needs a name"), "{error}");

    let builder = StreamBuilder::new();
    builder.add_store(Stores::key_value("fired", Utf8, I64));
    let processed = Processed::named("alarms").stores(["fired"]);
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(|| Alarms, processed.without_timers())
        .to_with("out", Produced::with(Utf8, I64));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    let error = set(&mut driver, "a", 10).expect_err("no timers");
    assert!(error.to_string().contains("without timers"), "{error}");
}
