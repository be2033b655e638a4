//! The effect of a restore on the latency of other tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Log, RecordRef};
use marea::runtime::Application;
use marea::topology::Topology;

use super::{DEADLINE, Outcome, Run};

/// Records per second, over all partitions except the first.
const RATE: u64 = 5_000;
/// How long to wait after each change before measuring.
const SETTLE: Duration = Duration::from_secs(2);
/// How long to measure without a restore.
pub const QUIET: Duration = Duration::from_secs(20);

/// Latencies of records, in milliseconds.
#[derive(Default)]
pub struct Latencies(Vec<f64>);

impl Latencies {
    pub fn push(&mut self, latency_ms: f64) {
        self.0.push(latency_ms);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn at(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len().saturating_sub(1);
        let number = (self.0.len() as f64 * share) as usize;
        self.0.get(number.min(last)).copied().unwrap_or_default()
    }
}

/// Keeps the last value of each key, and sends it on.
pub fn topology() -> marea::Result<Topology> {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by", Utf8, I64))
        .reduce(|_, new| new, Materialized::with("counts", I64))
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    builder.build()
}

/// For a record of `out`: the partition that it came from, and how late it is.
pub fn latency_ms(record: &RecordRef<'_>, now_ns: f64) -> Outcome<(u32, f64)> {
    let due_ns = record.value.and_then(|value| value.first_chunk::<8>());
    let due_ns = u64::from_be_bytes(*due_ns.ok_or("not a time")?) as f64;
    let key = std::str::from_utf8(record.key.unwrap_or_default())?;
    let partition = key.split('-').next().unwrap_or_default().parse()?;
    Ok((partition, (now_ns - due_ns) / 1e6))
}

/// One worker; its first task restores, the others process records whose values say when they were due, and send
/// them on. First during the restore, then without it.
pub fn run(run: &Run, log: &Arc<dyn Log>, state: &std::path::Path) -> Outcome<()> {
    let born = Instant::now();
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let feeder = threads.spawn(|| {
            let fed = feed(&**log, run.partitions, born, &ended).map_err(|error| error.to_string());
            ended.store(true, Ordering::Relaxed);
            fed
        });
        let mut running = Application::builder(topology()?, "bench")
            .log(Arc::clone(log))
            .state_directory(state)
            .settings(run.settings.clone())
            .start()?;
        let measured = measure(&running, &**log, born, &ended);
        ended.store(true, Ordering::Relaxed);
        running.close(Duration::from_secs(60))?;
        feeder.join().map_err(|_| "the feeder panicked")??;
        measured
    })
}

/// Sends records to all partitions except the first; the key begins with the partition.
pub fn feed(log: &dyn Log, partitions: u32, born: Instant, ended: &AtomicBool) -> Outcome<()> {
    let mut writer = log.writer("load", 8 << 20)?;
    let others = partitions - 1;
    let mut sent = 0;
    while !ended.load(Ordering::Relaxed) {
        let now_ns = born.elapsed().as_nanos() as u64;
        let due = now_ns * RATE / 1_000_000_000;
        let mut builders: Vec<_> = (0..others).map(|_| BatchBuilder::default()).collect();
        for number in sent..due {
            let at = number % u64::from(others);
            let key = format!("{}-sensor-{:06}", at + 1, number % 10_000);
            let due_ns = (number * 1_000_000_000 / RATE).to_be_bytes();
            let builder = &mut builders[at as usize];
            builder.push(Some(key.as_bytes()), Some(&due_ns), number as i64, &[]);
        }
        sent = due;
        let batches = (1..).zip(builders.iter_mut().map(BatchBuilder::seal));
        let appends: Vec<_> = batches
            .filter_map(|(partition, batch)| Some((TopicPartition::new("in", partition), batch?)))
            .collect();
        if !appends.is_empty() {
            writer.submit(Commit {
                appends,
                group: None,
            })?;
            while writer.poll(Duration::from_secs(10))?.is_none() {}
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn measure(running: &Application, log: &dyn Log, born: Instant, ended: &AtomicBool) -> Outcome<()> {
    let mut reader = log.reader(8 << 20)?;
    reader.assign(&[(TopicPartition::new("out", 0), 0)])?;
    let (mut beside, mut quiet) = (Latencies::default(), Latencies::default());
    let started = Instant::now();
    let (mut first, mut restored) = (None, None);
    let restore_s = loop {
        for fetched in reader.poll(1 << 20, Duration::from_millis(2))? {
            let now_ns = born.elapsed().as_nanos() as f64;
            first.get_or_insert_with(Instant::now);
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                let (_, latency_ms) = latency_ms(&record, now_ns)?;
                match (first, restored) {
                    (Some(first), None) if first.elapsed() > SETTLE => beside.0.push(latency_ms),
                    (_, Some((at, _))) if Instant::elapsed(&at) > SETTLE => {
                        quiet.0.push(latency_ms)
                    }
                    _ => {}
                }
            }
        }
        let snapshot = running.snapshot();
        if let Some(error) = snapshot.error {
            return Err(error.into());
        }
        match restored {
            None if first.is_some() && snapshot.restoring.is_empty() => {
                restored = Some((Instant::now(), started.elapsed().as_secs_f64()));
            }
            Some((at, seconds)) if at.elapsed() > SETTLE + QUIET => break seconds,
            _ => {}
        }
        if started.elapsed() > DEADLINE || ended.load(Ordering::Relaxed) {
            return Err("not restored in time, or nothing is fed".into());
        }
    };
    println!(
        "{{\"restore_s\":{restore_s:.1},\"records_beside\":{},\"beside_p50_ms\":{:.1},\"beside_p99_ms\":{:.1},\
         \"quiet_p50_ms\":{:.1},\"quiet_p99_ms\":{:.1},\"p99_ratio\":{:.2}}}",
        beside.0.len(),
        beside.at(0.5),
        beside.at(0.99),
        quiet.at(0.5),
        quiet.at(0.99),
        beside.at(0.99) / quiet.at(0.99),
    );
    Ok(())
}
