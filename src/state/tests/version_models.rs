//! Versioned and time-ordered stores against naive models.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::kind_models::{Step, run, steps};
use super::*;

#[derive(Clone, Debug)]
enum VersionOp {
    Put(u8, bool, i64),
    Get(u8),
    AsOf(u8, i64),
}

const HISTORY_MS: i64 = 120_000;

/// Times in 40 halves of a segment, which is a minute; the history is two.
fn version_ops() -> impl Strategy<Value = VersionOp> {
    let key = 0..3u8;
    let at = (0..40i64).prop_map(|at| at * 30_000);
    prop_oneof![
        8 => (key.clone(), proptest::bool::weighted(0.7), at.clone())
            .prop_map(|(key, lives, at)| VersionOp::Put(key, lives, at)),
        3 => key.clone().prop_map(VersionOp::Get),
        6 => (key, at, -1..=1i64).prop_map(|(key, at, more)| VersionOp::AsOf(key, at + more)),
    ]
}

#[derive(Clone)]
struct Versions {
    /// Of each key: what was put, by time.
    puts: [BTreeMap<i64, Option<Vec<u8>>>; 3],
    observed_ms: i64,
    count: u8,
}

type Found = Option<(Vec<u8>, i64, Option<i64>)>;

impl Versions {
    fn next(&self, key: u8, at: i64) -> Option<i64> {
        let mut later = self.puts[usize::from(key)].range(at + 1..);
        later.next().map(|(at, _)| *at)
    }

    fn as_of(&self, key: u8, at: i64) -> Found {
        let (since, row) = self.puts[usize::from(key)].range(..=at).next_back()?;
        Some((row.clone()?, *since, self.next(key, *since)))
    }

    /// A deletion at the time of the newest version leaves no trace but the end of the version before.
    fn insert(&mut self, key: u8, at: i64, row: Option<Vec<u8>>) {
        let puts = &mut self.puts[usize::from(key)];
        let newest_is_there = puts
            .last_key_value()
            .is_some_and(|(last, was)| *last == at && was.is_some());
        let before = puts.range(..at).next_back();
        let ended = before.is_some_and(|(_, was)| was.is_some());
        match row.is_none() && newest_is_there && !ended {
            true => drop(puts.remove(&at)),
            false => drop(puts.insert(at, row)),
        }
    }

    fn act(&mut self, store: &VersionedStore, op: &VersionOp) {
        let show = |version: Option<Version<'_>>| {
            version.map(|version| (version.row.to_vec(), version.since_ms, version.until_ms))
        };
        let horizon = self.observed_ms - HISTORY_MS;
        match *op {
            VersionOp::Put(key, lives, at) => {
                self.count = self.count.wrapping_add(1);
                // An empty row is a value, too.
                let row = lives.then(|| vec![self.count; usize::from(key)]);
                let put = store.put(&[key], row.as_deref(), at).expect("puts");
                if at < horizon {
                    assert_eq!(put, VersionedPut::Expired, "{op:?}");
                    return;
                }
                self.observed_ms = self.observed_ms.max(at);
                self.insert(key, at, row);
                assert_eq!(put, VersionedPut::Stored(self.next(key, at)), "{op:?}");
            }
            VersionOp::Get(key) => {
                let found = store.get(&[key], show).expect("reads");
                assert_eq!(found, self.as_of(key, i64::MAX - 1), "{op:?}");
            }
            VersionOp::AsOf(key, at) => {
                let known = |found: &(_, _, Option<i64>)| found.2.is_none() || at >= horizon;
                let wanted = self.as_of(key, at).filter(known);
                let found = store.get_as_of(&[key], at, show).expect("reads");
                assert_eq!(found, wanted, "{op:?}");
            }
        }
    }
}

fn run_versions(bench: &mut Bench, steps: &[Step<VersionOp>]) {
    let start = Versions {
        puts: Default::default(),
        observed_ms: NO_TIME,
        count: 0,
    };
    run(bench, steps, start, |state, op, model| {
        let store = state.store("s").expect("is there");
        model.act(&store, op);
    });
}

fn versioned_spec() -> StoreSpec {
    let rules = VersionedRules {
        history_ms: HISTORY_MS,
    };
    of_kind("s", StoreKind::versioned(rules))
}

#[derive(Clone, Debug)]
enum OrderOp {
    Put(u8, i64),
    Replace(u8),
    Remove(u8),
    Find(u8),
    Pop(i64),
}

fn order_ops() -> impl Strategy<Value = OrderOp> {
    let key = 0..12u8;
    prop_oneof![
        8 => (key.clone(), 0..30i64).prop_map(|(key, at)| OrderOp::Put(key, at)),
        3 => key.clone().prop_map(OrderOp::Replace),
        3 => key.clone().prop_map(OrderOp::Remove),
        3 => key.prop_map(OrderOp::Find),
        4 => (0..30i64).prop_map(OrderOp::Pop),
    ]
}

/// Of each key its time and row, and how many puts there were.
type Ordered = (BTreeMap<u8, (i64, Vec<u8>)>, u8);

fn order(store: &TimeOrderedStore, op: &OrderOp, (rows, puts): &mut Ordered) {
    *puts = puts.wrapping_add(1);
    let row = vec![*puts; 3];
    match *op {
        OrderOp::Put(key, at) => {
            store.put(at, &[key], Some(&row)).expect("puts");
            rows.insert(key, (at, row));
        }
        OrderOp::Replace(key) => {
            let found = store.replace(&[key], &row).expect("replaces");
            assert_eq!(found, rows.get(&key).map(|(at, _)| *at), "{op:?}");
            if let Some(known) = rows.get_mut(&key) {
                known.1 = row;
            }
        }
        OrderOp::Remove(key) => {
            let found = store.remove(&[key]).expect("removes");
            assert_eq!(found, rows.remove(&key).map(|(at, _)| at), "{op:?}");
        }
        OrderOp::Find(key) => {
            let show = |found: Option<(i64, &[u8])>| found.map(|(at, row)| (at, row.to_vec()));
            let found = store.find(&[key], show).expect("reads");
            assert_eq!(found, rows.get(&key).cloned(), "{op:?}");
        }
        OrderOp::Pop(until) => {
            let first = rows.iter().map(|(key, (at, _))| (*at, *key)).min();
            assert_eq!(
                store.first_time_ms().expect("reads"),
                first.map(|(at, _)| at)
            );
            let (mut key, mut row) = (Vec::new(), Vec::new());
            let found = store.pop(until, &mut key, &mut row).expect("pops");
            let due = first.filter(|(at, _)| *at <= until);
            assert_eq!(found, due.map(|(at, _)| at), "{op:?}");
            if let Some((at, known)) = due {
                assert_eq!(
                    (&key[..], rows.remove(&known)),
                    (&[known][..], Some((at, row)))
                );
            }
        }
    }
}

fn run_ordered(bench: &mut Bench, steps: &[Step<OrderOp>]) {
    run(bench, steps, Ordered::default(), |state, op, model| {
        let store = state.store("s").expect("is there");
        order(&store, op, model);
    });
}

fn ordered_spec() -> StoreSpec {
    of_kind("s", StoreKind::time_ordered_by_key())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn versions_are_those_of_a_map_of_puts(steps in steps(version_ops())) {
        run_versions(&mut Bench::memory(&[versioned_spec()]), &steps);
    }

    #[test]
    fn rows_found_by_key_are_those_of_a_map(steps in steps(order_ops())) {
        run_ordered(&mut Bench::memory(&[ordered_spec()]), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn so_are_versions_over_rocksdb(steps in steps(version_ops())) {
        run_versions(&mut Bench::rocks(&[versioned_spec()]), &steps);
    }

    #[test]
    fn so_are_rows_found_by_key_over_rocksdb(steps in steps(order_ops())) {
        run_ordered(&mut Bench::rocks(&[ordered_spec()]), &steps);
    }
}
