use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, i64),
    Fetch(u8, i64),
    Range(u8, i64, i64, bool),
    All,
    Floor(i64),
    Seal,
    Applied,
    Rollback,
    Mark,
    Undo,
    ClearMark,
    Cache(usize),
    Reopen,
}

/// Starts in 20 segments of a minute; rows live for two, or a little longer.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4u8;
    let start = (0..40i64).prop_map(|start| start * 30_000);
    let step = prop_oneof![
        12 => (key.clone(), start.clone()).prop_map(|(key, start)| Step::Put(key, start)),
        3 => (key.clone(), start.clone()).prop_map(|(key, start)| Step::Fetch(key, start)),
        5 => (key, start.clone(), 0..300_000i64, proptest::bool::weighted(0.2))
            .prop_map(|(key, start, len, back)| Step::Range(key, start, start + len, back)),
        1 => Just(Step::All),
        1 => start.prop_map(Step::Floor),
        3 => Just(Step::Seal),
        3 => Just(Step::Applied),
        1 => Just(Step::Rollback),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::ClearMark),
        1 => (0..4000usize).prop_map(Step::Cache),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..150)
}

fn spec(duplicates: bool) -> StoreSpec {
    StoreSpec {
        kind: StoreKind::window(WindowRules {
            window_size_ms: 30_000,
            retention_ms: 120_000,
            duplicates,
        }),
        ..window("w", StoreType::Persistent, duplicates)
    }
}

/// The state as whole copies.
#[derive(Clone)]
struct Copy {
    /// Segment, key, start, number of the put, row: in the order of reading.
    rows: Vec<(i64, u8, i64, usize, Vec<u8>)>,
    observed_ms: i64,
    floor_ms: Option<i64>,
}

impl Copy {
    fn dead_until_ms(&self) -> i64 {
        let floor_ms = self.floor_ms.unwrap_or(i64::MAX);
        self.observed_ms.min(floor_ms).saturating_sub(120_000)
    }

    fn put(&mut self, key: u8, start_ms: i64, number: usize, duplicates: bool) -> Put {
        self.observed_ms = self.observed_ms.max(start_ms);
        let segment = start_ms / 60_000;
        if segment < self.dead_until_ms().div_euclid(60_000) {
            return Put::Expired;
        }
        if !duplicates {
            self.rows.retain(|row| (row.1, row.2) != (key, start_ms));
        }
        // Rows of several lengths.
        let row = vec![number as u8; 1 + number % 40];
        self.rows.push((segment, key, start_ms, number, row));
        self.rows.sort();
        Put::Stored
    }

    fn read(&self, mut wanted: impl FnMut(u8, i64) -> bool) -> Vec<(u8, i64, Vec<u8>)> {
        let dead_until_ms = self.dead_until_ms();
        let live = self.rows.iter().filter(|row| row.2 > dead_until_ms);
        let live = live.filter(|row| wanted(row.1, row.2));
        live.map(|row| (row.1, row.2, row.4.clone())).collect()
    }
}

fn drained(mut rows: WindowIter) -> Vec<(u8, i64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("reads") {
        all.push((row.key[0], row.start_ms, row.row.to_vec()));
    }
    all
}

fn run(bench: &mut Bench, steps: &[Step], duplicates: bool) {
    let mut store = bench.state.window("w").expect("is there");
    let mut active = Copy {
        rows: Vec::new(),
        observed_ms: NO_TIME,
        floor_ms: None,
    };
    let (mut committed, mut sealed) = (active.clone(), None::<Copy>);
    let mut marks = Vec::new();
    let mut log = Changelogs::default();
    let mut batches = None;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Put(key, start_ms) => {
                let row = vec![number as u8; 1 + number % 40];
                let put = store.put(&[*key], *start_ms, Some(&row)).expect("puts");
                let wanted = active.put(*key, *start_ms, number, duplicates);
                assert_eq!(put, wanted);
            }
            Step::Fetch(key, start_ms) => {
                let found = store.fetch(&[*key], *start_ms, |row| row.map(<[u8]>::to_vec));
                let found = found.expect("reads");
                let rows = active.read(|other, start| (other, start) == (*key, *start_ms));
                match duplicates {
                    false => assert_eq!(found, rows.first().map(|row| row.2.clone())),
                    // The last put alone, if it was this.
                    true => assert!(
                        found.is_none_or(|found| rows.last().is_some_and(|row| row.2 == found))
                    ),
                }
            }
            Step::Range(key, from_ms, to_ms, back) => {
                let direction = match back {
                    true => Direction::Backward,
                    false => Direction::Forward,
                };
                let found = store.fetch_range_toward(&[*key], *from_ms, *to_ms, direction);
                let mut wanted = active
                    .read(|other, start| other == *key && (*from_ms..=*to_ms).contains(&start));
                if *back {
                    wanted.reverse();
                }
                assert_eq!(drained(found.expect("reads")), wanted);
            }
            Step::All => {
                assert_eq!(
                    drained(store.all().expect("reads")),
                    active.read(|_, _| true)
                );
            }
            Step::Floor(floor_ms) => {
                store.set_floor_ms(*floor_ms);
                let least_ms = active.floor_ms.unwrap_or(active.observed_ms);
                active.floor_ms = Some(least_ms.max(*floor_ms));
            }
            Step::Seal if sealed.is_none() && marks.is_empty() => {
                batches = Some(bench.seal());
                sealed = Some(active.clone());
            }
            Step::Seal => {}
            Step::Applied => {
                if marks.is_empty()
                    && let Some(sealed) = sealed.take()
                    && let Some(batches) = batches.take()
                {
                    let ends = log.append(batches);
                    bench.state.applied(&ends).expect("applies");
                    committed = sealed;
                }
            }
            Step::Rollback => {
                bench.state.rollback().expect("rolls back");
                active = committed.clone();
                (sealed, batches) = (None, None);
                marks.clear();
            }
            Step::Mark => {
                bench.state.marks().set();
                marks.push(active.clone());
            }
            Step::Undo => {
                if let Some(mark) = marks.pop() {
                    bench.state.marks().undo().expect("undoes");
                    active = mark;
                }
            }
            Step::ClearMark => {
                bench.state.marks().clear();
                marks.pop();
            }
            Step::Cache(bytes) => bench.state.set_cache_bytes(*bytes),
            Step::Reopen => {
                // Of what is in memory alone nothing comes back.
                bench.state.rollback().expect("rolls back");
                (sealed, batches) = (None, None);
                marks.clear();
                active = committed.clone();
                bench.reopen();
                store = bench.state.window("w").expect("is there");
            }
        }
        assert_eq!(store.observed_ms(), active.observed_ms);
    }
    bench.state.rollback().expect("rolls back");
    assert_eq!(bench.state.dirty_bytes(), 0);
    assert_eq!(
        drained(store.all().expect("reads")),
        committed.read(|_, _| true)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_window_store_reads_like_a_sorted_list_with_copies(steps in steps(), duplicates: bool) {
        run(&mut Bench::memory(&[spec(duplicates)]), &steps, duplicates);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn and_so_it_does_over_rocksdb(steps in steps(), duplicates: bool) {
        run(&mut Bench::rocks(&[spec(duplicates)]), &steps, duplicates);
    }
}

#[test]
fn a_walk_shows_the_rows_of_its_beginning_also_when_earlier_ones_are_put() {
    Bench::on_both(&[spec(true)], |bench| {
        let store = bench.state.window("w").expect("is there");
        for start_ms in [0, 30_000, 60_000, 90_000] {
            store.put(b"a", start_ms, Some(b"old")).expect("puts");
        }
        let mut rows = store.fetch_range(b"a", 0, 200_000).expect("reads");
        let mut starts = Vec::new();
        while let Some(row) = rows.next().expect("reads") {
            assert_eq!(row.row, b"old");
            starts.push(row.start_ms);
            for start_ms in [0, 45_000, 90_000] {
                store.put(b"a", start_ms, Some(b"new")).expect("puts");
            }
        }
        assert_eq!(starts, [0, 30_000, 60_000, 90_000]);
    });
}

#[test]
fn a_join_probes_no_backend_while_memory_lasts() {
    let (mut state, asked) = watched::Watched::open(&[spec(true)]);
    let store = state.window("w").expect("is there");
    let round = |round: i64, state: &mut TaskState| {
        for number in 0..1_000 {
            let (key, start_ms) = ([number as u8 % 10], round * 1_000 + number);
            store.put(&key, start_ms, Some(b"row")).expect("puts");
            let mut rows = store
                .fetch_range(&key, start_ms - 100, start_ms)
                .expect("reads");
            let mut found = 0;
            while rows.next().expect("reads").is_some() {
                found += 1;
            }
            assert!(found >= 10.min(number / 10));
        }
        state.seal().expect("seals");
        state.applied(&[None, None]).expect("applies");
        asked.take()
    };
    for number in 0..5 {
        let asked = round(number, &mut state);
        assert_eq!((asked.gets, asked.scans.len()), (0, 0));
    }
    // With memory for a few rows, what has gone comes from the backend.
    state.set_cache_bytes(0);
    assert!(!round(5, &mut state).scans.is_empty());
}

/// Rows of 500 keys over 20 minutes, the last ten of which live, and memory for hardly any.
fn mostly_given_up(state: &mut TaskState) -> WindowStore {
    let store = state.window("w").expect("is there");
    for number in 0..3_000i64 {
        let key = format!("key-{:04}", number % 500);
        store
            .put(key.as_bytes(), number * 400, Some(&[7; 40]))
            .expect("puts");
        if number % 100 == 99 {
            state.seal().expect("seals");
            state.applied(&[None, None]).expect("applies");
            state.set_cache_bytes(64_000);
        }
    }
    store
}

fn long_lived() -> StoreSpec {
    StoreSpec {
        kind: StoreKind::window(WindowRules {
            window_size_ms: 30_000,
            retention_ms: 600_000,
            duplicates: true,
        }),
        ..spec(true)
    }
}

#[test]
fn a_join_asks_the_backend_for_no_key_that_it_does_not_have() {
    let (mut state, asked) = watched::Watched::open(&[long_lived()]);
    let store = mostly_given_up(&mut state);
    assert!(state.cached_bytes() <= 64_000, "{}", state.cached_bytes());
    asked.take();
    let count = |key: &str| {
        let rows = store.fetch_range(key.as_bytes(), 600_000, 1_199_600);
        drained(rows.expect("reads")).len()
    };
    for number in 500..1_000 {
        assert_eq!(count(&format!("key-{number:04}")), 0);
    }
    assert_eq!(asked.take().scans.len(), 0, "nobody has such keys");
    // A row of before, of which memory knows nothing more than that.
    store
        .put(b"key-0700", 700_000, Some(b"late"))
        .expect("puts");
    assert_eq!(count("key-0700"), 1);
    state.seal().expect("seals");
    state.applied(&[None, None]).expect("applies");
    asked.take();
    assert_eq!(count("key-0700"), 1);
    assert!(!asked.take().scans.is_empty(), "it has left memory");
    assert_eq!(count("key-0007"), 3);
    assert!(!asked.take().scans.is_empty());
}

#[test]
fn many_rows_of_a_key_come_from_the_backend_in_order() {
    Bench::on_both(&[long_lived()], |bench| {
        let store = bench.state.window("w").expect("is there");
        for number in 0..3_000u32 {
            let row = [&number.to_be_bytes()[..], &[7; 60]].concat();
            store
                .put(b"key", i64::from(number), Some(&row))
                .expect("puts");
        }
        let mut changelogs = Changelogs::default();
        bench.state.set_cache_bytes(0);
        changelogs.commit(bench);
        let rows = drained(store.fetch_range(b"key", 10, 2_989).expect("reads"));
        let starts: Vec<i64> = rows.iter().map(|(_, start_ms, _)| *start_ms).collect();
        assert_eq!(starts, (10..=2_989).collect::<Vec<i64>>());
        // The next probes show what was committed since.
        store.put(b"key", 2_989, Some(b"new")).expect("puts");
        changelogs.commit(bench);
        let rows = drained(store.fetch_range(b"key", 2_980, 2_989).expect("reads"));
        assert_eq!(rows.last().map(|row| &row.2[..]), Some(&b"new"[..]));
        assert_eq!(rows.len(), 11);
    });
}
