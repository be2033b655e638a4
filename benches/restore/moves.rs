//! The effect of a task that moves, with its state to be restored, on the latency of the tasks of the worker that
//! it moves to.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::log::{Log, Reader};
use marea::runtime::{Application, State};

use super::beside::{self, Latencies};
use super::{DEADLINE, Outcome, Run};

/// Two instances share the partitions; the one that has the changelog leaves, and the other one restores it while
/// it runs its own tasks. Their latency is measured before that, and until the restore ends.
pub fn run(run: &Run, log: &Arc<dyn Log>, place: &Path) -> Outcome<()> {
    let born = Instant::now();
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let feeder = threads.spawn(|| {
            let fed = beside::feed(&**log, run.partitions, born, &ended);
            let fed = fed.map_err(|error| error.to_string());
            ended.store(true, Ordering::Relaxed);
            fed
        });
        let measured = moved(run, log, place, born, &ended);
        ended.store(true, Ordering::Relaxed);
        feeder.join().map_err(|_| "the feeder panicked")??;
        measured
    })
}

fn moved(
    run: &Run,
    log: &Arc<dyn Log>,
    place: &Path,
    born: Instant,
    ended: &AtomicBool,
) -> Outcome<()> {
    let start = |name: &str| {
        Application::builder(beside::topology()?, "bench")
            .log(Arc::clone(log))
            .state_directory(place.join(name))
            .settings(run.settings.clone())
            .start()
    };
    let mut instances = vec![start("one")?];
    wait(&instances, ended, |tasks| {
        tasks.iter().all(|its| !its.is_empty())
    })?;
    instances.push(start("two")?);
    wait(&instances, ended, |tasks| {
        tasks.iter().all(|its| !its.is_empty())
    })?;
    // The group decides which of them has it.
    if owned(&instances[0])?.contains(&0) {
        instances.reverse();
    }
    let (mut giver, taker) = (instances.remove(1), instances.remove(0));
    let stay = owned(&taker)?;
    let mut reader = log.reader(8 << 20)?;
    let out = TopicPartition::new("out", 0);
    let end = log.end_offset(&out, marea::log::Isolation::ReadCommitted)?;
    reader.assign(&[(out, end)])?;
    let mut quiet = Latencies::default();
    let began = Instant::now();
    while began.elapsed() < beside::QUIET {
        quiet.take(&mut *reader, born, &stay)?;
    }
    let mut meanwhile = Latencies::default();
    let left = Instant::now();
    let restore_s = std::thread::scope(|threads| {
        let leaving = threads.spawn(move || giver.leave(Duration::from_secs(60)));
        let mut restores = false;
        let seconds = loop {
            meanwhile.take(&mut *reader, born, &stay)?;
            let snapshot = taker.snapshot();
            if let Some(error) = snapshot.error {
                return Err(error.into());
            }
            restores |= !snapshot.restoring.is_empty();
            if restores && owned(&taker)?.len() as u32 == run.partitions {
                break left.elapsed().as_secs_f64();
            }
            if left.elapsed() > DEADLINE || ended.load(Ordering::Relaxed) {
                return Err("not moved in time, or nothing is fed".into());
            }
        };
        leaving.join().map_err(|_| "leaving panicked")??;
        Outcome::Ok(seconds)
    })?;
    let mut taker = taker;
    taker.close(Duration::from_secs(60))?;
    println!(
        "{{\"move_s\":{restore_s:.1},\"tasks_that_stay\":{},\"records_meanwhile\":{},\"p50_ms\":{:.1},\
         \"p99_ms\":{:.1},\"max_ms\":{:.1},\"quiet_p50_ms\":{:.1},\"quiet_p99_ms\":{:.1},\"p99_ratio\":{:.2}}}",
        stay.len(),
        meanwhile.len(),
        meanwhile.at(0.5),
        meanwhile.at(0.99),
        meanwhile.at(1.0),
        quiet.at(0.5),
        quiet.at(0.99),
        meanwhile.at(0.99) / quiet.at(0.99),
    );
    Ok(())
}

/// The partitions whose tasks it runs.
fn owned(instance: &Application) -> Outcome<BTreeSet<u32>> {
    let tasks = instance.snapshot().tasks;
    Ok(tasks.iter().map(|task| task.task.partition).collect())
}

/// Waits until all partitions are running, nothing is restoring and `enough` is true, for a while in a row.
fn wait(
    instances: &[Application],
    ended: &AtomicBool,
    enough: impl Fn(&[BTreeSet<u32>]) -> bool,
) -> Outcome<()> {
    let began = Instant::now();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
        if began.elapsed() > DEADLINE || ended.load(Ordering::Relaxed) {
            return Err("the instances do not come to rest, or nothing is fed".into());
        }
        let owned = instances.iter().map(owned).collect::<Outcome<Vec<_>>>()?;
        let at_rest = instances.iter().all(|instance| {
            let snapshot = instance.snapshot();
            snapshot.state == State::Running && snapshot.restoring.is_empty()
        });
        if !at_rest || !enough(&owned) || !owned.iter().flatten().any(|number| *number == 0) {
            since = Instant::now();
        }
    }
    Ok(())
}

impl Latencies {
    /// Returns the records of some partitions that were written since the last call.
    fn take(
        &mut self,
        reader: &mut dyn Reader,
        born: Instant,
        partitions: &BTreeSet<u32>,
    ) -> Outcome<()> {
        for fetched in reader.poll(1 << 20, Duration::from_millis(2))? {
            let now_ns = born.elapsed().as_nanos() as f64;
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                let (partition, latency_ms) = beside::latency_ms(&record, now_ns)?;
                if partitions.contains(&partition) {
                    self.push(latency_ms);
                }
            }
        }
        Ok(())
    }
}
