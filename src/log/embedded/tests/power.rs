//! What the death of the machine, a broken disk or a wrong hand may do to the files: the log opens with what
//! was promised, or is refused with a cure that works.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::base::{ErrorKind, SystemEnv};
use crate::log::embedded::{Fsync, Repair};
use crate::log::{CommittedOffset, GroupCommit, Isolation, TopicSpec};

const COMMITS: Offset = 40;
/// After so many commits there are files of rows; after so many the log was synced for the last time, unless
/// it syncs each commit.
const FLUSHED: Offset = 10;
const SYNCED: Offset = 20;

fn with(path: &Path, fsync: Fsync) -> crate::base::Result<EmbeddedLog> {
    let settings = Settings {
        fsync,
        tail_bytes: 0,
        ..settings(path)
    };
    EmbeddedLog::open(settings, SystemEnv::shared())
}

fn text(offset: Offset) -> String {
    format!("{offset}:{}", "x".repeat(400))
}

/// Commit `n`: a record to each of two partitions, and a group that has read both.
fn commit_number(log: &EmbeddedLog, n: Offset) {
    let appends = (0..2).map(|p| (at(p), batch(&[(None, Some(&text(n)))])));
    let read = |p| {
        let committed = CommittedOffset {
            offset: n + 1,
            metadata: String::new(),
        };
        (at(p), committed)
    };
    let group = GroupCommit {
        group: "g".into(),
        token: None,
        offsets: (0..2).map(read).collect(),
    };
    let whole = Commit {
        appends: appends.collect(),
        group: Some(group),
    };
    commit(log, whole).expect("committed");
}

fn copied(from: &Path) -> PathBuf {
    let copy = directory();
    for name in files(from) {
        fs::copy(from.join(&name), copy.join(&name)).expect("copied");
    }
    copy
}

fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Brings all rows to files. RocksDB deletes the file of the write-ahead log that is no longer needed in the
/// background, perhaps after the answer: a copy must neither stumble over it nor contain it.
fn flush(log: &EmbeddedLog, path: &Path) {
    let before = write_ahead(path);
    log.shared.database.flush().expect("flushed");
    let has_gone = || write_ahead(path).iter().all(|name| !before.contains(name));
    assert!(eventually(&*SystemEnv::shared(), has_gone), "{before:?}");
}

/// The directory as the death of the process leaves it.
fn left(fsync: Fsync) -> PathBuf {
    let path = directory();
    let log = with(&path, fsync).expect("opens");
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    for n in 0..COMMITS {
        match n {
            FLUSHED => flush(&log, &path),
            SYNCED => log.shared.sync().expect("synced"),
            _ => {}
        }
        commit_number(&log, n);
    }
    copied(&path)
}

/// The offsets that can be read of each partition, and its end. What is read is what was written.
fn readable(log: &EmbeddedLog, p: u32) -> crate::base::Result<(BTreeSet<Offset>, Offset)> {
    let mut reader = log.reader(1 << 20)?;
    reader.assign(&[(at(p), 0)])?;
    let mut offsets = BTreeSet::new();
    loop {
        let fetched = reader.poll(usize::MAX, Duration::ZERO)?;
        if fetched.is_empty() {
            return Ok((offsets, log.end_offset(&at(p), Isolation::ReadCommitted)?));
        }
        for fetched in fetched {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                assert_eq!(record.value, Some(text(record.offset).as_bytes()));
                offsets.insert(record.offset);
            }
        }
    }
}

fn committed(log: &EmbeddedLog, p: u32) -> Offset {
    let committed = log.committed("g", &[at(p)]).expect("known");
    committed[0]
        .as_ref()
        .map_or(0, |committed| committed.offset)
}

/// How many commits there are; all of each of them.
fn commits(log: &EmbeddedLog) -> crate::base::Result<Offset> {
    if log.topic("t")?.is_none() {
        return Ok(0);
    }
    let (offsets, end) = readable(log, 0)?;
    for p in 0..2 {
        assert_eq!(readable(log, p)?, ((0..end).collect(), end), "{p}");
        assert_eq!(committed(log, p), end, "{p}");
    }
    assert_eq!(offsets.len() as Offset, end);
    Ok(end)
}

/// What is left after a repair: it says what is missing, and nobody passes over records that come now.
fn check_repaired(path: &Path, fsync: Fsync, done: &Repair, what: &str) {
    let log = with(path, fsync).unwrap_or_else(|error| panic!("{what}: not repaired: {error}"));
    if log.topic("t").expect("known").is_none() {
        assert!(
            !done.problems.is_empty() || done.lost_commits > 0,
            "{what}: {done}"
        );
        return;
    }
    for p in 0..2 {
        let (offsets, end) = readable(&log, p).unwrap_or_else(|error| panic!("{what}: {error}"));
        for missing in (0..end).filter(|offset| !offsets.contains(offset)) {
            let said = done
                .lost_records
                .iter()
                .any(|lost| lost.partition == at(p) && (lost.from..lost.to).contains(&missing));
            assert!(said, "{what}: {missing} is missing in {p}: {done}");
        }
        let next = committed(&log, p);
        assert!(next <= end, "{what}: {next} {end}");
        let appends = vec![(at(p), batch(&[(None, Some(&text(end)))]))];
        let group = None;
        commit(&log, Commit { appends, group }).expect("goes on");
        let (offsets, _) = readable(&log, p).expect("reads");
        assert!(offsets.contains(&end), "{what}");
    }
}

/// Opens what is left; `least` commits are promised.
fn opens_or_can_be_repaired(path: &Path, fsync: Fsync, least: Offset, what: &str) -> bool {
    let found = with(path, fsync).and_then(|log| commits(&log));
    let error = match found {
        Ok(end) => {
            assert!(end >= least, "{what}: {end} commits");
            let again = with(path, fsync).and_then(|log| commits(&log));
            assert_eq!(again.expect("opens again"), end, "{what}");
            return true;
        }
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    let again = with(path, fsync).and_then(|log| commits(&log));
    again.expect_err("it was damaged a moment ago");
    let env = SystemEnv::shared();
    let done = EmbeddedLog::repair(path, &*env);
    let done = done.unwrap_or_else(|error| panic!("{what}: cannot be repaired: {error}"));
    let kept = done.damaged.as_ref();
    let kept = kept.unwrap_or_else(|| panic!("{what}: there was damage: {error}"));
    assert!(
        !files(kept).is_empty(),
        "{what}: the damaged files are kept"
    );
    check_repaired(path, fsync, &done, what);
    let again = EmbeddedLog::repair(path, &*env).expect("well");
    assert_eq!(again, Repair::default(), "{what}");
    false
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The file is cut at this many thousandths of its length.
    Cut(usize),
    /// A bit is flipped at this many thousandths of its length.
    Flip(usize),
    Gone,
}

fn damage(file: &Path, damage: Damage) {
    let mut bytes = fs::read(file).expect("read");
    match damage {
        Damage::Gone => return fs::remove_file(file).expect("removed"),
        Damage::Cut(part) => bytes.truncate(bytes.len() * part / 1_000),
        Damage::Flip(part) => {
            let at = bytes.len() * part / 1_000;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x10;
            }
        }
    }
    fs::write(file, bytes).expect("written");
}

/// Damages each file in many ways; returns how many of them opened.
fn damage_everything(fsync: Fsync, least: Offset) -> (usize, usize) {
    let path = left(fsync);
    let (mut opened, mut all) = (0, 0);
    for name in files(&path) {
        let aside = ["LOG", "LOCK", "IDENTITY", "OPTIONS"];
        let (cuts, flips): (&[usize], &[usize]) = match () {
            () if name.ends_with(".log") => (&[0, 330, 500, 999], &[0, 100, 480, 900]),
            () if aside.iter().any(|aside| name.starts_with(aside)) => (&[], &[]),
            () => (&[0, 400], &[300, 990]),
        };
        let cuts = cuts.iter().map(|part| Damage::Cut(*part));
        let flips = flips.iter().map(|part| Damage::Flip(*part));
        for how in cuts.chain(flips).chain([Damage::Gone]) {
            let copy = copied(&path);
            damage(&copy.join(&name), how);
            let what = format!("{name} {how:?}");
            opened += usize::from(opens_or_can_be_repaired(&copy, fsync, least, &what));
            all += 1;
        }
    }
    (opened, all)
}

#[test]
fn with_every_commit_synced_all_is_there_or_damage_is_refused_and_can_be_repaired() {
    let (opened, all) = damage_everything(Fsync::EveryCommit, COMMITS);
    assert!(0 < opened && opened < all, "{opened} of {all}");
}

#[test]
fn with_relaxed_fsync_all_that_was_synced_is_there_or_damage_is_refused_and_can_be_repaired() {
    let (opened, all) = damage_everything(Fsync::EveryMs(600_000), SYNCED);
    assert!(0 < opened && opened < all, "{opened} of {all}");
}

fn write_ahead(path: &Path) -> Vec<String> {
    let mut names = files(path);
    names.retain(|name| name.ends_with(".log"));
    names
}

#[test]
fn a_damaged_end_is_lost_with_relaxed_fsync_and_the_warning_says_how_much() {
    let path = left(Fsync::Never);
    let names = write_ahead(&path);
    let last = path.join(names.last().expect("one"));
    damage(&last, Damage::Flip(900));
    let (end, said) = heard::warnings(|| {
        // Also for who asks for more from now on: it was relaxed when the records were written.
        commits(&with(&path, Fsync::EveryCommit).expect("opens")).expect("reads")
    });
    assert!((SYNCED..COMMITS).contains(&end), "{end}");
    for part in [
        format!("lost_commits={}", COMMITS - end),
        format!("kept_commits={end}"),
        format!("path={}", path.display()),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let (again, said) =
        heard::warnings(|| commits(&with(&path, Fsync::Never).expect("opens")).expect("reads"));
    assert_eq!((again, said.as_str()), (end, ""), "once");
}

#[test]
fn who_worked_with_relaxed_fsync_and_died_alone_lost_nothing_and_hears_nothing() {
    let path = left(Fsync::Never);
    let (end, said) =
        heard::warnings(|| commits(&with(&path, Fsync::Never).expect("opens")).expect("reads"));
    assert_eq!((end, said.as_str()), (COMMITS, ""));
}

/// As when the machine dies while rows are brought to files: a file of the write-ahead log was closed and the
/// next one begun, and the first is needed still.
fn left_with_two_files() -> (PathBuf, Vec<String>) {
    let path = directory();
    // What names the log is synced when it is made.
    drop(with(&path, Fsync::Never).expect("opens"));
    let log = with(&path, Fsync::Never).expect("opens");
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    for n in 0..SYNCED {
        commit_number(&log, n);
    }
    let copy = copied(&path);
    log.shared.database.flush().expect("flushed");
    for n in SYNCED..COMMITS {
        commit_number(&log, n);
    }
    let first = write_ahead(&copy);
    for name in write_ahead(&path) {
        if !first.contains(&name) {
            fs::copy(path.join(&name), copy.join(&name)).expect("copied");
        }
    }
    fs::copy(path.join("marea.point"), copy.join("marea.point")).expect("copied");
    let names = write_ahead(&copy);
    assert_eq!(names.len(), 2, "{names:?}");
    (copy, names)
}

/// Nothing was synced, so anything may be missing: but never with something after it.
#[test]
fn no_commit_is_there_without_those_before_it() {
    let (path, names) = left_with_two_files();
    assert_eq!(
        commits(&with(&copied(&path), Fsync::Never).expect("opens")).expect("reads"),
        COMMITS
    );
    let cuts = [0, 1, 130, 500, 999].map(Damage::Cut);
    let flips = [0, 500, 999].map(Damage::Flip);
    for how in cuts.into_iter().chain(flips).chain([Damage::Gone]) {
        for (number, name) in names.iter().enumerate() {
            let copy = copied(&path);
            damage(&copy.join(name), how);
            let what = format!("file {number} {how:?}");
            let log = with(&copy, Fsync::Never);
            let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
            let end = commits(&log).expect("reads");
            let most = if number == 0 { SYNCED } else { COMMITS };
            assert!(end <= most, "{what}: {end}");
        }
    }
}

#[test]
fn the_newest_of_several_files_is_missed_where_all_was_synced() {
    let path = left(Fsync::EveryCommit);
    let names = write_ahead(&path);
    for name in names {
        fs::write(path.join(name), "").expect("written");
    }
    let error = with(&path, Fsync::EveryCommit).expect_err("commits are missing");
    let text = error.to_string();
    for part in [
        "40 commits",
        "are missing",
        "repair",
        &path.display().to_string(),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_repair_that_was_interrupted_goes_on() {
    let path = left(Fsync::EveryCommit);
    let names = write_ahead(&path);
    damage(&path.join(&names[0]), Damage::Flip(500));
    let env = SystemEnv::shared();
    let whole = copied(&path);
    EmbeddedLog::repair(&whole, &*env).expect("repaired");
    let end = commits(&with(&whole, Fsync::EveryCommit).expect("opens")).expect("reads");
    assert!((FLUSHED..COMMITS).contains(&end), "{end}");
    let repaired = files(&whole);
    // Some of the old files have moved, none of the new; all of the old, and some of the new.
    for (part, above) in [
        ("repair.ready", &names[..]),
        ("repair.moving", &repaired[..1]),
    ] {
        let broken = directory();
        fs::create_dir(broken.join(part)).expect("made");
        fs::create_dir(broken.join("damaged.1")).expect("made");
        for name in &repaired {
            fs::copy(whole.join(name), broken.join(part).join(name)).expect("copied");
        }
        for name in above.iter().filter(|name| *name != "CURRENT") {
            let from = if part == "repair.ready" {
                &path
            } else {
                &whole
            };
            fs::rename(broken.join(part).join(name), broken.join(name)).ok();
            fs::copy(from.join(name), broken.join(name)).expect("copied");
        }
        if part == "repair.ready" {
            for name in &repaired {
                fs::copy(whole.join(name), broken.join(part).join(name)).expect("copied");
            }
        }
        let error = with(&broken, Fsync::EveryCommit).expect_err("half of a repair");
        assert!(error.message().contains("run the repair again"), "{error}");
        let done = EmbeddedLog::repair(&broken, &*env).expect("repaired");
        assert!(
            done.damaged
                .is_some_and(|damaged| damaged.ends_with("damaged.1"))
        );
        let log = with(&broken, Fsync::EveryCommit).expect("opens");
        assert_eq!(commits(&log).expect("reads"), end);
    }
}

#[test]
fn nothing_is_repaired_where_nothing_is_broken_or_there_is_no_log() {
    let env = SystemEnv::shared();
    let path = left(Fsync::EveryCommit);
    let incarnation = with(&path, Fsync::EveryCommit)
        .expect("opens")
        .incarnation();
    assert_eq!(
        EmbeddedLog::repair(&path, &*env).expect("well"),
        Repair::default()
    );
    let log = with(&path, Fsync::EveryCommit).expect("opens");
    assert_eq!(log.incarnation(), incarnation);
    let error = EmbeddedLog::repair(&path, &*env).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    for empty in [directory(), directory().join("nowhere")] {
        let error = EmbeddedLog::repair(&empty, &*env).expect_err("no log");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[test]
fn a_group_that_is_ahead_of_what_is_left_passes_over_nothing_that_comes() {
    let path = directory();
    let log = with(&path, Fsync::EveryCommit).expect("opens");
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    commit_number(&log, 0);
    let ahead = CommittedOffset {
        offset: 9,
        metadata: String::new(),
    };
    let group = Some(GroupCommit {
        group: "g".into(),
        token: None,
        offsets: vec![(at(0), ahead)],
    });
    let appends = Vec::new();
    commit(&log, Commit { appends, group }).expect("committed");
    log.shared.database.flush().expect("flushed");
    drop(log);
    let names = files(&path);
    let list = names.iter().find(|name| name.starts_with("MANIFEST"));
    damage(&path.join(list.expect("one")), Damage::Cut(0));
    let done = EmbeddedLog::repair(&path, &*SystemEnv::shared()).expect("repaired");
    let moved: Vec<_> = done.moved_back.iter().map(|it| (it.from, it.to)).collect();
    assert_eq!(moved, [(9, 1)], "{done}");
    check_repaired(&path, Fsync::EveryCommit, &done, "ahead");
    let log = with(&path, Fsync::EveryCommit).expect("opens");
    assert_eq!(committed(&log, 0), 1);
    let next: Vec<_> = read(&log, 1).iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(next, [1], "what came after the repair");
}
