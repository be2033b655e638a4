use std::collections::BTreeMap;

use proptest::prelude::*;

use super::watched::Watched;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(i64, u8, bool),
    Pop(i64),
    First,
    Seal,
    Applied,
    Rollback,
    Mark,
    Undo,
    ClearMark,
    Cache(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = 0..12i64;
    let step = prop_oneof![
        8 => (time.clone(), 0..3u8, proptest::bool::weighted(0.8))
            .prop_map(|(time, key, lives)| Step::Put(time, key, lives)),
        5 => time.prop_map(Step::Pop),
        3 => Just(Step::First),
        2 => Just(Step::Seal),
        2 => Just(Step::Applied),
        1 => Just(Step::Rollback),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::ClearMark),
        1 => (0..1000usize).prop_map(Step::Cache),
    ];
    proptest::collection::vec(step, 1..120)
}

type Map = BTreeMap<(i64, Vec<u8>), Vec<u8>>;

/// As the model of the overlay: the rows as whole copies. Of the head fit a few keys only.
fn run(bench: &mut Bench, steps: &[Step], head_bytes: usize) {
    let store = bench.state.key_value("s").expect("is there");
    let store = TimeOrderedStore::with_head_bytes(store, head_bytes);
    let (mut active, mut committed, mut sealed, mut mark) =
        (Map::new(), Map::new(), None::<Map>, None::<Map>);
    let (mut key, mut row) = (Vec::new(), Vec::new());
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Put(time_ms, key, lives) => {
                let (key, row) = (vec![*key], vec![number as u8]);
                let put = store.put(*time_ms, &key, lives.then_some(&row[..]));
                put.expect("writes");
                match lives {
                    true => active.insert((*time_ms, key), row),
                    false => active.remove(&(*time_ms, key)),
                };
            }
            Step::Pop(until_ms) => loop {
                let time_ms = store.pop(*until_ms, &mut key, &mut row).expect("pops");
                let found = time_ms.map(|time_ms| ((time_ms, key.clone()), row.clone()));
                let wanted = active.first_key_value().map(|(at, row)| (at.clone(), row));
                let wanted = wanted.filter(|((time_ms, _), _)| time_ms <= until_ms);
                assert_eq!(found, wanted.map(|(at, row)| (at, row.clone())));
                if found.is_none() {
                    break;
                }
                active.pop_first();
                // Now and then in the middle of what is due.
                if number % 3 == 0 {
                    break;
                }
            },
            Step::First => {
                let wanted = active.keys().next().map(|(time_ms, _)| *time_ms);
                assert_eq!(store.first_time_ms().expect("reads"), wanted);
            }
            Step::Seal if sealed.is_none() && mark.is_none() => {
                bench.seal();
                sealed = Some(active.clone());
            }
            Step::Seal => {}
            Step::Applied => {
                if mark.is_none()
                    && let Some(sealed) = sealed.take()
                {
                    bench.state.applied(&[None, None]).expect("applies");
                    committed = sealed;
                }
            }
            Step::Rollback => {
                bench.state.rollback().expect("rolls back");
                active = committed.clone();
                (sealed, mark) = (None, None);
            }
            Step::Mark => {
                if mark.is_some() {
                    bench.state.marks().clear();
                }
                bench.state.marks().set();
                mark = Some(active.clone());
            }
            Step::Undo => {
                if let Some(mark) = mark.take() {
                    bench.state.marks().undo().expect("undoes");
                    active = mark;
                }
            }
            Step::ClearMark => {
                if mark.take().is_some() {
                    bench.state.marks().clear();
                }
            }
            Step::Cache(bytes) => bench.state.set_cache_bytes(*bytes),
        }
    }
    while let Some((wanted, wanted_row)) = active.pop_first() {
        let time_ms = store.pop(i64::MAX, &mut key, &mut row).expect("pops");
        assert_eq!((time_ms, &key), (Some(wanted.0), &wanted.1));
        assert_eq!(row, wanted_row);
    }
    assert_eq!(store.first_time_ms().expect("reads"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_out_as_from_a_sorted_map_with_copies(steps in steps(), head_bytes in 0..600usize) {
        run(&mut Bench::memory(&[key_value("s", false)]), &steps, head_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn and_so_they_do_over_rocksdb(steps in steps(), head_bytes in 0..600usize) {
        run(&mut Bench::rocks(&[key_value("s", false)]), &steps, head_bytes);
    }
}

/// Puts and takes out rows, a hundred a window, with a commit every tenth window, `open` windows being
/// open at a time. Returns where walks began, each with the last row that was taken out by then.
fn windows(open: i64, head_bytes: usize, cache_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut state, asked) = Watched::open(&[key_value("s", false)]);
    state.set_cache_bytes(cache_bytes);
    let store = state.key_value("s").expect("is there");
    let store = TimeOrderedStore::with_head_bytes(store, head_bytes);
    let (mut key, mut row) = (Vec::new(), Vec::new());
    let mut last = Vec::new();
    let mut walks = Vec::new();
    for window in 0..1_000 {
        for number in 0..100u8 {
            store.put(window, &[number], Some(b"row")).expect("writes");
        }
        loop {
            let popped = store.pop(window - open, &mut key, &mut row);
            let popped = popped.expect("pops");
            let begun = asked.take().scans.into_iter();
            walks.extend(begun.map(|from| (from, last.clone())));
            let Some(time_ms) = popped else { break };
            last = [&time_ms.to_be_bytes()[..], &key].concat();
        }
        if window % 10 == 0 {
            state.seal().expect("seals");
            state.applied(&[None, None]).expect("applies");
        }
    }
    assert_eq!(last[..8], (999 - open).to_be_bytes());
    walks
}

#[test]
fn what_is_known_is_not_walked_at_all() {
    let walks = windows(1, 1 << 20, 1 << 20);
    assert!(walks.len() <= 1, "{} walks", walks.len());
}

#[test]
fn no_walk_begins_before_what_was_taken_out() {
    // Fewer keys are known than are due at a time, and no row stays in memory.
    let walks = windows(20, 4 << 10, 0);
    assert!(walks.len() > 100, "{} walks", walks.len());
    for (from, last) in &walks {
        assert!(
            last.is_empty() || from > last,
            "a walk from {from:?}, {last:?} being gone"
        );
    }
    // Each finds a piece of what is known, or rows to read ahead: of 100,000 rows.
    assert!(walks.len() < 8_000, "{} walks", walks.len());
}

#[test]
fn a_time_before_1970_is_refused() {
    let (state, _) = Watched::open(&[key_value("s", false)]);
    let store = TimeOrderedStore::new(state.key_value("s").expect("is there"));
    let refused = store.put(-1, b"k", Some(b"row")).expect_err("refused");
    assert_eq!(refused.kind(), crate::ErrorKind::User);
    let none = store.pop(-1, &mut Vec::new(), &mut Vec::new());
    assert_eq!(none.expect("pops"), None);
}
