//! Records per second through a log, from encoding to decoding, with a reader that keeps up.
//!
//! `cargo bench --bench log`; the directory is under the system's temporary directory, or under
//! `MAREA_BENCH_DIR`: its disk decides what an fsync costs.

use std::sync::Arc;
use std::time::Duration;

use marea::Result;
use marea::base::{Env, SystemEnv, TopicPartition};
use marea::disk::Budget;
use marea::log::embedded::{EmbeddedLog, Fsync, Settings};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};

const COMMITS: u64 = 2_000;
const RECORDS: u64 = 300;
const VALUE: [u8; 90] = [b'v'; 90];

fn main() -> Result<()> {
    let env = SystemEnv::shared();
    println!("{COMMITS} commits of {RECORDS} records of about 100 bytes, one batch each");
    for writers in [1, 4] {
        run("memory", Arc::new(MemoryLog::new(env.clone())), writers)?;
        for fsync in [Fsync::EveryCommit, Fsync::EveryMs(10), Fsync::Never] {
            for tail_bytes in [8 << 20, 0, 64 << 20] {
                let directory = match std::env::var_os("MAREA_BENCH_DIR") {
                    Some(parent) => tempfile::tempdir_in(parent),
                    None => tempfile::tempdir(),
                };
                let directory = directory.expect("a directory");
                let settings = Settings {
                    fsync,
                    tail_bytes,
                    ..Settings::new(directory.path(), Budget::new(256 << 20))
                };
                let log = Arc::new(EmbeddedLog::open(settings, env.clone())?);
                let name = format!("embedded {fsync:?}, tail {} MiB", tail_bytes >> 20);
                run(&name, log.clone(), writers)?;
                println!("    {:?}", log.stats());
            }
        }
    }
    Ok(())
}

fn run(name: &str, log: Arc<dyn Log>, writers: u32) -> Result<()> {
    let env = SystemEnv::shared();
    log.create_topics(&[TopicSpec::new("t", writers)])?;
    let started_ns = env.monotonic_ns();
    let mut threads = Vec::new();
    for writer in 0..writers {
        let log = log.clone();
        let body = move || write(&*log, writer, COMMITS / u64::from(writers));
        threads.push(env.spawn("writer", Box::new(body))?);
    }
    let mut reader = log.reader()?;
    let all: Vec<_> = (0..writers)
        .map(|p| (TopicPartition::new("t", p), 0))
        .collect();
    reader.assign(&all)?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < COMMITS * RECORDS {
        for fetched in reader.poll(1 << 20, Duration::from_secs(1))? {
            bytes += fetched.batch.as_bytes().len();
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                seen += u64::from(record.value.is_some());
            }
        }
    }
    let seconds = (env.monotonic_ns() - started_ns) as f64 / 1e9;
    assert!(
        threads.into_iter().all(marea::base::Thread::join),
        "a writer failed"
    );
    let end = log.end_offset(&all[0].0, Isolation::ReadCommitted)?;
    assert_eq!(end as u64, COMMITS * RECORDS / u64::from(writers));
    println!(
        "{writers} writers, {name}: {:.0} records/s, {:.0} MB/s, {:.2} ms a commit",
        seen as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        seconds * 1e3 * f64::from(writers) / COMMITS as f64
    );
    Ok(())
}

fn write(log: &dyn Log, number: u32, commits: u64) {
    let place = TopicPartition::new("t", number);
    let mut writer = log.writer(&format!("w{number}")).expect("a writer");
    let mut builder = BatchBuilder::default();
    for commit in 0..commits {
        for record in 0..RECORDS {
            let key = (commit * RECORDS + record).to_be_bytes();
            builder.push(Some(&key), Some(&VALUE), record as i64, &[]);
        }
        let appends = builder
            .seal()
            .map(|batch| (place.clone(), batch))
            .into_iter()
            .collect();
        let commit = Commit {
            appends,
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
