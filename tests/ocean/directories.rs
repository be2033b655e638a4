//! Data directories that cannot be used: each gives a message that names the directory and the remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use marea::disk::{Budget, Database, Durability, Options};

use crate::mounted::Mounted;
use crate::process::{Ended, Place, finish, readings, resumed, run};

fn refused(place: &Place, message: &str) -> Ended {
    let ended = run(place.on_file(&readings(), &[]));
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:#?}");
    assert!(ended.err.contains(message), "{message}: {}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "one line: {}", ended.err);
    ended
}

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn a_directory_without_permission() {
    let place = Place::new();
    let data = place.path("data");
    fs::create_dir(&data).expect("a directory");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).expect("chmod");
    let mut command = place.on_file(&readings(), &[]);
    if fs::write(data.join("probe"), b"").is_ok() {
        // Root may write everywhere, so another user has to try, who must be able to read the example and the
        // input.
        fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755))
            .expect("chmod");
        let (program, input) = (place.path("ocean_aggregates"), place.path("readings.gz"));
        fs::copy(command.get_program(), &program).expect("copied");
        fs::copy(readings(), &input).expect("copied");
        command = place.program(&program, &input);
        command.uid(NOBODY).gid(NOBODY);
    }
    let ended = run(command);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.err.contains("grant this user read and write access"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("data"), "{}", ended.err);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[test]
fn a_read_only_directory() {
    let place = Place::new();
    let Some(mounted) = Mounted::tmpfs(&place) else {
        println!("SKIPPED: no permission to mount a file system");
        return;
    };
    mounted.read_only();
    let ended = refused(&place, "read-only");
    assert_eq!(ended.code, Some(2), "{ended:#?}");
}

#[test]
fn a_file_where_the_directory_should_be() {
    let place = Place::new();
    fs::write(place.path("data"), b"").expect("a file");
    let ended = refused(&place, "data");
    assert_eq!(ended.code, Some(2), "{ended:#?}");
}

#[test]
fn a_directory_in_use() {
    let place = Place::new();
    let mut first = place
        .on_file(&readings(), &["--rate", "1000"])
        .spawn()
        .expect("starts");
    let (_lines, found) = resumed(&mut first);
    assert!(found.is_some(), "it says where it goes on");
    refused(&place, "is in use by another process");
    first.kill().expect("a child");
    finish(first);
    // The lock ended with the process.
    run(place.on_file(&readings(), &[])).well();
}

/// Rewrites the row with the format version of a database.
fn of_version(path: &Path, columns: &[String], version: u8) {
    let budget = Budget::new(8 << 20);
    let database = Database::open(&Options {
        path: path.to_owned(),
        columns: columns.to_vec(),
        budget: &budget,
        write_ahead: true,
    })
    .expect("a database");
    let meta = database.column("meta").expect("the column");
    let mut row = Vec::new();
    assert!(
        database.get(meta, b"format", &mut row).expect("read"),
        "a format row"
    );
    let length = row.len();
    row[8] = version;
    let checksum = crc32c::crc32c(&row[..length - 4]);
    row[length - 4..].copy_from_slice(&checksum.to_le_bytes());
    let mut batch = database.batch();
    batch.put(meta, b"format", &row);
    database.write(batch, Durability::Synced).expect("written");
    database.flush().expect("flushed");
}

#[test]
fn a_log_of_a_newer_format() {
    let place = Place::new();
    run(place.on_file(&readings(), &[])).well();
    let columns = [
        "meta",
        "topics",
        "partitions",
        "batches",
        "offsets",
        "groups",
    ];
    of_version(&place.path("data/log"), &columns.map(str::to_owned), 9);
    refused(&place, "format 9");
}

#[test]
fn a_damaged_log_is_refused_with_a_cure_that_works() {
    let place = Place::new();
    run(place.on_file(&readings(), &[])).well();
    let log = place.path("data/log");
    let entries = fs::read_dir(&log).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let newest = names.filter(|path| path.extension().is_some_and(|name| name == "log"));
    let newest = newest.max().expect("a write-ahead log");
    let mut bytes = fs::read(&newest).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).expect("written");
    refused(&place, "--repair");
    let ended = run(place.on_file(&readings(), &["--repair"]));
    ended.well();
    // What was read of the input is in the log too: the same command reads the rest of it again.
    run(place.on_file(&readings(), &[])).well();
}
