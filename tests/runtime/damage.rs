//! Damaged rows are rebuilt, whenever the damage is found.

use marea::LogClients as _;
use marea::runtime::{Settings, Snapshot};

use crate::pipeline::memory_log;
use crate::restoring::{DEADLINE, counting, end, put, topics, wait_for};

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

/// Turns a byte of each file of rows whose content has the word, in the first block. Blocks are checked when they
/// are read, so the directory can be opened.
fn damage(tasks: &std::path::Path, word: &[u8]) -> usize {
    let files = std::fs::read_dir(tasks.join("counts_0")).expect("a directory");
    let files = files.map(|file| file.expect("a file").path());
    let rows = files.filter(|path| path.extension().is_some_and(|it| it == "sst"));
    let damaged = rows.filter(|path| {
        let mut bytes = std::fs::read(path).expect("readable");
        let has_word = bytes.windows(word.len()).any(|part| part == word);
        bytes[10] ^= 0x10;
        has_word && std::fs::write(path, bytes).is_ok()
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
    // The rows of the store, then those of the task itself. Names of columns stand in each file.
    for (life, column) in [(2, b"counts".as_slice()), (3, b"/task")] {
        assert!(damage(&tasks, column) > 0, "there are files of {life}");
        let mut running = start();
        let restored = |snapshot: &Snapshot, partition: u32| {
            let mut tasks = snapshot.tasks.iter();
            let task = tasks.find(|task| task.task.partition == partition);
            task.map(|task| task.restored)
        };
        (0..2).for_each(|partition| put(&*log, "in", partition, 0..100));
        wait_for(&running, "all is counted", |_| {
            end(&*log, "out") == 200 * life
        });
        wait_for(&running, "one is rebuilt", |snapshot| {
            let one = restored(snapshot, 0).is_some_and(|records| records >= 100);
            one && restored(snapshot, 1) == Some(0)
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
