//! A full disk: an exit, a message, and the same file once there is space again.

use std::fs;

use crate::mounted::Mounted;
use crate::process::{Place, readings, run, undisturbed};

#[test]
fn the_same_command_finishes_after_space_has_returned() {
    let place = Place::new();
    let Some(_mounted) = Mounted::tmpfs(&place) else {
        println!("SKIPPED: no permission to mount a file system of 64 MiB");
        return;
    };
    let expected = undisturbed();
    // From no space at all to space for a part of the run.
    let ballast = place.path("data/ballast");
    let mut full = 0;
    for room in [0, 1, 3, 6] {
        fill(&ballast, (64 - room) << 20);
        let ended = run(place.on_file(&readings(), &[]));
        if ended.code == Some(0) {
            continue;
        }
        full += 1;
        assert_eq!(ended.code, Some(1), "{room} MiB: {ended:#?}");
        assert!(ended.err.contains("full"), "{room} MiB: {ended:#?}");
        fs::remove_file(&ballast).expect("removed");
    }
    assert!(full >= 2, "the disk was full {full} times");
    let _ = fs::remove_file(&ballast);
    run(place.on_file(&readings(), &[])).well();
    assert_eq!(place.results(), expected);
}

/// Writes until there are `bytes`, or the disk is full.
fn fill(path: &std::path::Path, bytes: usize) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    let block = vec![7; 1 << 16];
    for _ in 0..bytes / block.len() {
        if file.write_all(&block).is_err() {
            return;
        }
    }
}
