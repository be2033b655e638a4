//! The same input gives the same output, whatever the distribution of work and the pace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Env as _, Error, Result, SystemEnv, TopicPartition, partition_for_key};
use crate::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use crate::runtime::{Application, Settings, Snapshot, StateBackend};
use crate::topology::Topology;

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a run that is not drained is checked, and how long each hop may take to tell the next one
/// how far time has advanced, in milliseconds: clocks without records are sent once a second.
const LOOK: Duration = Duration::from_millis(10);
const HOPS_MS: u64 = 3_000;
/// How long ago the last report of each worker may be while a run counts as silent, and how much one check
/// adds at most, in milliseconds: a worker that gets no processor does not report, and its silence proves nothing.
const REPORTED_MS: u64 = 200;
const LOOK_MS_MOST: u64 = 50;

/// An input record, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// The topic it goes to.
    pub topic: String,
    /// Its key, which also decides its partition; records without one go to the first.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its time, in milliseconds.
    pub timestamp_ms: i64,
}

/// What is compared for an output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The last record of each key: for topics that hold every update.
    LastOfEachKey,
    /// All records, in any order: for topics that hold final results.
    EveryRecord,
}

/// Output records with their number of occurrences, or the last of each key.
pub(super) type Output = BTreeMap<(Option<Vec<u8>>, Option<Vec<u8>>), usize>;

/// Runs a topology under every combination of its lists, on memory logs, and compares the final outputs
/// with those of the first combination. Each run ends by draining. The outputs must be equal provided
/// that disorder stays within the grace, so that nothing is late.
///
/// Then come runs that are not drained: the input stops, and results that are final by then (from windows
/// that close while it runs, or once all inputs are silent) must be part of the drained results, and must
/// be the same for any number of workers and whichever partitions are empty. This applies only to outputs
/// of which every record is compared.
///
/// ```
/// use marea::prelude::*;
/// use marea::testing::{Compare, InputRecord, Invariance};
///
/// let topology = || {
///     let builder = StreamBuilder::new();
///     builder
///         .stream::<String, String>("words")
///         .group_by("by-word", |_, word| word.clone())
///         .count("counts")
///         .to_stream()
///         .present()
///         .to("counts-out");
///     builder.build()
/// };
/// let word = |n: i64| InputRecord {
///     topic: "words".into(),
///     key: Some(n.to_string().into_bytes()),
///     value: Some(if n % 3 == 0 { b"ebb".to_vec() } else { b"flow".to_vec() }),
///     timestamp_ms: n,
/// };
/// let words: Vec<_> = (0..100).map(word).collect();
/// Invariance::default().check(topology, &words, &[("counts-out", Compare::LastOfEachKey)])?;
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Invariance {
    /// Numbers of partitions for every input topic.
    pub partitions: Vec<u32>,
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// Numbers of records that are appended, and processed by a task, at a time.
    pub batch_sizes: Vec<usize>,
    /// Commit intervals, in milliseconds.
    pub commit_intervals_ms: Vec<u64>,
    /// Whether the input is appended before the application starts (a backlog), while it runs, or
    /// alternately both.
    pub backlog: Vec<bool>,
    /// Numbers of partitions of each input that get no records; the combinations cycle through them.
    pub empty_partitions: Vec<u32>,
    /// How often the application is stopped in the middle and restarted; the combinations cycle through
    /// them.
    pub restarts: Vec<u32>,
    /// In the runs that are not drained, the silence after which windows no longer wait for an input, in
    /// milliseconds; `None` leaves those runs out. Use `None` for a topology whose windows directly
    /// follow an input: they close by what their own partition has seen.
    pub idle_timeout_ms: Option<u64>,
}

impl Default for Invariance {
    fn default() -> Self {
        Self {
            partitions: vec![1, 4],
            workers: vec![1, 2],
            batch_sizes: vec![7, 500],
            commit_intervals_ms: vec![2, 50],
            backlog: vec![true, false],
            empty_partitions: vec![0, 1, 2],
            restarts: vec![0, 1],
            idle_timeout_ms: Some(200),
        }
    }
}

/// One combination.
#[derive(Clone, Copy)]
struct Way {
    partitions: u32,
    workers: usize,
    batch_size: usize,
    commit_interval_ms: u64,
    backlog: bool,
    empty_partitions: u32,
    restarts: u32,
    /// Not drained, with this idle time-out.
    idle_timeout_ms: Option<u64>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partitions,
            workers,
            batch_size,
            commit_interval_ms,
            backlog,
            empty_partitions,
            restarts,
            idle_timeout_ms,
        } = self;
        let end = match idle_timeout_ms {
            Some(_) => ", not drained",
            None => "",
        };
        let pace = if *backlog { "a backlog" } else { "live" };
        write!(
            f,
            "{partitions} partitions and {empty_partitions} empty ones, {workers} workers, batches of \
             {batch_size}, commits every {commit_interval_ms} ms, {restarts} restarts, {pace}{end}"
        )
    }
}

impl Invariance {
    /// Runs every combination over `input` and compares the `outputs`. Input and output topics are
    /// created here; output topics have one partition.
    ///
    /// # Errors
    /// `User` if two combinations differ, naming both and the first record that differs; else errors of
    /// the topology or the runtime.
    pub fn check(
        &self,
        topology: impl Fn() -> Result<Topology>,
        input: &[InputRecord],
        outputs: &[(&str, Compare)],
    ) -> Result<()> {
        let mut first: Option<(Way, Vec<Output>)> = None;
        for way in self.ways() {
            let found = run(way, topology()?, input, outputs)
                .map_err(|error| error.context(way.to_string()))?;
            match &first {
                None => first = Some((way, found)),
                Some((first_way, expected)) => {
                    compare(&format!("{first_way} and {way}"), outputs, expected, &found)?;
                }
            }
        }
        let Some((_, drained)) = first else {
            return Ok(());
        };
        // With one origin, windows close by the timestamps they have seen; with several, by how far all
        // inputs have come, which is never less.
        let (mut single, mut several) = (None, None);
        for way in self.undrained_ways() {
            let found = run(way, topology()?, input, outputs)
                .map_err(|error| error.context(way.to_string()))?;
            check_part(&way.to_string(), outputs, &drained, &found)?;
            let alike = match way.partitions + way.empty_partitions {
                1 => &mut single,
                _ => &mut several,
            };
            match alike {
                None => *alike = Some((way, found)),
                Some((first_way, expected)) => {
                    compare(&format!("{first_way} and {way}"), outputs, expected, &found)?;
                }
            }
        }
        if let (Some((way, found)), Some((_, all))) = (single, several) {
            check_part(&way.to_string(), outputs, &all, &found)?;
        }
        Ok(())
    }

    /// Runs that are not drained: each number of partitions, with and without an empty one, and of workers.
    fn undrained_ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        let (Some(idle_timeout_ms), Some(&batch_size), Some(&commit_interval_ms)) = (
            self.idle_timeout_ms,
            self.batch_sizes.last(),
            self.commit_intervals_ms.first(),
        ) else {
            return ways;
        };
        for &partitions in &self.partitions {
            for (number, &workers) in self.workers.iter().enumerate() {
                ways.push(Way {
                    partitions,
                    workers,
                    batch_size,
                    commit_interval_ms,
                    // If it were fed while it runs, an input could be silent only because the feeder is
                    // held up.
                    backlog: true,
                    empty_partitions: number as u32 % 2,
                    restarts: 0,
                    idle_timeout_ms: Some(idle_timeout_ms),
                });
            }
        }
        ways
    }

    fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        for &partitions in &self.partitions {
            for &workers in &self.workers {
                for &batch_size in &self.batch_sizes {
                    for &commit_interval_ms in &self.commit_intervals_ms {
                        for &backlog in &self.backlog {
                            let way = Way {
                                partitions,
                                workers,
                                batch_size,
                                commit_interval_ms,
                                backlog,
                                empty_partitions: in_turn(&self.empty_partitions, ways.len()),
                                restarts: in_turn(&self.restarts, ways.len() / 2),
                                idle_timeout_ms: None,
                            };
                            ways.push(way);
                        }
                    }
                }
            }
        }
        ways
    }
}

fn in_turn(list: &[u32], number: usize) -> u32 {
    match list.len() {
        0 => 0,
        len => list[number % len],
    }
}

/// Results that are final in one run must be present in the other.
fn check_part(
    way: &str,
    outputs: &[(&str, Compare)],
    all: &[Output],
    found: &[Output],
) -> Result<()> {
    for ((topic, compare), (all, found)) in outputs.iter().zip(all.iter().zip(found)) {
        if *compare == Compare::LastOfEachKey {
            continue;
        }
        let strange = |(record, times): &(&_, &usize)| all.get(*record) < Some(*times);
        if let Some((record, _)) = found.iter().find(strange) {
            return Err(Error::user(format!(
                "topic {topic} has a record with key {:?} in {way} that is missing in another run",
                record.0.as_deref().map(String::from_utf8_lossy)
            )));
        }
    }
    Ok(())
}

pub(super) fn compare(
    ways: &str,
    outputs: &[(&str, Compare)],
    expected: &[Output],
    found: &[Output],
) -> Result<()> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "null".to_owned(),
    };
    for ((topic, _), (expected, found)) in outputs.iter().zip(expected.iter().zip(found)) {
        let mut all = expected.keys().chain(found.keys());
        if let Some(record) = all.find(|record| expected.get(record) != found.get(record)) {
            return Err(Error::user(format!(
                "topic {topic} differs between {ways}: {} = {} appears {} times and {} times",
                text(&record.0),
                text(&record.1),
                expected.get(record).unwrap_or(&0),
                found.get(record).unwrap_or(&0),
            )));
        }
    }
    Ok(())
}

fn run(
    way: Way,
    topology: Topology,
    input: &[InputRecord],
    outputs: &[(&str, Compare)],
) -> Result<Vec<Output>> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(SystemEnv::shared()));
    let sources = topology.source_topics();
    let mut topics: Vec<_> = sources
        .iter()
        .map(|topic| TopicSpec::new(topic, way.partitions + way.empty_partitions))
        .collect();
    topics.extend(
        topology
            .sink_topics()
            .iter()
            .map(|topic| TopicSpec::new(topic, 1)),
    );
    log.create_topics(&topics)?;
    if way.backlog {
        append(&*log, input, way)?;
    }
    let start = || {
        Application::builder(topology.clone(), "invariance")
            .log(log.clone())
            .settings(Settings {
                workers: way.workers,
                records_per_step: way.batch_size,
                commit_interval_ms: way.commit_interval_ms,
                state_backend: StateBackend::Memory,
                idle_timeout_ms: way.idle_timeout_ms,
                timestamp_ahead_max_ms: None,
                ..Settings::default()
            })
            .start()
    };
    let mut application = start()?;
    let parts = input.chunks(input.len() / (way.restarts as usize + 1) + 1);
    for (number, part) in parts.enumerate() {
        if !way.backlog {
            append(&*log, part, way)?;
        }
        if number < way.restarts as usize {
            // Wherever it is by then.
            application.close(DEADLINE)?;
            application = start()?;
        }
    }
    match way.idle_timeout_ms {
        None => application.drain(DEADLINE)?,
        Some(idle_timeout_ms) => {
            let read = |snapshot: &Snapshot| read_of(snapshot, &sources) == input.len() as i64;
            wait_for_silence(&*log, &application, outputs, idle_timeout_ms, read)?;
        }
    }
    application.close(DEADLINE)?;
    outputs
        .iter()
        .map(|(topic, compare)| match (way.idle_timeout_ms, compare) {
            // Without an end, the last update may be any of them.
            (Some(_), Compare::LastOfEachKey) => Ok(Output::new()),
            _ => read(&*log, topic, *compare),
        })
        .collect()
}

/// How many records of the user's topics have been processed.
fn read_of(snapshot: &Snapshot, sources: &[String]) -> i64 {
    let positions = snapshot.tasks.iter().flat_map(|task| &task.positions);
    let of_user = |place: &TopicPartition| sources.iter().any(|topic| **topic == *place.topic);
    let of_user = positions.filter(|(place, _)| of_user(place));
    of_user.map(|(_, offset)| offset).sum()
}

/// Waits until everything is read and the outputs have stopped growing for long enough that every hop has
/// noticed the silence of the previous one. Only time in which the workers work counts: on a machine under
/// load it takes longer.
fn wait_for_silence(
    log: &dyn Log,
    application: &Application,
    outputs: &[(&str, Compare)],
    idle_timeout_ms: u64,
    is_read: impl Fn(&Snapshot) -> bool,
) -> Result<()> {
    let env = SystemEnv::shared();
    let ends = || -> Result<Vec<i64>> {
        let end = |(topic, _): &(&str, _)| {
            log.end_offset(&TopicPartition::new(*topic, 0), Isolation::ReadCommitted)
        };
        outputs.iter().map(end).collect()
    };
    let until_ms = env.monotonic_ms() + DEADLINE.as_millis() as u64;
    let quiet_ms = idle_timeout_ms * 2 + HOPS_MS;
    let (mut last, mut silent_ms, mut looked_at_ms) = (ends()?, 0, env.monotonic_ms());
    while silent_ms < quiet_ms {
        if application.wait(LOOK)? || env.monotonic_ms() > until_ms {
            return Err(Error::user("the input was not read to its end in time"));
        }
        let now_ms = env.monotonic_ms();
        let passed_ms = (now_ms - looked_at_ms).min(LOOK_MS_MOST);
        looked_at_ms = now_ms;
        let (now, snapshot) = (ends()?, application.snapshot());
        // Not by the lag: silent tasks keep sending clocks on the topics in between.
        if now != last || !is_read(&snapshot) {
            (last, silent_ms) = (now, 0);
        } else if are_reporting(&snapshot) {
            silent_ms += passed_ms;
        }
    }
    Ok(())
}

/// Whether all workers have reported a moment ago.
fn are_reporting(snapshot: &Snapshot) -> bool {
    let mut workers = snapshot.workers.iter();
    snapshot.workers.len() >= snapshot.workers_running
        && workers.all(|worker| worker.reported_ms < REPORTED_MS)
}

fn append(log: &dyn Log, input: &[InputRecord], way: Way) -> Result<()> {
    let mut writer = log.writer("invariance-input", 1 << 20)?;
    for chunk in input.chunks(way.batch_size.max(1)) {
        let mut builders: BTreeMap<TopicPartition, BatchBuilder> = BTreeMap::new();
        for record in chunk {
            let key = record.key.as_deref();
            let partition = key.map_or(0, |key| partition_for_key(key, way.partitions));
            let place = TopicPartition::new(record.topic.as_str(), partition);
            let builder = builders.entry(place).or_default();
            builder.push(key, record.value.as_deref(), record.timestamp_ms, &[]);
        }
        let batches = builders.into_iter();
        let appends = batches.filter_map(|(place, mut builder)| Some((place, builder.seal()?)));
        let commit = Commit {
            appends: appends.collect(),
            group: None,
        };
        writer.submit(commit).map_err(|error| error.into_error())?;
        while writer
            .poll(DEADLINE)
            .map_err(|error| error.into_error())?
            .is_none()
        {}
    }
    Ok(())
}

pub(super) fn read(log: &dyn Log, topic: &str, compare: Compare) -> Result<Output> {
    let partition = TopicPartition::new(topic, 0);
    let end = log.end_offset(&partition, Isolation::ReadCommitted)?;
    let mut reader = log.reader(1 << 20)?;
    reader.assign(&[(partition.clone(), 0)])?;
    let mut last = BTreeMap::new();
    let mut every = Output::new();
    while reader
        .position(&partition)
        .is_some_and(|position| position < end)
    {
        for fetched in reader.poll(1 << 20, Duration::from_secs(1))? {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                let key = record.key.map(<[u8]>::to_vec);
                let value = record.value.map(<[u8]>::to_vec);
                match compare {
                    Compare::LastOfEachKey => drop(last.insert(key, value)),
                    Compare::EveryRecord => *every.entry((key, value)).or_insert(0) += 1,
                }
            }
        }
    }
    every.extend(last.into_iter().map(|record| (record, 1)));
    Ok(every)
}
