//! What an operator holds until a commit.

use std::ops::Bound;

use marea::base::Record;
use marea::codec::{I64, Utf8};
use marea::plan::{Graph, LogicalId, Optimizations, lower};
use marea::state::{Direction, KeyValueStore, StoreKind, StoreSpec};
use marea::task::{Calls, Context, Edges, ErrorPolicies, Policy, Process};
use marea::testing::Driver;
use marea::{Error, Result};

use super::hand_made::{node, sink, source};

/// Holds the latest number of each key; at a commit sends the sum of those it held under their keys.
struct Latest {
    held: KeyValueStore,
    times: i64,
}

impl Process for Latest {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(
        &self,
        record: Record<String, i64>,
        _out: &Edges<String, i64>,
        _context: &mut Context,
    ) -> Result<()> {
        let value = record.value * self.times;
        self.held
            .put(record.key.as_bytes(), Some(&value.to_be_bytes()))
    }

    fn flush(&self, out: &Edges<String, i64>, context: &mut Context) -> Result<()> {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut rows = self
            .held
            .range(everything.0, everything.1, Direction::Forward)?;
        while let Some((key, row)) = rows.next()? {
            self.held.put(key, None)?;
            let value = i64::from_be_bytes(row.try_into().expect("a number"));
            if value == 13 {
                return Err(Error::user("thirteen"));
            }
            let key = String::from_utf8(key.to_vec()).expect("text");
            out.push(Record::new(key, value, context.stream_time_ms()), context)?;
        }
        Ok(())
    }
}

fn holding(graph: &mut Graph, parent: LogicalId, store: &'static str, times: i64) -> LogicalId {
    let mut holding = node("latest", parent, move |wiring| {
        let held = wiring.key_value(store)?;
        Ok(Latest { held, times })
    });
    holding.calls = Calls {
        flushes: true,
        ..Calls::default()
    };
    let codecs = ("text".to_owned(), "i64".to_owned());
    holding
        .stores
        .push(StoreSpec::new(store, StoreKind::key_value(), codecs));
    holding.uses_stores.push(store.to_owned());
    graph.add(holding)
}

fn driver(policy: Policy) -> Driver {
    let mut graph = Graph::default();
    let input = source(&mut graph, "in");
    // The first one's children hold too: what it sends before a commit is sent on before the same commit.
    let first = holding(&mut graph, input, "first", 1);
    let second = holding(&mut graph, first, "second", 10);
    sink(&mut graph, second, "out");
    let topology = lower(graph, Optimizations::none()).expect("a topology");
    let builder = Driver::builder(topology).policies(ErrorPolicies::all(policy));
    builder.dead_letters("dead").build().expect("a driver")
}

fn pipe(driver: &mut Driver, rows: &[(&str, i64)]) -> Result<()> {
    let mut builder = marea::log::BatchBuilder::default();
    for (timestamp_ms, (key, value)) in rows.iter().enumerate() {
        let (key, value) = (key.as_bytes(), value.to_be_bytes());
        builder.push(Some(key), Some(&value), timestamp_ms as i64, &[]);
    }
    driver.pipe_batch("in", builder.seal().expect("records"))
}

fn numbers(driver: &mut Driver) -> Vec<(String, i64)> {
    let out = driver.output_topic_with("out", Utf8, I64);
    let records = out.read(driver).expect("numbers");
    records.into_iter().map(|r| (r.key, r.value)).collect()
}

#[test]
fn what_is_held_goes_out_before_each_commit_through_all_who_hold() {
    let mut driver = driver(Policy::Fail);
    pipe(&mut driver, &[("a", 1), ("b", 2)]).expect("taken");
    // The driver commits after each record.
    let row = |key: &str, value| (key.to_owned(), value);
    assert_eq!(numbers(&mut driver), [row("a", 10), row("b", 20)]);
    for store in ["first", "second"] {
        let rows = driver.key_value_rows(store, Utf8, I64).expect("rows");
        assert_eq!(rows, [], "{store} holds nothing over a commit");
    }
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn a_flush_that_fails_fails_or_is_undone_as_a_whole() {
    let mut failing = driver(Policy::Fail);
    let error = pipe(&mut failing, &[("a", 13)]).expect_err("thirteen");
    for part in ["thirteen", "latest before a commit"] {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
    let mut skipping = driver(Policy::Skip);
    pipe(&mut skipping, &[("a", 13)]).expect("skipped");
    assert_eq!(numbers(&mut skipping), []);
    let rows = skipping.key_value_rows("first", Utf8, I64).expect("rows");
    assert_eq!(rows.len(), 1, "the row is held again");
    assert_eq!(skipping.drops().kafka_streams_total(), 1);
}
