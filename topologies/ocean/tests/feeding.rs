//! Lines of files, and the feeder: each line once, whatever happens in between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use marea::LogClients;
use marea::base::{ErrorKind, SystemEnv, TopicPartition};
use marea::log::{CommittedOffset, Isolation, Log, MemoryLog};
use ocean::feed::{Feeder, Next, Progress, Settings, Source};
use ocean::lines::Lines;
use ocean::topology::{DEAD_LETTERS, LATEST_MS, READINGS, topics};
use tempfile::TempDir;

const PARTITIONS: u32 = 3;

struct File {
    directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, content: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Self { directory, path }
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn rest(lines: &mut Lines, limit: usize) -> Vec<(Next, String)> {
    let (mut found, mut line) = (Vec::new(), Vec::new());
    loop {
        match lines.next(&mut line, limit).unwrap() {
            Next::End => return found,
            next => found.push((next, String::from_utf8(line.clone()).unwrap())),
        }
    }
}

fn texts(lines: &mut Lines) -> Vec<String> {
    rest(lines, 1_000)
        .into_iter()
        .map(|(_, text)| text)
        .collect()
}

#[test]
fn lines_are_read_gzipped_or_not_with_and_without_a_last_end() {
    for content in ["a\n\nb c\n", "a\n\nb c"] {
        for bytes in [content.as_bytes().to_vec(), gzip(content.as_bytes())] {
            // The content decides the format, not the name.
            let file = File::new("lines.txt", &bytes);
            let mut lines = Lines::open(&file.path, None).unwrap();
            assert_eq!(texts(&mut lines), ["a", "", "b c"]);
            assert_eq!(lines.position().offset, 3);
            assert_eq!(lines.done(), 1.0);
        }
    }
    let empty = File::new("empty", b"");
    assert!(texts(&mut Lines::open(&empty.path, None).unwrap()).is_empty());
}

#[test]
fn several_gzip_members_are_one_file() {
    let mut bytes = gzip(b"a\nb");
    bytes.extend(gzip(b"c\nd\n"));
    let file = File::new("members.gz", &bytes);
    assert_eq!(
        texts(&mut Lines::open(&file.path, None).unwrap()),
        ["a", "bc", "d"]
    );
}

#[test]
fn a_line_beyond_the_limit_is_told_with_its_beginning_and_its_length() {
    let file = File::new("lines", b"short\nlonger\nend");
    let mut lines = Lines::open(&file.path, None).unwrap();
    let expected = [
        (Next::Line, "short".to_owned()),
        (Next::Oversized(6), "longe".to_owned()),
        (Next::Line, "end".to_owned()),
    ];
    assert_eq!(rest(&mut lines, 5), expected);
}

#[test]
fn reading_goes_on_after_any_line() {
    let content = b"one\ntwo\nthree\n\nfive";
    let file = File::new("lines", content);
    let all = texts(&mut Lines::open(&file.path, None).unwrap());
    for count in 0..=all.len() {
        let mut lines = Lines::open(&file.path, None).unwrap();
        let mut line = Vec::new();
        for _ in 0..count {
            lines.next(&mut line, 1_000).unwrap();
        }
        let position = lines.position();
        let mut resumed = Lines::open(&file.path, Some(&position)).unwrap();
        assert_eq!(texts(&mut resumed), all[count..]);
    }
}

fn refused(path: &Path, committed: Option<&CommittedOffset>) -> String {
    let Err(error) = Lines::open(path, committed) else {
        panic!("{} is refused", path.display());
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error.to_string()
}

#[test]
fn another_file_or_content_is_refused() {
    let file = File::new("lines", b"one\ntwo\n");
    let mut lines = Lines::open(&file.path, None).unwrap();
    texts(&mut lines);
    let position = lines.position();
    let other = File::new("lines", b"one\ntwo\n");
    assert!(refused(&other.path, Some(&position)).contains("choose another --data-dir"));
    std::fs::write(&file.path, b"one\nTwo\n").unwrap();
    assert!(refused(&file.path, Some(&position)).contains("content has changed"));
    std::fs::write(&file.path, b"one\n").unwrap();
    assert!(refused(&file.path, Some(&position)).contains("content has changed"));
    // What was appended is the rest.
    std::fs::write(&file.path, b"one\ntwo\nthree\n").unwrap();
    assert_eq!(
        texts(&mut Lines::open(&file.path, Some(&position)).unwrap()),
        ["three"]
    );
    let made_up = CommittedOffset {
        offset: 5,
        metadata: "generator|1|2".into(),
    };
    assert!(refused(&file.path, Some(&made_up)).contains("generated readings"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let file = File::new("lines", b"");
    let missing = file.directory.path().join("missing");
    assert!(refused(&missing, None).contains("missing: there is no such file"));
    assert!(refused(file.directory.path(), None).contains("it is a directory"));
}

fn log() -> Arc<dyn Log> {
    let log = MemoryLog::new(SystemEnv::shared());
    log.create_topics(&topics(PARTITIONS)).unwrap();
    Arc::new(log)
}

fn feed(log: &Arc<dyn Log>, path: &Path) -> marea::Result<Progress> {
    start(log, path, "feeder").finish()
}

fn start(log: &Arc<dyn Log>, path: &Path, member: &str) -> Feeder {
    let path = path.to_owned();
    let open = move |committed: Option<&CommittedOffset>| {
        Ok(Box::new(Lines::open(&path, committed)?) as Box<dyn Source>)
    };
    let settings = Settings {
        member: member.to_owned(),
        partitions: PARTITIONS,
        rate: None,
        latest_ms: LATEST_MS,
    };
    Feeder::start(log.clone(), SystemEnv::shared(), Box::new(open), settings).unwrap()
}

/// The topic's records: partition, key, value, timestamp.
fn appended(
    log: &dyn Log,
    topic: &str,
    partitions: u32,
) -> Vec<(u32, Option<String>, String, i64)> {
    let mut found = Vec::new();
    for partition in 0..partitions {
        let place = TopicPartition::new(topic, partition);
        let end = log.end_offset(&place, Isolation::ReadCommitted).unwrap();
        let mut reader = log.reader(1 << 20).unwrap();
        reader.assign(&[(place.clone(), 0)]).unwrap();
        while reader.position(&place).unwrap() < end {
            for fetched in reader
                .poll(1 << 20, std::time::Duration::from_secs(5))
                .unwrap()
            {
                let mut cursor = fetched.batch.cursor(fetched.base_offset);
                while let Some(record) = cursor.next_record().unwrap() {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    found.push((
                        partition,
                        record.key.map(text),
                        record.value.map(text).unwrap_or_default(),
                        record.timestamp_ms,
                    ));
                }
            }
        }
    }
    found
}

fn reading(number: u64) -> String {
    format!(
        r#"{{"sensor":"s{number}","ocean":"Arctic","temperature":1,"salinity":2,"volume":3,"timestamp_ms":{number}}}"#
    )
}

#[test]
fn a_file_is_fed_once_however_often_it_is_fed() {
    let lines: Vec<String> = (0..5_000).map(reading).collect();
    let file = File::new("lines", lines.join("\n").as_bytes());
    let log = log();
    assert_eq!(feed(&log, &file.path).unwrap().lines, 5_000);
    assert_eq!(feed(&log, &file.path).unwrap().lines, 0);
    let found = appended(&*log, READINGS, PARTITIONS);
    assert_eq!(found.len(), 5_000);
    for (partition, key, value, timestamp_ms) in &found {
        let key = key.as_deref().unwrap();
        assert_eq!(
            *partition,
            marea::base::partition_for_key(key.as_bytes(), PARTITIONS)
        );
        assert_eq!(*value, reading(timestamp_ms.unsigned_abs()));
    }
}

#[test]
fn a_truncated_gzip_is_fed_as_far_as_it_goes_and_on_from_there_when_it_is_whole() {
    // They must not compress too well, so that the cut is in the middle of the lines.
    let lines: Vec<String> = (0..20_000).map(reading).collect();
    let whole = gzip(lines.join("\n").as_bytes());
    let file = File::new("lines.gz", &whole[..whole.len() / 2]);
    let log = log();
    let error = feed(&log, &file.path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("truncated or damaged after line"),
        "{error}"
    );
    let before = appended(&*log, READINGS, PARTITIONS).len();
    assert!((1..20_000).contains(&before), "{before}");
    std::fs::write(&file.path, &whole).unwrap();
    assert_eq!(
        feed(&log, &file.path).unwrap().lines,
        20_000 - before as u64
    );
    assert_eq!(appended(&*log, READINGS, PARTITIONS).len(), 20_000);
}

#[test]
fn a_line_that_is_no_reading_is_fed_as_it_is_with_a_time_that_moves_nothing() {
    let late = r#"{"sensor":"s","timestamp_ms":99999999999999}"#;
    let early = r#"{"sensor":"s","timestamp_ms":-5}"#;
    let content = format!("broken\n{late}\n{early}\n{{\"timestamp_ms\":7}}");
    let file = File::new("lines", content.as_bytes());
    let log = log();
    feed(&log, &file.path).unwrap();
    let mut found = appended(&*log, READINGS, PARTITIONS);
    found.sort_by(|a, b| a.2.cmp(&b.2));
    let found: Vec<_> = found
        .iter()
        .map(|(_, key, value, time)| (key.as_deref(), value.as_str(), *time))
        .collect();
    let expected = [
        (None, "broken", 0),
        (Some("s"), early, 0),
        (Some("s"), late, 0),
        (None, "{\"timestamp_ms\":7}", 7),
    ];
    assert_eq!(found, expected);
}

/// A partition of which all records are rejected has no time, and would hold back all others.
#[test]
fn lines_that_will_be_rejected_go_where_valid_ones_are() {
    let mut content = reading(1);
    for sensor in 0..20 {
        content += &format!("\n{{\"sensor\":\"{sensor}\",\"timestamp_ms\":7}}");
    }
    let file = File::new("lines", content.as_bytes());
    let log = log();
    feed(&log, &file.path).unwrap();
    let found = appended(&*log, READINGS, PARTITIONS);
    assert_eq!(found.len(), 21);
    assert!(
        found.iter().all(|record| record.0 == found[0].0),
        "{found:?}"
    );
}

#[test]
fn an_oversized_line_becomes_a_dead_letter() {
    let huge = format!("{{\"sensor\":\"{}\"}}", "x".repeat(2 << 20));
    let content = format!("{}\n{huge}\n{}", reading(1), reading(2));
    let file = File::new("lines", content.as_bytes());
    let log = log();
    let progress = feed(&log, &file.path).unwrap();
    assert_eq!((progress.lines, progress.oversized), (3, 1));
    assert_eq!(appended(&*log, READINGS, PARTITIONS).len(), 2);
    let letters = log
        .records::<Option<String>, Vec<u8>>(DEAD_LETTERS)
        .unwrap();
    let [letter] = &letters[..] else {
        panic!("{letters:?}");
    };
    let reason = letter.headers.last("marea.error.message").unwrap();
    let reason = String::from_utf8_lossy(reason.value.as_ref().unwrap());
    assert!(reason.contains("line has 2097165 bytes"), "{reason}");
    assert!(huge.as_bytes().starts_with(&letter.value));
    // It was never a record of a topic, so it cannot be sent again.
    assert_eq!(letter.headers.last("marea.error.topic"), None);
}

#[test]
fn several_feeders_of_one_file_take_turns() {
    let lines: Vec<String> = (0..20_000).map(reading).collect();
    let file = File::new("lines", lines.join("\n").as_bytes());
    let log = log();
    let mut feeders: Vec<Feeder> = ["one", "two", "three"]
        .map(|member| start(&log, &file.path, member))
        .into();
    // One leaves before its turn, or in the middle of it.
    drop(feeders.remove(0));
    let fed = feeders.into_iter().map(|feeder| feeder.finish().unwrap());
    let progress: Vec<Progress> = fed.collect();
    assert!(
        progress.iter().all(|fed| fed.ended && fed.done > 0.999),
        "each has seen the end: {progress:?}"
    );
    assert_eq!(appended(&*log, READINGS, PARTITIONS).len(), 20_000);
}
