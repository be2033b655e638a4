//! Whatever happens to it, the log answers as the memory log does.
//!
//! The memory log has no retention and no compaction; [`Model`] adds what they take away. Values are large
//! enough that RocksDB makes files of its own accord, and purges are large enough to give whole files back.
//!
//! The seed is fixed: `MAREA_SEED=17` takes another one, `MAREA_CASES=500` more of them. A failure prints the
//! seed and the smallest steps that were found to fail.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::*;
use crate::base::ErrorKind;
use crate::log::embedded::format::BATCHES;
use crate::log::{Cleanup, CommittedOffset, GroupCommit, Isolation, MemoryLog, Reader, TopicSpec};

mod expected;

use expected::{Model, NOW_MS, PLACES, Seen, place, topics};

/// Records of one batch: key, length of the value (`None` is a null), how many.
#[derive(Clone, Debug)]
struct Records {
    key: u8,
    value: Option<usize>,
    count: u8,
}

#[derive(Clone, Debug)]
enum Step {
    /// One commit: batches by place, and perhaps how far a group is on a place, in 255ths of it.
    Commit(Vec<(usize, Records)>, Option<(u8, usize, u8)>),
    /// Large batches in one commit, then perhaps files below the first level, which are those that a purge
    /// gives back: of one place, if it is used alone.
    Fill(usize, u8, bool),
    /// A commit of which one part is not possible.
    Refused(usize),
    /// Up to the batch that is this many from the end.
    PurgeBatches(usize, u8),
    /// Up to an offset, in 255ths of the partition: also in the middle of a batch.
    Purge(usize, u8),
    Clean,
    Wait(u16),
    Reopen,
    /// The process dies: all that was acknowledged is there again.
    Crash,
}

fn records() -> impl Strategy<Value = Records> {
    let value =
        prop_oneof![6 => 0..200_usize, 2 => 1_000..60_000_usize, 1 => 200_000..400_000_usize];
    let value = prop::option::weighted(0.8, value);
    (any::<u8>(), value, 1..5_u8).prop_map(|(key, value, count)| Records { key, value, count })
}

fn step() -> impl Strategy<Value = Step> {
    let batch = (0..PLACES, records());
    let progress = prop::option::of((0..2_u8, 0..PLACES, any::<u8>()));
    prop_oneof![
        8 => (prop::collection::vec(batch, 1..6), progress).prop_map(|(b, p)| Step::Commit(b, p)),
        4 => (0..PLACES, 8..12_u8, prop::bool::weighted(0.7)).prop_map(|(at, n, settled)| Step::Fill(at, n, settled)),
        1 => (0..PLACES).prop_map(Step::Refused),
        5 => (0..PLACES, 0..4_u8).prop_map(|(at, kept)| Step::PurgeBatches(at, kept)),
        2 => (0..PLACES, any::<u8>()).prop_map(|(at, part)| Step::Purge(at, part)),
        3 => Just(Step::Clean),
        2 => (0..1_500_u16).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

/// The log under test beside its model.
struct Pair {
    env: Arc<ManualEnv>,
    path: PathBuf,
    tail_bytes: usize,
    log: Option<EmbeddedLog>,
    model: Model,
    committed: u32,
}

impl Pair {
    fn new(tail_bytes: usize) -> Self {
        let env = ManualEnv::new(NOW_MS, 1);
        let mut pair = Self {
            path: directory(),
            tail_bytes,
            log: None,
            model: Model::new(MemoryLog::new(env.clone())),
            committed: 0,
            env,
        };
        pair.open();
        pair.log().create_topics(&topics()).expect("created");
        pair
    }

    fn open(&mut self) {
        let settings = Settings {
            tail_bytes: self.tail_bytes,
            // Cleaning is a step, and not a matter of real time.
            housekeeping_interval_ms: NEVER_MS,
            // The least: write buffers of 4 MiB.
            ..Settings::new(&self.path, Budget::new(8 << 20))
        };
        self.log = Some(EmbeddedLog::open(settings, self.env.clone()).expect("opens"));
    }

    fn log(&self) -> &EmbeddedLog {
        self.log.as_ref().expect("open")
    }

    /// Goes on with what the death of the process would leave: a copy of the files, taken while nothing
    /// is written.
    fn crash(&mut self) {
        let copy = directory();
        while !copied(&self.path, &copy) {
            fs::remove_dir_all(&copy).expect("removed");
            fs::create_dir(&copy).expect("made");
        }
        self.log = None;
        fs::remove_dir_all(&self.path).expect("removed");
        self.path = copy;
        self.open();
    }

    fn batch(&mut self, records: &Records) -> Batch {
        let mut builder = BatchBuilder::default();
        for n in 0..records.count {
            self.committed += 1;
            let number = self.committed.to_le_bytes();
            let key = (!records.key.is_multiple_of(8)).then(|| [b'a' + (records.key / 8 + n) % 6]);
            let value = records.value.map(|len| {
                let mut value = vec![number[0]; len];
                let first = len.min(4);
                value[..first].copy_from_slice(&number[..first]);
                value
            });
            let key = key.as_ref().map(|key| &key[..]);
            builder.push(key, value.as_deref(), i64::from(self.committed), &[]);
        }
        builder.seal().expect("records")
    }

    /// The same commit to both.
    fn commit(&mut self, both: Commit) -> Result<(), TestCaseError> {
        let wanted = commit(&self.model.memory, both.clone());
        let found = commit(self.log(), both.clone());
        match (wanted, found) {
            (Ok(wanted), Ok(found)) => {
                prop_assert_eq!(wanted, found);
                self.model.appended(&both, self.env.wall_ms());
            }
            (Err(CommitError::Aborted(_)), Err(CommitError::Aborted(_))) => {}
            (wanted, found) => prop_assert!(false, "{wanted:?}, {found:?}"),
        }
        Ok(())
    }

    fn purge(&mut self, at: usize, before: Offset) -> Result<(), TestCaseError> {
        let purged = self.log().delete_records(&[(place(at), before)]);
        purged.expect("purged");
        self.model.purge(&place(at), before);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Commit(batches, progress) => {
                let mut appends = Vec::new();
                for (at, records) in batches {
                    appends.push((place(*at), self.batch(records)));
                }
                let group = progress.map(|(group, at, part)| GroupCommit {
                    group: format!("g{group}"),
                    token: None,
                    offsets: vec![(
                        place(at),
                        CommittedOffset {
                            offset: self.model.end(&place(at)) * i64::from(part) / 255,
                            metadata: part.to_string(),
                        },
                    )],
                });
                self.commit(Commit { appends, group })
            }
            Step::Fill(at, batches, settled) => {
                let records = Records {
                    key: *at as u8,
                    value: Some(1 << 20),
                    count: 1,
                };
                let appends = (0..*batches).map(|_| (place(*at), self.batch(&records)));
                let appends = appends.collect();
                let group = None;
                self.commit(Commit { appends, group })?;
                if *settled {
                    let database = &self.log().shared.database;
                    database.flush().expect("flushed");
                    database.compact_range(BATCHES);
                }
                Ok(())
            }
            Step::Refused(at) => {
                let records = Records {
                    key: 1,
                    value: None,
                    count: 1,
                };
                let nowhere = TopicPartition::new("nowhere", 0);
                let appends = vec![
                    (place(*at), self.batch(&records)),
                    (nowhere, self.batch(&records)),
                ];
                let group = None;
                self.commit(Commit { appends, group })
            }
            Step::PurgeBatches(at, kept) => {
                let before = self.model.base_from_the_end(&place(*at), (*kept).into());
                self.purge(*at, before)
            }
            Step::Purge(at, part) => {
                let before = self.model.end(&place(*at)) * i64::from(*part) / 255;
                self.purge(*at, before)
            }
            Step::Clean => {
                self.log().clean_now().expect("cleaned");
                self.model.clean(self.env.wall_ms());
                Ok(())
            }
            Step::Wait(ms) => {
                self.env.advance_ms((*ms).into());
                Ok(())
            }
            Step::Reopen => {
                self.log = None;
                self.open();
                Ok(())
            }
            Step::Crash => {
                self.crash();
                Ok(())
            }
        }
    }

    fn check(&self, from_every_start: bool) -> Result<(), TestCaseError> {
        let log = self.log();
        let places: Vec<TopicPartition> = (0..PLACES).map(place).collect();
        for group in ["g0", "g1"] {
            let wanted = self.model.memory.committed(group, &places).expect("known");
            prop_assert_eq!(wanted, log.committed(group, &places).expect("known"));
        }
        let mut reader = log.reader(1 << 20).expect("a reader");
        for at in &places {
            let start = log.start_offset(at).expect("known");
            prop_assert_eq!(self.model.start(at), start, "start of {}", at);
            let end = log.end_offset(at, Isolation::ReadCommitted);
            let end = end.expect("known");
            prop_assert_eq!(self.model.end(at), end, "end of {}", at);
            let wanted = self.model.records(at);
            let found = all(&mut *reader, at, 0);
            prop_assert_eq!(&wanted, &found, "records of {}", at);
            let starts = from_every_start.then(|| self.model.starts(at));
            for from in starts.into_iter().flatten() {
                let wanted = match from > end {
                    true => Err(ErrorKind::Corrupt),
                    false => Ok(wanted.iter().find(|seen| seen.offset >= from).cloned()),
                };
                let found = first(&mut *reader, at, from);
                prop_assert_eq!(wanted, found, "{} from {}", at, from);
            }
        }
        Ok(())
    }
}

/// Copies a directory; `false` if RocksDB made or removed a file meanwhile.
fn copied(from: &Path, to: &Path) -> bool {
    let list = || -> Vec<(String, u64)> {
        let entries = fs::read_dir(from).expect("a directory");
        let mut names: Vec<(String, u64)> = entries
            .filter_map(|entry| {
                let entry = entry.expect("an entry");
                let bytes = entry.metadata().ok()?.len();
                Some((entry.file_name().to_string_lossy().into_owned(), bytes))
            })
            .collect();
        names.sort();
        names
    };
    let before = list();
    let all = before.iter().all(|(name, _)| {
        let (from, to) = (from.join(name), to.join(name));
        if name.ends_with(".sst") {
            fs::hard_link(from, to).is_ok()
        } else {
            fs::copy(from, to).is_ok()
        }
    });
    all && before == list()
}

fn seen(fetched: &crate::log::Fetched, found: &mut Vec<Seen>) {
    let mut cursor = fetched.batch.cursor(fetched.base_offset);
    while let Some(record) = cursor.next_record().expect("intact") {
        if record.offset >= fetched.position {
            found.push(Seen::of(&record));
        }
    }
}

/// What a reader sees that begins at `from`.
fn all(reader: &mut dyn Reader, at: &TopicPartition, from: Offset) -> Vec<Seen> {
    reader.assign(&[(at.clone(), from)]).expect("assigned");
    let mut found = Vec::new();
    loop {
        let fetched = reader.poll(8 << 20, Duration::ZERO).expect("readable");
        if fetched.is_empty() {
            return found;
        }
        for fetched in &fetched {
            seen(fetched, &mut found);
        }
    }
}

/// The first record at or after `from`, or why there can be none: the log ends before it.
fn first(
    reader: &mut dyn Reader,
    at: &TopicPartition,
    from: Offset,
) -> std::result::Result<Option<Seen>, ErrorKind> {
    reader.assign(&[(at.clone(), from)]).expect("assigned");
    let mut found = Vec::new();
    while found.is_empty() {
        let fetched = reader.poll(1, Duration::ZERO);
        match fetched.map_err(|error| error.kind())?.first() {
            Some(fetched) => seen(fetched, &mut found),
            None => return Ok(None),
        }
    }
    Ok(Some(found.remove(0)))
}

impl Step {
    /// The same with no other places than these.
    fn within(mut self, places: &[usize]) -> Self {
        match &mut self {
            Self::Commit(batches, progress) => {
                let of_progress = progress.iter_mut().map(|(_, at, _)| at);
                for at in batches.iter_mut().map(|(at, _)| at).chain(of_progress) {
                    *at = places[*at % places.len()];
                }
            }
            Self::Fill(at, ..)
            | Self::Refused(at)
            | Self::PurgeBatches(at, _)
            | Self::Purge(at, _) => {
                *at = places[*at % places.len()];
            }
            Self::Clean | Self::Wait(_) | Self::Reopen | Self::Crash => {}
        }
        self
    }
}

/// Steps over all places, over few, or over one.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let places = prop::sample::subsequence((0..PLACES).collect::<Vec<_>>(), 1..=PLACES);
    let places = prop_oneof![
        1 => places,
        1 => (0..PLACES).prop_map(|at| vec![at]),
    ];
    (places, prop::collection::vec(step(), 15..30))
        .prop_map(|(places, steps)| steps.into_iter().map(|step| step.within(&places)).collect())
}

fn number(name: &str, or: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(or, |text| text.parse().expect("a number"))
}

#[test]
fn the_log_is_the_memory_log_whatever_happens() {
    let seed = number("MAREA_SEED", 1);
    let config = Config {
        cases: number("MAREA_CASES", 24) as u32,
        // Each takes some tenths of a second.
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let cases = (any::<bool>(), steps());
    let result = runner.run(&cases, |(with_tail, steps)| {
        let mut pair = Pair::new(if with_tail { 4 << 20 } else { 0 });
        for (number, step) in steps.iter().enumerate() {
            // A commit changes nothing of what was there.
            let all = !matches!(step, Step::Commit(..));
            let checked = pair.step(step).and_then(|()| pair.check(all));
            checked.map_err(|error| match error {
                TestCaseError::Fail(why) => {
                    TestCaseError::fail(format!("after step {number}, {step:?}: {why}"))
                }
                rejected => rejected,
            })?;
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("MAREA_SEED={seed}: {why}\n{steps:?}"),
        Err(error) => panic!("MAREA_SEED={seed}: {error}"),
    }
}
