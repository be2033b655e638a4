//! Records per second through a log, from encoding to decoding: with a reader that keeps up, and with a reader
//! that comes later. Also how long a commit waits while much is purged or compacted.
//!
//! `cargo bench --bench log`; the directory is under the system's temporary directory, or under
//! `MAREA_BENCH_DIR`: its disk decides what an fsync costs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking, and its clock is the real one"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use marea::base::{Env, SystemEnv, TopicPartition};
use marea::disk::Budget;
use marea::log::embedded::{EmbeddedLog, Fsync, Settings};
use marea::log::{
    Batch, BatchBuilder, Cleanup, Commit, Isolation, Log, MemoryLog, Reader, TopicSpec, Writer,
};
use tempfile::TempDir;

/// Records per commit, of about 100 bytes each.
const RECORDS: u64 = 300;
/// Commits per round.
const COMMITS: u64 = 8;
const VALUE: [u8; 90] = [b'v'; 90];

fn directory() -> TempDir {
    let directory = match std::env::var_os("MAREA_BENCH_DIR") {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    directory.expect("a directory")
}

fn embedded(directory: &TempDir, fsync: Fsync, tail_bytes: usize) -> Arc<dyn Log> {
    let settings = Settings {
        fsync,
        tail_bytes,
        ..Settings::new(directory.path(), Budget::new(256 << 20))
    };
    Arc::new(EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens"))
}

fn place(writer: u32) -> TopicPartition {
    TopicPartition::new("t", writer)
}

fn write(log: &dyn Log, number: u32, commits: u64) {
    let mut writer = log
        .writer(&format!("w{number}"), 8 << 20)
        .expect("a writer");
    let mut builder = BatchBuilder::default();
    for commit in 0..commits {
        for record in 0..RECORDS {
            let key = (commit * RECORDS + record).to_be_bytes();
            builder.push(Some(&key), Some(&VALUE), record as i64, &[]);
        }
        let batch = builder.seal().map(|batch| (place(number), batch));
        let commit = Commit {
            appends: batch.into_iter().collect(),
            group: None,
        };
        writer.submit(commit).expect("submitted");
        while writer
            .poll(Duration::from_secs(10))
            .expect("committed")
            .is_none()
        {}
    }
}

fn read(reader: &mut dyn Reader, records: u64) {
    let mut seen = 0;
    while seen < records {
        for fetched in reader
            .poll(1 << 20, Duration::from_secs(1))
            .expect("batches")
        {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                seen += u64::from(record.value.is_some());
            }
        }
    }
}

/// Appends `rounds` with that many writers, each to its own partition, and reads along.
fn through(log: &Arc<dyn Log>, writers: u32, rounds: u64) -> Duration {
    let env = SystemEnv::shared();
    let mut reader = log.reader(8 << 20).expect("a reader");
    let ends = (0..writers).map(|writer| {
        let end = log.end_offset(&place(writer), Isolation::ReadCommitted);
        (place(writer), end.expect("an end"))
    });
    reader.assign(&ends.collect::<Vec<_>>()).expect("assigned");
    let started = Instant::now();
    let commits = rounds * COMMITS / u64::from(writers);
    let spawn = |writer| {
        let log = log.clone();
        let body = Box::new(move || write(&*log, writer, commits));
        env.spawn("writer", body).expect("a thread")
    };
    let threads: Vec<_> = (0..writers).map(spawn).collect();
    read(&mut *reader, rounds * COMMITS * RECORDS);
    let elapsed = started.elapsed();
    assert!(
        threads.into_iter().all(marea::base::Thread::join),
        "a writer failed"
    );
    elapsed
}

fn append_and_read(criterion: &mut Criterion) {
    let directories: Vec<TempDir> = (0..3).map(|_| directory()).collect();
    let policies = [Fsync::EveryCommit, Fsync::EveryMs(10), Fsync::Never];
    let mut logs: Vec<(String, Arc<dyn Log>)> = vec![(
        "memory".to_owned(),
        Arc::new(MemoryLog::new(SystemEnv::shared())),
    )];
    for (fsync, directory) in policies.into_iter().zip(&directories) {
        logs.push((
            format!("embedded {fsync:?}"),
            embedded(directory, fsync, 64 << 20),
        ));
    }
    let mut group = criterion.benchmark_group("append and read");
    group.throughput(Throughput::Elements(COMMITS * RECORDS));
    for (name, log) in &logs {
        log.create_topics(&[TopicSpec::new("t", 4)])
            .expect("created");
        for writers in [1, 4] {
            group.bench_function(format!("{name}, {writers} writers"), |bencher| {
                bencher.iter_custom(|rounds| through(log, writers, rounds));
            });
            // Records that were read are no longer needed, and a long bench must not fill the disk.
            let ends = (0..4)
                .map(|writer| (place(writer), i64::MAX))
                .collect::<Vec<_>>();
            log.delete_records(&ends).expect("deleted");
        }
    }
    group.finish();
}

fn read_later(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read later");
    let commits = 100;
    group.throughput(Throughput::Elements(commits * RECORDS));
    for (name, tail_bytes) in [("from the tail", 64 << 20), ("from RocksDB", 0)] {
        let directory = directory();
        let log = embedded(&directory, Fsync::Never, tail_bytes);
        log.create_topics(&[TopicSpec::new("t", 1)])
            .expect("created");
        write(&*log, 0, commits);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut reader = log.reader(8 << 20).expect("a reader");
                reader.assign(&[(place(0), 0)]).expect("assigned");
                read(&mut *reader, commits * RECORDS);
            });
        });
    }
    group.finish();
}

/// Values that do not compress, in batches of two: of the first key only the last value stays, of the second all
/// of them.
fn fill(log: &dyn Log, topic: &str, bytes: usize) {
    let mut writer = log.writer("fill", 8 << 20).expect("a writer");
    let mut noise = 1_u64;
    let mut value = || -> Vec<u8> {
        let words = (0..VALUE_BYTES / 8).flat_map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()
        });
        words.collect()
    };
    let mut number = 0_u32;
    for _ in 0..bytes / (64 * 2 * VALUE_BYTES) {
        let batch = |_| {
            let mut builder = BatchBuilder::default();
            number += 1;
            builder.push(Some(b"same"), Some(&value()), 0, &[]);
            builder.push(Some(&number.to_le_bytes()), Some(&value()), 0, &[]);
            let batch = builder.seal().expect("records");
            (TopicPartition::new(topic, 0), batch)
        };
        let appends = (0..64).map(batch).collect();
        commit(&mut *writer, appends);
    }
}

const VALUE_BYTES: usize = 128 << 10;

fn commit(writer: &mut dyn Writer, appends: Vec<(TopicPartition, Batch)>) {
    let group = None;
    writer.submit(Commit { appends, group }).expect("submitted");
    let long = Duration::from_secs(60);
    while writer.poll(long).expect("committed").is_none() {}
}

/// Prints how long the slowest of many small commits took while 1 GiB is purged, and while it is compacted.
fn commits_beside_cleaning(_: &mut Criterion) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut filters = arguments.iter().filter(|word| !word.starts_with('-'));
    if !filters.all(|filter| "commits beside cleaning".contains(filter.as_str())) {
        return;
    }
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let bytes = if bench { 1 << 30 } else { 32 << 20 };
    for (topic, cleanup) in [("purged", Cleanup::Delete), ("compacted", Cleanup::Compact)] {
        let directory = directory();
        let settings = Settings {
            housekeeping_interval_ms: 3_600_000,
            ..Settings::new(directory.path(), Budget::new(64 << 20))
        };
        let log = EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens");
        let topics = [
            TopicSpec::new("t", 1),
            TopicSpec::new(topic, 1).with_cleanup(cleanup),
        ];
        log.create_topics(&topics).expect("created");
        fill(&log, topic, bytes);
        let log = Arc::new(log);
        let done = Arc::new(AtomicBool::new(false));
        let (of, ends) = (Arc::clone(&log), Arc::clone(&done));
        let started = Instant::now();
        let clean = move || {
            let all = [(TopicPartition::new(topic, 0), i64::MAX)];
            match cleanup {
                Cleanup::Delete => of.delete_records(&all).expect("purged"),
                _ => of.clean_now().expect("compacted"),
            }
            ends.store(true, Ordering::SeqCst);
        };
        let env = SystemEnv::shared();
        let cleaning = env.spawn("cleaning", Box::new(clean)).expect("a thread");
        let mut writer = log.writer("w", 8 << 20).expect("a writer");
        let mut taken_ms = Vec::new();
        while !done.load(Ordering::SeqCst) {
            let mut builder = BatchBuilder::default();
            builder.push(None, Some(&VALUE), 0, &[]);
            let appends = builder.seal().map(|batch| (place(0), batch));
            let asked = Instant::now();
            commit(&mut *writer, appends.into_iter().collect());
            taken_ms.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        let whole_ms = started.elapsed().as_secs_f64() * 1e3;
        assert!(cleaning.join(), "cleaning failed");
        taken_ms.sort_by(f64::total_cmp);
        println!(
            "{{\"bench\":\"commits beside cleaning\",\"topic\":\"{topic}\",\"mib\":{},\
             \"cleaned_ms\":{whole_ms:.0},\"commits\":{},\"median_ms\":{:.2},\"p99_ms\":{:.1},\
             \"longest_ms\":{:.1}}}",
            bytes >> 20,
            taken_ms.len(),
            taken_ms[taken_ms.len() / 2],
            taken_ms[taken_ms.len() * 99 / 100],
            taken_ms[taken_ms.len() - 1]
        );
    }
}

criterion_group!(
    benches,
    append_and_read,
    read_later,
    commits_beside_cleaning
);
criterion_main!(benches);
