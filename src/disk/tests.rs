mod flushing;

use std::path::Path;

use super::*;
use crate::base::{ErrorKind, Result};

const A: Column = Column(0);
const B: Column = Column(1);

fn open_with(path: &Path, columns: &[&str], write_ahead: bool) -> Result<Database> {
    Database::open(&Options {
        path: path.to_owned(),
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        budget: &Budget::new(16 << 20),
        write_ahead,
    })
}

fn open(path: &Path) -> Database {
    open_with(path, &["a", "b"], true).expect("opens")
}

fn fill(database: &Database, column: Column, keys: &[&str]) {
    let mut batch = database.batch();
    for key in keys {
        batch.put(column, key.as_bytes(), key.to_uppercase().as_bytes());
    }
    database.write(batch, Durability::Synced).expect("written");
}

fn keys(mut iter: Iter) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some((key, value)) = iter.next().expect("read") {
        let key = String::from_utf8(key.to_vec()).expect("text");
        assert_eq!(value, key.to_uppercase().as_bytes());
        keys.push(key);
    }
    assert!(
        iter.next().expect("read").is_none(),
        "the end stays the end"
    );
    keys
}

#[test]
fn rows_and_unknown_columns_are_there_after_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("deep/er");
    let database = open(&path);
    fill(&database, A, &["x"]);
    fill(&database, B, &["y"]);
    drop(database);
    let database = open_with(&path, &["c", "b"], true).expect("opens");
    assert_eq!(database.column("b"), Some(Column(1)));
    let a = database
        .column("a")
        .expect("an existing column is opened too");
    let mut value = b"old".to_vec();
    assert!(database.get(a, b"x", &mut value).expect("read") && value == b"X");
    assert!(!database.get(Column(0), b"x", &mut value).expect("read") && value.is_empty());
    database.drop_column(a).expect("dropped");
    assert_eq!(database.column("a"), None);
    drop(database);
    assert_eq!(
        open_with(&path, &[], true).expect("opens").column("a"),
        None
    );
}

#[test]
fn ranges_are_read_forward_and_backward() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, A, &["a", "ab", "ac", "b", "c"]);
    let read = |range: Range| keys(database.iter(A, range).expect("made"));
    assert_eq!(read(Range::all()), ["a", "ab", "ac", "b", "c"]);
    assert_eq!(read(Range::prefix("a")), ["a", "ab", "ac"]);
    assert_eq!(read(Range::between("ab", "c")), ["ab", "ac", "b"]);
    assert!(read(Range::between("c", "a")).is_empty());
    let back = database
        .iter_back(A, Range::between("ab", "c"))
        .expect("made");
    assert_eq!(keys(back), ["b", "ac", "ab"]);
    assert_eq!(Range::prefix([1, 0xff]).to, Some(vec![2]));
    assert_eq!(Range::prefix([0xff, 0xff]).to, None);
}

#[test]
fn an_iterator_goes_to_a_key_again_and_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, A, &["a", "ab", "b", "c"]);
    let key = |iter: &mut Iter| iter.next().expect("read").map(|(key, _)| key.to_vec());
    let mut iter = database.iter(A, Range::all()).expect("made");
    for _ in 0..2 {
        iter.seek(b"aa");
        assert_eq!(key(&mut iter), Some(b"ab".to_vec()));
        assert_eq!(key(&mut iter), Some(b"b".to_vec()));
        iter.seek(b"d");
        assert_eq!(key(&mut iter), None);
        assert_eq!(key(&mut iter), None);
    }
    let mut back = database.iter_back(A, Range::all()).expect("made");
    back.seek(b"bb");
    assert_eq!(key(&mut back), Some(b"b".to_vec()));
    assert_eq!(key(&mut back), Some(b"ab".to_vec()));
}

#[test]
fn an_iterator_outlives_the_database_its_column_and_later_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, A, &["a", "b"]);
    let iter = database.iter(A, Range::all()).expect("made");
    fill(&database, A, &["c"]);
    let mut batch = database.batch();
    batch.delete_range(A, b"a", b"z");
    database.write(batch, Durability::Logged).expect("written");
    database.flush().expect("flushed");
    database.compact_range(A);
    database.drop_column(A).expect("dropped");
    drop(database);
    let error = open_with(directory.path(), &[], true).expect_err("the iterator holds the lock");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains("is in use by another process"),
        "{error}"
    );
    assert_eq!(keys(iter), ["a", "b"]);
    open(directory.path());
}

#[test]
fn a_batch_is_applied_in_order_over_columns() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    let mut batch = database.batch();
    batch.put(A, b"k", b"1");
    batch.delete(A, b"k");
    batch.put(B, b"k", b"2");
    assert!(batch.len() == 3 && batch.size_bytes() > 6 && !batch.is_empty());
    database.write(batch, Durability::Logged).expect("written");
    let mut value = Vec::new();
    assert!(!database.get(A, b"k", &mut value).expect("read"));
    assert!(database.get(B, b"k", &mut value).expect("read") && value == b"2");
    assert!(database.size_bytes() > 0);
}

#[test]
fn without_write_ahead_log_a_flush_keeps_all_columns() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open_with(directory.path(), &["a", "b"], false).expect("opens");
    let mut batch = database.batch();
    batch.put(A, b"k", b"1");
    batch.put(B, b"k", b"2");
    database
        .write(batch, Durability::Unlogged)
        .expect("written");
    database.flush().expect("flushed");
    drop(database);
    let database = open_with(directory.path(), &["a", "b"], false).expect("opens");
    let mut value = Vec::new();
    assert!(database.get(A, b"k", &mut value).expect("read") && value == b"1");
    assert!(database.get(B, b"k", &mut value).expect("read") && value == b"2");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    std::fs::write(&path, "x").expect("written");
    let error = open_with(&path, &["a"], true).expect_err("it is a file");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("file"), "{error}");
}

#[test]
fn a_newer_a_foreign_or_a_damaged_format_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    let new = Format {
        magic: *b"marea!!!",
        version: 3,
        features: 0,
    };
    assert_eq!(
        check_format(&database, A, new).expect("written"),
        Opened::New
    );
    let existing = Opened::Existing {
        version: 3,
        features: 0,
    };
    assert_eq!(check_format(&database, A, new).expect("read"), existing);
    let newer = Format { version: 4, ..new };
    assert_eq!(check_format(&database, A, newer).expect("read"), existing);
    let older = Format { version: 2, ..new };
    let error = check_format(&database, A, older).expect_err("newer on disk");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("format 3") && error.message().contains("format 2"));
    let foreign = Format {
        magic: *b"another!",
        ..new
    };
    let error = check_format(&database, A, foreign).expect_err("foreign");
    assert!(error.message().contains("marea!!!"), "{error}");
    let mut row = Vec::new();
    database.get(A, b"format", &mut row).expect("read");
    row[9] ^= 1;
    let mut batch = database.batch();
    batch.put(A, b"format", &row);
    database.write(batch, Durability::Logged).expect("written");
    let error = check_format(&database, A, new).expect_err("damaged");
    assert!(error.message().contains("checksum"), "{error}");
}

#[test]
fn databases_batches_and_iterators_cross_threads() {
    fn crosses<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Database>();
    is_shared::<Budget>();
    crosses::<Iter>();
    crosses::<WriteBatch>();
}

#[test]
fn deleting_files_gives_their_space_back_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    let mut noise = 1_u32;
    for n in 0..64_u8 {
        let value: Vec<u8> = (0..64 << 10)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        let mut batch = database.batch();
        batch.put(A, &[n], &value);
        database.write(batch, Durability::Logged).expect("written");
    }
    database.compact_range(A);
    let before = database.size_bytes();
    assert!(before > 4 << 20);
    let mut iter = database.iter(A, Range::all()).expect("made");
    let mut batch = database.batch();
    batch.delete_range(A, &[0], &[64]);
    database.write(batch, Durability::Synced).expect("written");
    database.delete_files(A, &[0], &[64]).expect("deleted");
    let mut rows = 0;
    while iter.next().expect("still readable").is_some() {
        rows += 1;
    }
    assert_eq!(rows, 64);
    drop(iter);
    let after = database.size_bytes();
    assert!(after * 4 < before, "{after} of {before}");
}

/// A file that ends with the first row that must stay is not one of those that go.
#[test]
fn the_end_of_the_range_of_deleted_files_stays() {
    for last in [0u8, 7, 64] {
        let directory = tempfile::tempdir().expect("a directory");
        let database = open(directory.path());
        let mut batch = database.batch();
        for n in 0..=last {
            batch.put(A, &[n], b"row");
        }
        database.write(batch, Durability::Synced).expect("written");
        // A file that ends with the last row, below the first level: RocksDB deletes no others.
        database.compact_range(A);
        let mut batch = database.batch();
        batch.delete_range(A, &[0], &[last]);
        database.write(batch, Durability::Synced).expect("written");
        database.delete_files(A, &[0], &[last]).expect("deleted");
        let mut value = Vec::new();
        let found = database.get(A, &[last], &mut value);
        assert!(found.expect("read"), "row {last} had to stay");
    }
}

#[test]
fn after_a_failed_write_no_other_succeeds() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, A, &["a"]);
    database
        .0
        .failed
        .set((ErrorKind::Full, "the disk was full".into()))
        .expect("the first");
    let error = database
        .write(database.batch(), Durability::Synced)
        .expect_err("failed before");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(
        error.message().starts_with("the disk was full;"),
        "what the user must see is first: {error}"
    );
    assert_eq!(
        database.flush().expect_err("failed before").kind(),
        ErrorKind::Full
    );
    assert_eq!(
        database.sync().expect_err("failed before").kind(),
        ErrorKind::Full
    );
    let mut value = Vec::new();
    assert!(database.get(A, b"a", &mut value).expect("reading goes on"));
}

/// Names and contents of a directory's files.
fn files(path: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).expect("a directory");
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let content = std::fs::read(entry.path()).expect("read");
        (entry.file_name().to_string_lossy().into_owned(), content)
    };
    entries.map(entry).collect()
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    for (column, flushed) in [
        (None, false),
        (None, true),
        (Some("theirs"), false),
        (Some("theirs"), true),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        let theirs = super::database::Rocks::open(&options, path).expect("made");
        if let Some(column) = column {
            theirs.create_cf(column, &options).expect("made");
        }
        theirs.put(b"k", b"v").expect("written");
        if flushed {
            theirs.flush().expect("flushed");
        }
        drop(theirs);
        let before = files(path);
        for write_ahead in [true, false] {
            let error = open_with(path, &["a", "b"], write_ahead).expect_err("not ours");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(
                error.message().contains("choose another directory"),
                "{error}"
            );
            assert!(files(path) == before, "{column:?} {flushed}: changed");
        }
    }
}

#[test]
fn a_process_that_died_while_it_made_the_directory_is_not_taken_for_another_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    // RocksDB makes its own column first, and ours then.
    drop(super::database::Rocks::open(&options, directory.path()).expect("made"));
    fill(&open(directory.path()), A, &["a"]);
    assert!(open(directory.path()).column("a").is_some());
}

#[test]
fn columns_with_rows_and_no_format_are_not_taken_for_new() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, B, &["x"]);
    let known = Format {
        magic: *b"marea!!!",
        version: 1,
        features: 0,
    };
    let error = check_format(&database, A, known).expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_synced_write_ahead_file_that_is_missing_or_shorter_is_noticed_though_a_newer_one_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(directory.path());
    fill(&database, B, &["old"]);
    // A flush of one column begins a new file; the older one stays for the sake of the other column.
    fill(&database, A, &["flushed"]);
    database.with_column(A, |handle| {
        database.0.rocks.flush_cf(handle).expect("flushed")
    });
    fill(&database, B, &["new"]);
    let logs = |path: &Path| -> Vec<String> {
        let names = files(path)
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty());
        let mut names: Vec<String> = names.map(|(name, _)| name).collect();
        names.retain(|name| name.ends_with(".log"));
        names
    };
    for damage in ["none", "missing", "shorter"] {
        // As after the death of the process: a copy, while it is open.
        let copy = tempfile::tempdir().expect("a directory");
        for (name, bytes) in files(directory.path()) {
            std::fs::write(copy.path().join(name), bytes).expect("copied");
        }
        let all = logs(copy.path());
        assert_eq!(all.len(), 2, "{all:?}");
        let oldest = copy.path().join(&all[0]);
        match damage {
            "missing" => std::fs::remove_file(oldest).expect("removed"),
            "shorter" => {
                let bytes = std::fs::read(&oldest).expect("read");
                std::fs::write(&oldest, &bytes[..bytes.len() - 1]).expect("written");
            }
            _ => {}
        }
        let opened = open_with(copy.path(), &["a", "b"], true);
        if damage == "none" {
            let read = opened.expect("whole").iter(B, Range::all()).expect("made");
            assert_eq!(keys(read), ["new", "old"]);
        } else {
            let error = opened.expect_err(damage);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
        }
    }
}

/// Bytes that this thread has read from files.
#[cfg(target_os = "linux")]
fn read_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").expect("linux tells");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("a number")
}

/// The filter of a file with a million rows is larger than what a small cache takes as one block: it must not
/// be read whole for each key.
#[cfg(target_os = "linux")]
#[test]
fn a_point_read_among_many_rows_reads_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Database::open(&Options {
        path: directory.path().to_owned(),
        columns: vec!["a".to_owned()],
        budget: &Budget::new(8 << 20),
        write_ahead: false,
    });
    let database = database.expect("opens");
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    for part in 0..100 {
        let mut batch = database.batch();
        for number in part * 10_000..(part + 1) * 10_000 {
            batch.put(A, &key(number), &number.to_be_bytes());
        }
        let written = database.write(batch, Durability::Unlogged);
        written.expect("written");
    }
    database.flush().expect("flushed");
    database.compact_range(A);
    let before = read_bytes();
    let mut value = Vec::new();
    for number in (0..2_000_000).step_by(1_000) {
        let found = database.get(A, &key(number), &mut value).expect("read");
        assert_eq!(found, number < 1_000_000);
    }
    let read = (read_bytes() - before) / 2_000;
    assert!(read < 64 << 10, "{read} bytes a read");
}

#[test]
fn many_sorted_keys_are_read_at_once() {
    let place = tempfile::tempdir().expect("a directory");
    let database = open(place.path());
    fill(&database, A, &["a", "c", "d"]);
    database.flush().expect("flushed");
    fill(&database, A, &["e"]);
    // Whether or not the blocks stay in the cache.
    for _ in 0..20 {
        let mut found = Vec::new();
        let keys: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        let read = database.get_sorted(A, &keys, &mut |value| {
            found.push(value.map(<[u8]>::to_vec));
        });
        read.expect("read");
        let text = |value: &str| Some(value.as_bytes().to_vec());
        assert_eq!(found, [text("A"), None, text("C"), text("D"), text("E")]);
    }
}
