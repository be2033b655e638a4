//! Operators in chains that no vector has, checked against a plain model of what the program says.

use std::collections::BTreeMap;
use std::time::Duration;

use marea::prelude::*;

/// Numbers that look random and are the same each time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    pub fn key(&mut self, keys: &[&str]) -> String {
        keys[self.below(keys.len() as u64) as usize].to_owned()
    }
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn driver(builder: StreamBuilder) -> Driver {
    Driver::new(builder.build().expect("a topology")).expect("a driver")
}

pub fn pipe<V: OwnCodec>(driver: &mut Driver, topic: &str, key: &str, value: V, timestamp_ms: i64) {
    let record = Record::new(key.to_owned(), value, timestamp_ms);
    let input = driver.input_topic::<String, V>(topic);
    input.pipe(driver, record).expect("a record");
}

pub fn read<K: OwnCodec, V: OwnCodec>(driver: &mut Driver, topic: &str) -> Vec<(K, V)> {
    let records = driver.output_topic::<K, V>(topic).read(driver);
    let records = records.expect("results").into_iter();
    records.map(|record| (record.key, record.value)).collect()
}

/// The rows that the changes of a table amount to.
pub fn rows<K: OwnCodec + Ord, V: OwnCodec>(driver: &mut Driver, topic: &str) -> BTreeMap<K, V> {
    let mut rows = BTreeMap::new();
    for (key, row) in read::<K, Option<V>>(driver, topic) {
        match row {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
    rows
}

#[test]
fn final_counts_of_windows_are_counted_again() {
    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("clicks")
        .group_by_key("by-user")
        .windowed_by(TimeWindows::of(seconds(60)))
        .count("per-minute")
        .suppress(Suppressed::until_window_closes("final"))
        .group_by("by-count", |window, count| (*count, window.key.clone()))
        .count("users-by-count")
        .to_stream()
        .present()
        .to("histogram");
    let mut driver = driver(builder);
    let clicks = [("ada", 1), ("ada", 2), ("bob", 3), ("cem", 4), ("dan", 70)];
    for (user, second) in clicks {
        pipe(&mut driver, "clicks", user, String::new(), second * 1_000);
    }
    let found = read::<i64, i64>(&mut driver, "histogram");
    assert_eq!(found, [(2, 1), (1, 1), (1, 2)], "in the order of users");
    pipe(&mut driver, "clicks", "dan", String::new(), 130_000);
    assert_eq!(read::<i64, i64>(&mut driver, "histogram"), [(1, 3)]);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

#[test]
fn sessions_of_two_streams_add_up_by_user() {
    let builder = StreamBuilder::new();
    let clicks = builder
        .stream::<String, i64>("clicks")
        .group_by_key("clicks-by-user");
    let views = builder
        .stream::<String, i64>("views")
        .group_by_key("views-by-user");
    let visits = clicks
        .cogroup(|_, click, acts: i64| acts + click)
        .cogroup(views, |_, view, acts| acts + view)
        .windowed_by(SessionWindows::with_gap(seconds(5)).grace(seconds(1_000)))
        .aggregate(|| 0, |_, earlier, later| earlier + later, "visits");
    visits.clone().to_stream().to("visits-out");
    visits
        .group_by("by-user", |visit, acts| (visit.key.clone(), *acts))
        .reduce(|sum, acts| sum + acts, |sum, acts| sum - acts, "acts")
        .to_stream()
        .to("acts-out");
    let mut driver = driver(builder);
    let mut numbers = Numbers(11);
    let mut acts = BTreeMap::<(String, i64), i64>::new();
    while acts.len() < 60 {
        let (topic, user) = (numbers.key(&["clicks", "views"]), numbers.key(&["u", "v"]));
        let time_ms = numbers.below(400) as i64 * 1_000;
        // A second record of the same time would extend nothing: Kafka Streams then sends no old row.
        if !acts.contains_key(&(user.clone(), time_ms)) {
            let act = acts.len() as i64;
            pipe(&mut driver, &topic, &user, act, time_ms);
            acts.insert((user, time_ms), act);
        }
    }
    let mut visits = Vec::<(String, i64, i64, i64)>::new();
    let mut totals = BTreeMap::<String, i64>::new();
    for ((user, time_ms), act) in acts {
        *totals.entry(user.clone()).or_default() += act;
        match visits.last_mut() {
            Some(last) if last.0 == user && time_ms - last.2 <= 5_000 => {
                (last.2, last.3) = (time_ms, last.3 + act);
            }
            _ => visits.push((user, time_ms, time_ms, act)),
        }
    }
    let found = driver.output_topic::<Windowed<String>, Option<i64>>("visits-out");
    let mut sessions = BTreeMap::new();
    for record in found.read(&mut driver).expect("visits") {
        let Windowed {
            key,
            start_ms,
            end_ms,
        } = record.key;
        sessions.insert((key, start_ms, end_ms), record.value);
    }
    let present = |(bounds, acts): ((String, i64, i64), Option<i64>)| {
        acts.map(|acts| (bounds.0, bounds.1, bounds.2, acts))
    };
    let found: Vec<_> = sessions.into_iter().filter_map(present).collect();
    assert_eq!(found, visits);
    assert_eq!(rows::<String, i64>(&mut driver, "acts-out"), totals);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

/// Keeps the last reading of each buoy and how many there were in each minute; a timer of stream time
/// sends the former, one of the wall clock the latter.
struct Watch;

impl Processor for Watch {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, context: &mut ProcessorContext<'_, String, i64>) -> marea::Result<()> {
        context.schedule("minute", seconds(60), Clock::Stream)?;
        context.schedule("report", seconds(10), Clock::Wall)
    }

    fn process(
        &mut self,
        record: Record<String, i64>,
        context: &mut ProcessorContext<'_, String, i64>,
    ) -> marea::Result<()> {
        let minute_ms = record.timestamp_ms / 60_000 * 60_000;
        let last = context.store::<TimestampedKeyValueStore<String, i64>>("last")?;
        last.put(&record.key, &record.value, record.timestamp_ms)?;
        let per_minute = context.store::<WindowStore<String, i64>>("per-minute")?;
        let count = per_minute.fetch(&record.key, minute_ms)?.unwrap_or(0) + 1;
        per_minute.put(&record.key, &count, minute_ms)?;
        match record.value < 0 {
            true => context.forward_to("faults", record),
            false => Ok(()),
        }
    }

    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut ProcessorContext<'_, String, i64>,
    ) -> marea::Result<()> {
        if timer == "minute" {
            let last = context.store::<TimestampedKeyValueStore<String, i64>>("last")?;
            for row in last.all()? {
                let (buoy, (reading, _)) = row?;
                context.forward_to("last-readings", Record::new(buoy, reading, time_ms))?;
            }
            return Ok(());
        }
        let per_minute = context.store::<WindowStore<String, i64>>("per-minute")?;
        for row in per_minute.fetch_all(0, i64::MAX, Direction::Forward)? {
            let (buoy, minute_ms, count) = row?;
            context.forward_to("counts", Record::new(buoy, count, minute_ms))?;
        }
        Ok(())
    }
}

#[test]
fn a_processor_has_two_stores_two_clocks_and_three_children() {
    let builder = StreamBuilder::new();
    builder.add_store(Stores::timestamped_key_value(
        "last",
        String::codec(),
        i64::codec(),
    ));
    let rules = WindowRules {
        window_size_ms: 60_000,
        retention_ms: 600_000,
        duplicates: false,
    };
    builder.add_store(Stores::window(
        "per-minute",
        String::codec(),
        i64::codec(),
        rules,
    ));
    let watched = builder.stream::<String, i64>("readings").process(
        || Watch,
        Processed::named("watch").stores(["last", "per-minute"]),
    );
    watched.child("faults").to("faults-out");
    watched.child("counts").to("counts-out");
    watched
        .child("last-readings")
        .group_by_key("again")
        .reduce(|sum, reading| sum + reading, "sums")
        .to_stream()
        .present()
        .to("sums-out");
    let mut driver = driver(builder);
    let readings = [
        ("n", 1_i64, 1_000),
        ("s", -2, 2_000),
        ("n", 3, 59_000),
        ("s", 5, 61_000),
    ];
    for (buoy, reading, timestamp_ms) in readings {
        pipe(&mut driver, "readings", buoy, reading, timestamp_ms);
    }
    let owned = |found: &[(&str, i64)]| -> Vec<(String, i64)> {
        found
            .iter()
            .map(|(key, value)| ((*key).to_owned(), *value))
            .collect()
    };
    let faults = read::<String, i64>(&mut driver, "faults-out");
    assert_eq!(faults, owned(&[("s", -2)]));
    let sums = read::<String, i64>(&mut driver, "sums-out");
    let expected = owned(&[("n", 1), ("n", 4), ("s", 5)]);
    assert_eq!(sums, expected, "with the first record, and after a minute");
    assert!(read::<String, i64>(&mut driver, "counts-out").is_empty());
    driver.advance_wall_clock(seconds(10)).expect("a report");
    let mut counts = read::<String, i64>(&mut driver, "counts-out");
    counts.sort();
    assert_eq!(counts, owned(&[("n", 2), ("s", 1), ("s", 1)]));
    assert!(driver.rebuild_and_compare().expect("compared"));
}

#[test]
fn branches_meet_again_and_are_written_where_they_say() {
    let builder = StreamBuilder::new();
    let mut split = builder
        .streams::<String, i64>(["atlantic", "pacific"])
        .filter_not(|_, depth| *depth == 0)
        .split();
    let deep = split.branch(|_, depth| *depth > 200);
    let odd = split
        .branch(|_, depth| depth % 2 == 1)
        .map_values(|_, depth| depth * 10);
    let rest = split
        .default_branch()
        .flat_map_values(|_, depth| [depth, -depth]);
    let all = deep.merge(odd).merge(rest);
    all.clone()
        .map(|buoy, depth| (depth.signum(), format!("{buoy}{depth}")))
        .repartition("by-sign")
        .to_dynamic(|sign, _, _| if *sign > 0 { "above" } else { "below" });
    all.group_by("by-depth", |_, depth| *depth)
        .windowed_by(UnlimitedWindows::from(0))
        .count("by-depth-counts")
        .to_stream()
        .present()
        .map(|window, count| (window.key, count))
        .to("counts");
    let mut driver = driver(builder);
    for (ocean, depth) in [
        ("atlantic", 300),
        ("pacific", 7),
        ("atlantic", 0),
        ("pacific", 4),
    ] {
        pipe(&mut driver, ocean, &ocean[..1], depth, depth);
    }
    let above = read::<i64, String>(&mut driver, "above");
    let expected = ["a300", "p70", "p4"].map(|text| (1, text.to_owned()));
    assert_eq!(above, expected);
    assert_eq!(
        read::<i64, String>(&mut driver, "below"),
        [(-1, "p-4".to_owned())]
    );
    let counts = read::<i64, i64>(&mut driver, "counts");
    assert_eq!(counts, [(300, 1), (70, 1), (4, 1), (-4, 1)]);
}

/// Payments wait ten seconds for the rate that was valid then, and are summed a minute.
#[test]
fn a_patient_join_feeds_windows_that_emit_on_close() {
    let builder = StreamBuilder::new();
    let rates = Materialized::named("rates").versioned(seconds(3_600));
    let rates = builder.table::<String, f64>("rates-in", rates);
    builder
        .stream::<String, f64>("payments")
        .join_table(
            &rates,
            |_, amount, rate| amount * rate,
            Joined::<String, f64>::named("rated").grace(seconds(10)),
        )
        .group_by_key("by-currency")
        .windowed_by(TimeWindows::of(seconds(60)).grace(seconds(10)))
        .emit_on_close()
        .reduce(|sum, amount| sum + amount, "per-minute")
        .to_stream()
        .present()
        .map(|window, sum| (format!("{}@{}", window.key, window.start_ms), sum))
        .to("sums");
    let mut driver = driver(builder);
    pipe(&mut driver, "rates-in", "nok", 0.5, 0);
    pipe(&mut driver, "payments", "nok", 8.0, 30_000);
    // The rate arrives after the payment that it applies to.
    pipe(&mut driver, "rates-in", "nok", 0.25, 29_000);
    pipe(&mut driver, "payments", "nok", 4.0, 59_000);
    pipe(&mut driver, "payments", "nok", 100.0, 20_000);
    pipe(&mut driver, "payments", "nok", 1.0, 141_000);
    assert!(read::<String, f64>(&mut driver, "sums").is_empty());
    pipe(&mut driver, "payments", "nok", 1.0, 152_000);
    driver.drain().expect("drained");
    let sums = read::<String, f64>(&mut driver, "sums");
    let expected = [("nok@0", 53.0), ("nok@120000", 0.5)];
    assert_eq!(sums, expected.map(|(key, sum)| (key.to_owned(), sum)));
    assert!(driver.rebuild_and_compare().expect("compared"));
}
