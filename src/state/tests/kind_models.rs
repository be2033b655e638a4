//! Stores against naive models, through commits, rollbacks, marks, restarts, crashes and restores; and the model
//! of sessions.

use proptest::prelude::*;

use super::*;

/// What happens to a store, of whatever kind.
#[derive(Clone, Debug)]
pub(super) enum Step<O> {
    /// What its kind can do.
    Do(O),
    Seal,
    Applied,
    Rollback,
    Mark,
    Undo,
    ClearMark,
    Cache(usize),
    Reopen,
    /// The process dies, after the log took what is sealed; all of the store is restored, or the rest.
    Crash {
        from_scratch: bool,
    },
}

pub(super) fn steps<O: Clone + std::fmt::Debug + 'static>(
    op: impl Strategy<Value = O> + 'static,
) -> impl Strategy<Value = Vec<Step<O>>> {
    let step = prop_oneof![
        20 => op.prop_map(Step::Do),
        3 => Just(Step::Seal),
        3 => Just(Step::Applied),
        1 => Just(Step::Rollback),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::ClearMark),
        1 => (0..4000usize).prop_map(Step::Cache),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(|from_scratch| Step::Crash { from_scratch }),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Does the steps with a store and with its model, whose whole copies are the generations. `act` does one with
/// both and compares.
pub(super) fn run<O, M: Clone>(
    bench: &mut Bench,
    steps: &[Step<O>],
    start: M,
    act: impl Fn(&TaskState, &O, &mut M),
) {
    let mut logs = Changelogs::default();
    let (mut committed, mut active) = (start.clone(), start);
    let mut sealed: Option<(M, Vec<Option<Batch>>)> = None;
    let mut marks: Vec<M> = Vec::new();
    for step in steps {
        match step {
            Step::Do(op) => act(&bench.state, op, &mut active),
            Step::Seal => {
                if sealed.is_none() && marks.is_empty() {
                    sealed = Some((active.clone(), bench.seal()));
                }
            }
            Step::Applied => {
                if marks.is_empty()
                    && let Some((copy, batches)) = sealed.take()
                {
                    let ends = logs.append(batches);
                    bench.state.applied(&ends).expect("applies");
                    committed = copy;
                }
            }
            Step::Rollback => {
                bench.state.rollback().expect("rolls back");
                (sealed, active) = (None, committed.clone());
                marks.clear();
            }
            Step::Mark => {
                bench.state.marks().set();
                marks.push(active.clone());
            }
            Step::Undo => {
                if let Some(copy) = marks.pop() {
                    bench.state.marks().undo().expect("undoes");
                    active = copy;
                }
            }
            Step::ClearMark => {
                if marks.pop().is_some() {
                    bench.state.marks().clear();
                }
            }
            Step::Cache(bytes) => bench.state.set_cache_bytes(*bytes),
            Step::Reopen => {
                bench.state.rollback().expect("rolls back");
                bench.reopen();
                (sealed, active) = (None, committed.clone());
                marks.clear();
            }
            Step::Crash { from_scratch } => {
                if let Some((copy, batches)) = sealed.take() {
                    logs.append(batches);
                    committed = copy;
                }
                bench.state.rollback().expect("rolls back");
                bench.reopen();
                logs.restore(&mut bench.state, *from_scratch, &[0, 1]);
                active = committed.clone();
                marks.clear();
            }
        }
    }
}

#[derive(Clone, Debug)]
enum SessionOp {
    Put(u8, i64, i64),
    Remove(u8, i64, i64),
    Fetch(u8, i64, i64),
    Find(u8, i64, i64, bool),
    FindAll(i64, i64, bool),
    Ended(i64, i64),
    Floor(i64),
}

const SESSION_RETENTION_MS: i64 = 120_000;

/// Ends in 20 segments of a minute; rows live for two, or a little longer.
fn session_ops() -> impl Strategy<Value = SessionOp> {
    let key = 0..3u8;
    let start = (0..40i64).prop_map(|start| start * 30_000);
    let len = (0..4i64).prop_map(|len| len * 15_000);
    let session = (key.clone(), start.clone(), len);
    prop_oneof![
        8 => session.clone().prop_map(|(key, start, len)| SessionOp::Put(key, start, start + len)),
        3 => session.clone().prop_map(|(key, start, len)| SessionOp::Remove(key, start, start + len)),
        3 => session.prop_map(|(key, start, len)| SessionOp::Fetch(key, start, start + len)),
        4 => (key, start.clone(), 0..200_000i64, any::<bool>())
            .prop_map(|(key, end, more, back)| SessionOp::Find(key, end, end + more, back)),
        2 => (start.clone(), 0..200_000i64, any::<bool>())
            .prop_map(|(end, more, back)| SessionOp::FindAll(end, end + more, back)),
        2 => (start.clone(), 0..200_000i64)
            .prop_map(|(from, more)| SessionOp::Ended(from, from + more)),
        1 => start.prop_map(SessionOp::Floor),
    ]
}

/// A session: key, start, end, and its row.
type SessionLine = (u8, i64, i64, Vec<u8>);

#[derive(Clone)]
struct Sessions {
    store_type: StoreType,
    rows: Vec<SessionLine>,
    observed_ms: i64,
    floor_ms: Option<i64>,
    puts: u8,
}

impl Sessions {
    fn new(store_type: StoreType) -> Self {
        Self {
            store_type,
            rows: Vec::new(),
            observed_ms: NO_TIME,
            floor_ms: None,
            puts: 0,
        }
    }

    fn dead_until_ms(&self) -> i64 {
        let floor_ms = self.floor_ms.unwrap_or(i64::MAX);
        self.observed_ms.min(floor_ms) - SESSION_RETENTION_MS
    }

    fn takes(&self, end_ms: i64) -> bool {
        let dead_until_ms = self.dead_until_ms();
        match self.store_type {
            StoreType::Persistent => end_ms.div_euclid(60_000) >= dead_until_ms.div_euclid(60_000),
            StoreType::InMemory => end_ms > dead_until_ms,
        }
    }

    fn live(&self, mut wanted: impl FnMut(&SessionLine) -> bool) -> Vec<SessionLine> {
        let live = |row: &&SessionLine| row.2 > self.dead_until_ms() && wanted(row);
        self.rows.iter().filter(live).cloned().collect()
    }

    fn act(&mut self, store: &SessionStore, op: &SessionOp) {
        match *op {
            SessionOp::Put(key, start, end) => {
                self.puts = self.puts.wrapping_add(1);
                let row = vec![self.puts; usize::from(key) + 1];
                let put = store.put(&[key], start, end, &row).expect("puts");
                self.observed_ms = self.observed_ms.max(end);
                assert_eq!(put == Put::Stored, self.takes(end), "{op:?}");
                if put == Put::Stored {
                    self.rows
                        .retain(|row| (row.0, row.1, row.2) != (key, start, end));
                    self.rows.push((key, start, end, row));
                }
            }
            SessionOp::Remove(key, start, end) => {
                store.remove(&[key], start, end).expect("removes");
                if self.store_type == StoreType::Persistent {
                    self.observed_ms = self.observed_ms.max(end);
                }
                if self.takes(end) {
                    self.rows
                        .retain(|row| (row.0, row.1, row.2) != (key, start, end));
                }
            }
            SessionOp::Fetch(key, start, end) => {
                let found = store.fetch(&[key], start, end, |row| row.map(<[u8]>::to_vec));
                let wanted = self.live(|row| (row.0, row.1, row.2) == (key, start, end));
                let wanted = wanted.first().map(|row| row.3.clone());
                assert_eq!(found.expect("reads"), wanted, "{op:?}");
            }
            SessionOp::Find(key, earliest, latest, back) => {
                let mut wanted =
                    self.live(|row| row.0 == key && row.2 >= earliest && row.1 <= latest);
                wanted.sort_by_key(|row| (row.2, row.1));
                let found = store.find_sessions(&[key], earliest, latest, direction(back));
                compare(found, wanted, back, op);
            }
            SessionOp::FindAll(earliest, latest, back) => {
                let mut wanted = self.live(|row| row.2 >= earliest && row.1 <= latest);
                match self.store_type {
                    StoreType::Persistent => {
                        wanted.sort_by_key(|row| (row.2 / 60_000, row.0, row.2, row.1));
                    }
                    StoreType::InMemory => wanted.sort_by_key(|row| (row.2, row.0, row.1)),
                }
                let found = store.find_all(earliest, latest, direction(back));
                compare(found, wanted, back, op);
            }
            SessionOp::Ended(from, to) => {
                let ended = |row: &&SessionLine| self.takes(row.2) && (from..=to).contains(&row.2);
                let mut wanted: Vec<_> = self.rows.iter().filter(ended).cloned().collect();
                wanted.sort_by_key(|row| (row.2, row.1, row.0));
                compare(store.find_ended(from, to), wanted, false, op);
            }
            SessionOp::Floor(floor) => {
                store.set_floor_ms(floor);
                let least_ms = self.floor_ms.unwrap_or(self.observed_ms);
                self.floor_ms = Some(floor.max(least_ms));
            }
        }
    }
}

fn direction(back: bool) -> Direction {
    match back {
        true => Direction::Backward,
        false => Direction::Forward,
    }
}

fn compare(
    found: crate::Result<SessionIter>,
    mut wanted: Vec<SessionLine>,
    back: bool,
    op: &SessionOp,
) {
    let (mut rows, mut found) = (found.expect("reads"), Vec::new());
    while let Some(row) = rows.next().expect("reads") {
        found.push((row.key[0], row.start_ms, row.end_ms, row.row.to_vec()));
    }
    if back {
        wanted.reverse();
    }
    assert_eq!(found, wanted, "{op:?}");
}

fn run_sessions(bench: &mut Bench, steps: &[Step<SessionOp>], store_type: StoreType) {
    run(
        bench,
        steps,
        Sessions::new(store_type),
        |state, op, model| {
            let store = state.store("s").expect("is there");
            model.act(&store, op);
        },
    );
}

fn session_spec(store_type: StoreType) -> StoreSpec {
    let rules = SessionRules {
        retention_ms: SESSION_RETENTION_MS,
    };
    StoreSpec {
        store_type,
        ..of_kind("s", StoreKind::session(rules))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sessions_are_those_of_a_list(steps in steps(session_ops()), persistent in any::<bool>()) {
        let store_type = if persistent { StoreType::Persistent } else { StoreType::InMemory };
        run_sessions(&mut Bench::memory(&[session_spec(store_type)]), &steps, store_type);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn so_are_sessions_over_rocksdb(steps in steps(session_ops()), persistent in any::<bool>()) {
        let store_type = if persistent { StoreType::Persistent } else { StoreType::InMemory };
        run_sessions(&mut Bench::rocks(&[session_spec(store_type)]), &steps, store_type);
    }
}
