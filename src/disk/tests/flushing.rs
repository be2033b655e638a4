//! RocksDB flushes by itself when a column's buffer is full, and a crash may come at any time after: what is
//! on the disk must be a prefix of the writes over all columns.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

const PATH: &str = "MAREA_TEST_FLUSHING";
const SPARSE: Column = Column(1);
const DEADLINE: Duration = Duration::from_secs(60);

fn open_both(path: &Path) -> Database {
    open_with(path, &["dense", "sparse"], false).expect("opens")
}

/// Whether a flush that nobody requested is complete. Its file alone does not prove it: the file exists before the
/// database knows that it belongs to it.
fn has_flushed(database: &Database) -> bool {
    (database.figure(A, Figure::FileBytes)).is_some_and(|bytes| bytes > 0)
}

/// Each write counts in both columns; one has a kilobyte more, so that its buffer is full first.
fn write(database: &Database, number: u32) {
    let mut batch = database.batch();
    let mut row = vec![number as u8; 1_024];
    row.extend(number.to_be_bytes());
    batch.put(A, &number.to_be_bytes(), &row);
    batch.put(SPARSE, b"written", &number.to_be_bytes());
    database
        .write(batch, Durability::Unlogged)
        .expect("written");
}

/// The other half of the next test. Alone it has nothing to do.
#[test]
#[expect(clippy::disallowed_methods, reason = "its clock is the real one")]
fn child_that_writes_until_a_column_is_flushed() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let path = Path::new(&path);
    let database = open_both(path);
    let since = Instant::now();
    let mut number = 0;
    while !has_flushed(&database) {
        (0..512).for_each(|_| {
            number += 1;
            write(&database, number);
        });
        assert!(since.elapsed() < DEADLINE, "RocksDB flushes a full buffer");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Some that it does not contain.
    for more in 1..=100 {
        write(&database, number + more);
    }
    std::process::abort();
}

#[test]
fn a_flush_of_one_column_brings_the_others_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let child = "disk::tests::flushing::child_that_writes_until_a_column_is_flushed";
    let ended = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", child])
        .env(PATH, directory.path())
        .output()
        .expect("the child runs");
    assert_eq!(ended.status.code(), None, "aborted: {ended:?}");
    let database = open_both(directory.path());
    let mut last = 0;
    let mut rows = database.iter(A, Range::all()).expect("rows");
    while let Some((key, _)) = rows.next().expect("a row") {
        last += 1;
        assert_eq!(key, u32::to_be_bytes(last), "no row is missing before it");
    }
    assert!(last > 500, "a buffer of rows is on the disk: {last}");
    let mut written = Vec::new();
    let found = database.get(SPARSE, b"written", &mut written);
    assert!(found.expect("read"), "the other column was brought along");
    assert_eq!(written, last.to_be_bytes(), "both end at the same write");
}
