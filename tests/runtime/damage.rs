//! Damaged rows are rebuilt, whenever the damage is found.

use std::sync::Arc;

use marea::base::{Record, SystemEnv};
use marea::codec::{I64, Utf8};
use marea::dsl::{
    Consumed, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
    StreamBuilder,
};
use marea::runtime::{Application, ErrorPolicies, Policy, Settings, Snapshot};
use marea::{Error, LogClients as _, Result};

use crate::pipeline::memory_log;
use crate::restoring::{DEADLINE, Later, counting, end, put, topics, wait_for};

#[test]
fn damaged_rows_are_rebuilt_from_the_changelogs() {
    let log = memory_log();
    topics(&*log, 1);
    let place = tempfile::tempdir().expect("a directory");
    let start = || {
        let builder = counting(&log, Settings::default()).state_directory(place.path());
        builder.start().expect("started")
    };
    let mut running = start();
    put(&*log, "in", 0, 0..100);
    wait_for(&running, "all is counted", |_| end(&*log, "out") == 100);
    running.close(DEADLINE).expect("closed");
    drop(running);
    let current = place.path().join("test/tasks/counts_0/CURRENT");
    std::fs::remove_file(current).expect("was there");
    let mut running = start();
    wait_for(&running, "rebuilt", |snapshot| {
        snapshot.tasks.iter().any(|task| task.restored >= 100)
    });
    running.close(DEADLINE).expect("closed");
}

/// The column of a task's own rows.
const OWN: &[u8] = b"/task";
const STORE: &[u8] = b"counts";

/// Turns a byte in the first block of each file of a column. Blocks are checked when they are read, so the directory
/// can be opened.
fn damage(tasks: &std::path::Path, column: &[u8]) -> usize {
    let files = std::fs::read_dir(tasks.join("counts_0")).expect("a directory");
    let files = files.map(|file| file.expect("a file").path());
    let rows = files.filter(|path| path.extension().is_some_and(|it| it == "sst"));
    let damaged = rows.filter(|path| {
        let mut bytes = std::fs::read(path).expect("readable");
        let has = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        // Each file names its column; the task's own rows name the stores, too.
        let is_wanted = has(column) && (column == OWN || !has(OWN));
        bytes[10] ^= 0x10;
        is_wanted && std::fs::write(path, bytes).is_ok()
    });
    damaged.count()
}

#[test]
fn damage_that_shows_while_records_are_processed_costs_a_restore_of_its_task() {
    let log = memory_log();
    topics(&*log, 2);
    let place = tempfile::tempdir().expect("a directory");
    let tasks = place.path().join("test/tasks");
    let start = || {
        let builder = counting(&log, Settings::default()).state_directory(place.path());
        builder.start().expect("started")
    };
    let mut running = start();
    (0..2).for_each(|partition| put(&*log, "in", partition, 0..100));
    wait_for(&running, "all is counted", |_| end(&*log, "out") == 200);
    running.close(DEADLINE).expect("closed");
    drop(running);
    for (life, column) in [(2, STORE), (3, OWN)] {
        assert!(damage(&tasks, column) > 0, "there are files of {life}");
        let mut running = start();
        // The records restored, and those before the position where the task began: each makes a record of the changelog.
        let restored = |snapshot: &Snapshot, partition: u32| {
            let mut tasks = snapshot.tasks.iter();
            let task = tasks.find(|task| task.task.partition == partition)?;
            let (_, resumed_at) = task.resumed_at.first()?;
            Some((task.restored.cast_signed(), *resumed_at))
        };
        (0..2).for_each(|partition| put(&*log, "in", partition, 0..100));
        wait_for(&running, "all is counted", |_| {
            end(&*log, "out") == 200 * life
        });
        wait_for(&running, "one is rebuilt", |snapshot| {
            let one = restored(snapshot, 0).is_some_and(|(records, _)| records >= 100);
            // The worker begins again with both: of the other it restores what was committed in this life, if the damage
            // shows after a commit.
            let on_disk = 100 * (life - 1);
            let is_kept = |(records, resumed_at)| records == resumed_at - on_disk;
            one && restored(snapshot, 1).is_some_and(is_kept)
        });
        running.close(DEADLINE).expect("closed");
        drop(running);
        let out = log.records::<String, i64>("out").expect("read");
        let counted = out.iter().filter(|record| record.value == life).count();
        assert_eq!(counted, 200, "each key of both tasks is counted once more");
        assert!(
            !tasks.join("counts_0/damaged").exists(),
            "it is forgotten once rebuilt"
        );
    }
}

/// Rows so old that they are made anew, which begins with deleting what is there: the damage shows before the task
/// works.
#[test]
fn damage_that_shows_in_a_restore_costs_another_one() {
    // They fit into one block: the last row is in a damaged one, too.
    const ROWS: i64 = 40;
    let log = memory_log();
    topics(&*log, 1);
    let place = tempfile::tempdir().expect("a directory");
    let builder = || counting(&log, Settings::default()).state_directory(place.path());
    let mut running = builder().start().expect("started");
    put(&*log, "in", 0, 0..ROWS);
    wait_for(&running, "all is counted", |_| end(&*log, "out") == ROWS);
    running.close(DEADLINE).expect("closed");
    drop(running);
    assert!(damage(&place.path().join("test/tasks"), STORE) > 0);
    // A changelog that has gone on since.
    put(&*log, "test-counts-changelog", 0, 1..2);
    let later = builder().env(Arc::new(Later(SystemEnv::shared(), 48)));
    let mut running = later.start().expect("started");
    put(&*log, "in", 0, 0..ROWS);
    wait_for(&running, "all is counted", |_| {
        end(&*log, "out") == 2 * ROWS
    });
    running.close(DEADLINE).expect("closed");
    let out = log.records::<String, i64>("out").expect("read");
    let counted = out.iter().filter(|record| record.value == 2).count();
    assert_eq!(counted as i64, ROWS, "each key is counted once more");
}

/// Counts, and takes any error of its store for one of the record.
struct Wrapping;

impl Processor for Wrapping {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        context: &mut ProcessorContext<'_, String, i64>,
    ) -> Result<()> {
        let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
        let count = counts.get(&record.key);
        let count = count.map_err(|error| Error::user(error.to_string()))?;
        let count = count.unwrap_or(0) + 1;
        counts.put(&record.key, &count)?;
        context.forward(record.map_value(|_, _| count))
    }
}

#[test]
fn damage_that_a_processor_takes_for_bad_input_skips_no_record() {
    let log = memory_log();
    topics(&*log, 1);
    let place = tempfile::tempdir().expect("a directory");
    let start = || {
        let builder = StreamBuilder::new();
        builder.add_store(Stores::key_value("counts", Utf8, I64));
        builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .process(|| Wrapping, Processed::named("sums").stores(["counts"]))
            .to_with("out", Produced::with(Utf8, I64));
        let topology = builder.build().expect("a topology");
        let settings = Settings {
            policies: ErrorPolicies::all(Policy::Skip),
            ..Settings::default()
        };
        let builder = Application::builder(topology, "test").log(log.clone());
        let builder = builder.settings(settings).state_directory(place.path());
        builder.start().expect("started")
    };
    for life in 1..=2 {
        let mut running = start();
        put(&*log, "in", 0, 0..100);
        wait_for(&running, "all is counted", |_| {
            end(&*log, "out") == 100 * life
        });
        running.close(DEADLINE).expect("closed");
        drop(running);
        assert!(damage(&place.path().join("test/tasks"), STORE) > 0);
    }
    let out = log.records::<String, i64>("out").expect("read");
    assert_eq!(out.iter().filter(|record| record.value == 2).count(), 100);
}
