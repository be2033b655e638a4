//! State is exactly what the changelogs contain.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use marea::disk::{Budget, Database, Durability, Options, Range};
use marea::log::Batch;

use crate::process::{Ended, Place, finish, readings, run, slower_and_slower, undisturbed};

/// A run that is killed in the middle, so that there is more state than after a drain.
fn half_a_run() -> Place {
    let mut halves = slower_and_slower(4_000).filter_map(|rate| half_at_rate(&rate));
    halves.next().expect("a run that is slow enough")
}

/// `None` if it was over before it could be killed.
fn half_at_rate(rate: &str) -> Option<Place> {
    let place = Place::new();
    let mut child = place
        .on_file(&readings(), &["--rate", rate])
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    // The first windows have closed, and the others are in progress.
    let closed = |line: &String| line.contains("  averages ") && !line.contains("  averages 0 ");
    let says = lines.find(closed);
    child.kill().expect("a child");
    let ended = finish(child);
    if ended.code == Some(0) {
        return None;
    }
    assert_eq!(ended.code, None, "killed, not ended: {ended:#?}");
    says.map(|_| place)
}

fn rows(ended: &Ended) -> u64 {
    let line = ended
        .out
        .lines()
        .find(|line| line.starts_with("equal: "))
        .expect("equal");
    let count = line.split(' ').rev().nth(1).expect("rows");
    count.parse().expect("a number")
}

#[test]
fn state_is_rebuilt_equal_and_the_run_goes_on() {
    let expected = undisturbed();
    let place = half_a_run();
    let ended = run(place.command(&["--replay"])).well();
    assert!(rows(&ended) > 10, "{}", ended.out);
    let before: Vec<_> = ended
        .out
        .lines()
        .filter(|line| line.contains("checksum"))
        .collect();
    let (before, after) = before.split_at(before.len() / 2);
    assert_eq!(before, after);
    run(place.on_file(&readings(), &[])).well();
    assert_eq!(place.results(), expected);
}

#[test]
fn a_state_directory_deleted_by_hand_is_rebuilt() {
    let expected = undisturbed();
    let place = half_a_run();
    let first = run(place.command(&["--replay"])).well();
    std::fs::remove_dir_all(place.path("data/state")).expect("deleted");
    let second = run(place.command(&["--replay"])).well();
    let sums = |ended: &Ended| -> Vec<String> {
        let lines = ended.out.lines().filter(|line| line.contains("checksum"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(sums(&first), sums(&second));
    std::fs::remove_dir_all(place.path("data/state")).expect("deleted");
    run(place.on_file(&readings(), &[])).well();
    assert_eq!(place.results(), expected);
}

/// The end of a batch's key: its base offset.
const OFFSET_BYTES: usize = 8;
/// The end of a window's key on the changelog.
const START_BYTES: usize = 8;
const SEQUENCE_BYTES: usize = 4;

/// Flips a bit of a row of an ocean's sums that the state still has, in the changelog's file; `mended` says
/// whether the batch's checksum is made to match, so that only a comparison can find it.
fn turn_a_bit(place: &Place, mended: bool) {
    let columns = [
        "meta",
        "topics",
        "partitions",
        "batches",
        "offsets",
        "groups",
    ];
    let database = Database::open(&Options {
        path: place.path("data/log"),
        columns: columns.map(str::to_owned).to_vec(),
        budget: &Budget::new(32 << 20),
        write_ahead: true,
    })
    .expect("the log's database");
    let batches = database.column("batches").expect("the column of batches");
    // By changelog and key: the last row, unless it has been deleted since.
    let mut last = BTreeMap::new();
    let mut iter = database.iter(batches, Range::all()).expect("batches");
    while let Some((key, bytes)) = iter.next().expect("a batch") {
        let batch = Batch::from_bytes(bytes.to_vec()).expect("intact");
        let mut cursor = batch.cursor(0);
        while let Some(record) = cursor.next_record().expect("intact") {
            let changelog = key[..key.len() - OFFSET_BYTES].to_vec();
            let row_key = record.key.unwrap_or_default().to_vec();
            // Only rows of sums are 56 bytes long.
            match record.value.filter(|value| value.len() == 56) {
                Some(value) => {
                    let row = (key.to_vec(), bytes.to_vec(), value.to_vec());
                    last.insert((changelog, row_key), row);
                }
                None => drop(last.remove(&(changelog, row_key))),
            }
        }
    }
    // Old windows expire without a record on the changelog; the newest of all does not.
    let start = |row_key: &[u8]| {
        let rest = row_key.len().checked_sub(START_BYTES + SEQUENCE_BYTES)?;
        row_key[rest..].first_chunk::<START_BYTES>().copied()
    };
    let youngest = last.into_iter().max_by_key(|((_, key), _)| start(key));
    let ((_, row_key), (key, mut bytes, value)) = youngest.expect("a row of sums");
    // As records are stored in a batch: the key, one more than the value's length, the value.
    let record = [&row_key[..], &[value.len() as u8 + 1], &value].concat();
    let place = bytes
        .windows(record.len())
        .rposition(|window| window == record);
    // The last byte is the lowest of a sum.
    bytes[place.expect("the row") + record.len() - 1] ^= 1;
    if mended {
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
    let mut batch = database.batch();
    batch.put(batches, &key, &bytes);
    database.write(batch, Durability::Synced).expect("written");
    database.flush().expect("flushed");
}

#[test]
fn a_byte_of_a_changelog_turned_makes_the_comparison_fail() {
    let place = half_a_run();
    run(place.command(&["--replay"])).well();
    turn_a_bit(&place, true);
    let ended = run(place.command(&["--replay"]));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.out.contains("DIFFERENT: "), "{}", ended.out);
    assert!(ended.out.contains(" ocean-sums"), "{}", ended.out);
    assert!(ended.err.contains("differs"), "{}", ended.err);
}

#[test]
fn a_byte_that_rotted_on_the_disk_is_found_by_its_checksum_and_named() {
    let place = half_a_run();
    turn_a_bit(&place, false);
    std::fs::remove_dir_all(place.path("data/state")).expect("deleted");
    let ended = run(place.on_file(&readings(), &[]));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(
        ended.err.contains("ocean-ocean-sums-changelog"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("fails its checksum"), "{}", ended.err);
}
