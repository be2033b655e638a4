use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Option<u8>),
    Get(u8),
    Range(Option<u8>, Option<u8>, bool),
    Time(i64),
    Seal,
    Applied,
    Rollback,
    Mark,
    Undo,
    ClearMark,
    Cache(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..24u8;
    let step = prop_oneof![
        8 => (key.clone(), proptest::option::of(0..4u8)).prop_map(|(key, len)| Step::Put(key, len)),
        4 => key.clone().prop_map(Step::Get),
        2 => (proptest::option::of(key.clone()), proptest::option::of(key), any::<bool>())
            .prop_map(|(from, to, back)| Step::Range(from, to, back)),
        1 => (0..9i64).prop_map(Step::Time),
        2 => Just(Step::Seal),
        2 => Just(Step::Applied),
        1 => Just(Step::Rollback),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::ClearMark),
        1 => (0..2000usize).prop_map(Step::Cache),
    ];
    proptest::collection::vec(step, 1..120)
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The state as whole copies: what the overlay must look like from outside.
#[derive(Clone, Default)]
struct Copy {
    rows: Map,
    time: i64,
}

struct Model {
    committed: Copy,
    sealed: Option<Copy>,
    active: Copy,
    marks: Vec<Copy>,
    puts: u8,
}

fn bound(key: Option<u8>) -> (Vec<u8>, bool) {
    (vec![key.unwrap_or(0)], key.is_some())
}

fn run(bench: &mut Bench, steps: &[Step]) {
    let store = bench.state.key_value("s").expect("is there");
    let time = bench.state.time("t");
    let start = Copy {
        rows: Map::new(),
        time: NO_TIME,
    };
    let mut model = Model {
        committed: start.clone(),
        sealed: None,
        active: start,
        marks: Vec::new(),
        puts: 0,
    };
    for step in steps {
        match step {
            Step::Put(key, len) => {
                model.puts = model.puts.wrapping_add(1);
                let row = len.map(|len| vec![model.puts; len as usize]);
                store.put(&[*key], row.as_deref()).expect("writes");
                match row {
                    Some(row) => model.active.rows.insert(vec![*key], row),
                    None => model.active.rows.remove(&vec![*key]),
                };
            }
            Step::Get(key) => {
                let found = store.get(&[*key], |row| row.map(<[u8]>::to_vec));
                let wanted = model.active.rows.get(&vec![*key]).cloned();
                assert_eq!(found.expect("reads"), wanted, "key {key}");
            }
            Step::Range(from, to, back) => {
                let ((from, from_set), (to, to_set)) = (bound(*from), bound(*to));
                let from = if from_set {
                    Bound::Excluded(&from[..])
                } else {
                    Bound::Unbounded
                };
                let to = if to_set {
                    Bound::Included(&to[..])
                } else {
                    Bound::Unbounded
                };
                let direction = if *back {
                    Direction::Backward
                } else {
                    Direction::Forward
                };
                let found = drain(store.range(from, to, direction).expect("reads"));
                let inside = |(key, _): &(&Vec<u8>, &Vec<u8>)| {
                    use std::ops::RangeBounds;
                    RangeBounds::<[u8]>::contains(&(from, to), &key[..])
                };
                let wanted = model.active.rows.iter().filter(inside);
                let mut wanted: Line = wanted.map(|(k, v)| (k.clone(), v.clone())).collect();
                if *back {
                    wanted.reverse();
                }
                assert_eq!(found, wanted);
            }
            Step::Time(value) => {
                time.set(*value);
                model.active.time = *value;
            }
            Step::Seal if model.sealed.is_none() && model.marks.is_empty() => {
                bench.seal();
                model.sealed = Some(model.active.clone());
            }
            Step::Applied => {
                if model.marks.is_empty()
                    && let Some(sealed) = model.sealed.take()
                {
                    bench.state.applied(&[None, None]).expect("applies");
                    model.committed = sealed;
                }
            }
            Step::Rollback => {
                bench.state.rollback().expect("rolls back");
                model.active = model.committed.clone();
                model.sealed = None;
                model.marks.clear();
            }
            Step::Mark => {
                bench.state.marks().set();
                model.marks.push(model.active.clone());
            }
            Step::Undo => {
                if let Some(mark) = model.marks.pop() {
                    bench.state.marks().undo().expect("undoes");
                    model.active = mark;
                }
            }
            Step::ClearMark => {
                bench.state.marks().clear();
                model.marks.pop();
            }
            Step::Cache(bytes) => bench.state.set_cache_bytes(*bytes),
            Step::Seal => {}
        }
        assert_eq!(time.get(), model.active.time);
    }
    // Every key by lookup, then by range, then as the backend has it.
    for key in 0..24u8 {
        let found = store.get(&[key], |row| row.map(<[u8]>::to_vec));
        let wanted = model.active.rows.get(&vec![key]).cloned();
        assert_eq!(found.expect("reads"), wanted, "key {key}");
    }
    assert_eq!(
        everything(&store),
        model.active.rows.into_iter().collect::<Line>()
    );
    bench.state.rollback().expect("rolls back");
    assert_eq!(bench.state.dirty_bytes(), 0);
    assert_eq!(
        everything(&store),
        model.committed.rows.into_iter().collect::<Line>()
    );
    assert_eq!(time.get(), model.committed.time);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_overlay_reads_like_a_sorted_map_with_copies(steps in steps()) {
        run(&mut Bench::memory(&[key_value("s", false)]), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn and_so_it_does_over_rocksdb(steps in steps()) {
        run(&mut Bench::rocks(&[key_value("s", false)]), &steps);
    }
}
