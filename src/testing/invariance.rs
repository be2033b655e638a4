//! The same input gives the same output, whoever does the work and at whatever pace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Result, SystemEnv, TopicPartition, partition_for_key};
use crate::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use crate::runtime::{Application, Settings, StateBackend};
use crate::topology::Topology;

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(120);

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

/// What of an output topic is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The last record of each key: for topics that hold every update.
    LastOfEachKey,
    /// All records, in any order: for topics that hold final results.
    EveryRecord,
}

/// Output records with their number of occurrences, or the last of each key.
type Output = BTreeMap<(Option<Vec<u8>>, Option<Vec<u8>>), usize>;

/// Runs a topology under every combination of its lists, on logs in memory, and compares the final
/// outputs with those of the first combination. Each run ends by draining.
///
/// ```
/// use marea::codec::{I64, Utf8};
/// use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
/// use marea::testing::{Compare, InputRecord, Invariance};
///
/// let topology = || {
///     let builder = StreamBuilder::new();
///     builder
///         .stream("words", Consumed::with(Utf8, Utf8))
///         .group_by(|_, word| word.clone(), Grouped::with("by-word", Utf8, Utf8))
///         .count("counts")
///         .to_stream()
///         .present()
///         .to("counts-out", Produced::with(Utf8, I64));
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
    /// Numbers of partitions of every input topic.
    pub partitions: Vec<u32>,
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// Numbers of records that are appended, and taken by a task, at a time.
    pub batch_sizes: Vec<usize>,
    /// Commit intervals, in milliseconds.
    pub commit_intervals_ms: Vec<u64>,
    /// Whether the input is appended before the application starts (a backlog), while it runs, or
    /// both in turn.
    pub backlog: Vec<bool>,
}

impl Default for Invariance {
    fn default() -> Self {
        Self {
            partitions: vec![1, 4],
            workers: vec![1, 2],
            batch_sizes: vec![7, 500],
            commit_intervals_ms: vec![2, 50],
            backlog: vec![true, false],
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
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partitions,
            workers,
            batch_size,
            commit_interval_ms,
            backlog,
        } = self;
        let pace = if *backlog { "a backlog" } else { "live" };
        write!(
            f,
            "{partitions} partitions, {workers} workers, batches of {batch_size}, commits every \
             {commit_interval_ms} ms, {pace}"
        )
    }
}

impl Invariance {
    /// Runs every combination over `input` and compares the `outputs`. Input and output topics are
    /// created here; output topics have one partition.
    ///
    /// # Errors
    /// `User` if two combinations differ, naming both and the first record that differs; what the
    /// topology or the runtime report.
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
        Ok(())
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

fn compare(
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
                "topic {topic} differs between {ways}: {} = {} comes {} times, and {} times",
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
        .map(|topic| TopicSpec::new(topic, way.partitions))
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
    let mut application = Application::builder(topology, "invariance")
        .log(log.clone())
        .settings(Settings {
            workers: way.workers,
            records_per_step: way.batch_size,
            commit_interval_ms: way.commit_interval_ms,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
        .start()?;
    if !way.backlog {
        append(&*log, input, way)?;
    }
    application.drain(DEADLINE)?;
    application.close(DEADLINE)?;
    outputs
        .iter()
        .map(|(topic, compare)| read(&*log, topic, *compare))
        .collect()
}

fn append(log: &dyn Log, input: &[InputRecord], way: Way) -> Result<()> {
    let mut writer = log.writer("invariance-input")?;
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

fn read(log: &dyn Log, topic: &str, compare: Compare) -> Result<Output> {
    let partition = TopicPartition::new(topic, 0);
    let end = log.end_offset(&partition, Isolation::ReadCommitted)?;
    let mut reader = log.reader()?;
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
