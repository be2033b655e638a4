//! Whole applications on a whole log: `cargo bench --bench end_to_end -- run TOPOLOGY RECORDS [setting=value...]`,
//! the counterpart of `benches/peers/peer run`, which runs Kafka Streams.
//!
//! Topologies: `pass`, `filter`, `sensor` (averages of 10 s by key, every update is sent), `count`, `ocean`
//! (re-keyed by ocean, averages, alerts), `join`. Settings:
//!
//! ```text
//! bootstrap=HOST:PORT    on Kafka, whose topic `in` holds RECORDS records (benches/peers/peer load)
//! log=memory:|embedded:DIR|kafka://HOST:PORT   another log; the first two get an input of their own:
//! keys=N partitions=N text=json|compact        its contents
//! in=TOPIC app=ID state=DIRECTORY              defaults: readings, a new one, a temporary one
//! guarantee=exactly_once|at_least_once workers=N commit_interval_ms=N
//! commit_spacing_ms=N memory_mib=N (96)
//! reach_ms=N (200)       maximum time difference of a join's partners; sensors repeat every KEYS / 20 ms
//! written=1              on Kafka: also prints what was written, as the next setting takes it
//! bare=WRITES            on Kafka: the same traffic with the Kafka client and without this library; WRITES is
//!                        TOPIC:RECORDS:KEY_BYTES:VALUE_BYTES, and more after commas
//! restore=1              with the app of an earlier run and an empty state directory: times the restore
//! ```
//!
//! The clock runs from the first record until everything is committed, checked from outside every 50 ms. Prints
//! one JSON line. With RECORDS 0 it runs until it is interrupted, for measurements of latency.

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

#[macro_use]
#[path = "../tests/support/forward_to_log.rs"]
mod forward_to_log;

#[path = "end_to_end/bare.rs"]
mod bare;
#[path = "end_to_end/load.rs"]
mod load;
#[path = "end_to_end/process.rs"]
mod process;
#[path = "end_to_end/readings.rs"]
mod readings;
#[path = "end_to_end/restore_clock.rs"]
mod restore_clock;
#[path = "end_to_end/topologies.rs"]
mod topologies;
#[path = "end_to_end/written.rs"]
mod written;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use load::Load;
use marea::base::{SystemEnv, TopicPartition};
use marea::disk::Budget;
use marea::log::{self, Isolation, Log, OpenOptions, TopicSpec};
use marea::runtime::{Application, Guarantee, Settings, Snapshot, State, StopSignal};
use restore_clock::RestoreClock;
use topologies::Text;
use written::Written;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often to check whether everything is committed.
const LOOK: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(900);

struct Run {
    topology: String,
    records: u64,
    log: String,
    input: String,
    app: Option<String>,
    keys: u64,
    partitions: u32,
    text: Option<Text>,
    state: Option<PathBuf>,
    restore: bool,
    written: bool,
    bare: Option<Vec<Written>>,
    reach_ms: u64,
    settings: Settings,
}

impl Run {
    fn parse(args: &[String]) -> Outcome<Self> {
        let [topology, records, settings @ ..] = args else {
            return Err("usage: run TOPOLOGY RECORDS [setting=value...]".into());
        };
        let mut run = Self {
            topology: topology.clone(),
            records: records.parse()?,
            log: "memory:".into(),
            input: "readings".into(),
            app: None,
            keys: 10_000,
            partitions: 1,
            text: None,
            state: None,
            restore: false,
            written: false,
            bare: None,
            reach_ms: 200,
            settings: Settings {
                memory_bytes: 96 << 20,
                ..Settings::default()
            },
        };
        for setting in settings {
            let (name, value) = setting.split_once('=').ok_or("a setting is name=value")?;
            match name {
                "log" => run.log = value.into(),
                "bootstrap" => run.log = format!("kafka://{value}"),
                "in" => run.input = value.into(),
                "app" => run.app = Some(value.into()),
                "keys" => run.keys = value.parse()?,
                "partitions" => run.partitions = value.parse()?,
                "text" if value == "json" => run.text = Some(Text::Json),
                "text" if value == "compact" => run.text = Some(Text::Compact),
                "state" => run.state = Some(value.into()),
                "reach_ms" => run.reach_ms = value.parse()?,
                "restore" => run.restore = value == "1",
                "written" => run.written = value == "1",
                "bare" => {
                    run.bare = Some(value.split(',').map(str::parse).collect::<Result<_, _>>()?)
                }
                "workers" => run.settings.workers = value.parse()?,
                "commit_interval_ms" => run.settings.commit_interval_ms = value.parse()?,
                "commit_spacing_ms" => run.settings.commit_spacing_ms = Some(value.parse()?),
                "memory_mib" => run.settings.memory_bytes = value.parse::<usize>()? << 20,
                "guarantee" if value == "at_least_once" => {
                    run.settings.guarantee = Guarantee::AtLeastOnce;
                }
                "guarantee" if value == "exactly_once" => {}
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(run)
    }

    fn run(&self) -> Outcome<()> {
        let born = Instant::now();
        let scratch = tempfile::tempdir()?;
        let url = self.log.replace(
            "embedded:TMP",
            &format!("embedded:{}", scratch.path().join("log").display()),
        );
        let log = log::open(
            &url,
            &OpenOptions::new(SystemEnv::shared(), Budget::new(128 << 20)),
        )?;
        let partitions = self.prepare(&*log, url.starts_with("kafka:"))?;
        let id = self.id();
        let bootstrap = url.strip_prefix("kafka://");
        let inputs = self.inputs();
        if let (Some(writes), Some(bootstrap)) = (&self.bare, bootstrap) {
            let topics = writes.iter();
            let topics: Vec<_> = topics
                .map(|to| TopicSpec::new(&to.topic, partitions))
                .collect();
            log.create_topics(&topics)?;
            let bare = bare::Bare {
                bootstrap,
                topology: &self.topology,
                inputs: &inputs,
                writes,
                app: &id,
                partitions,
                workers: self.settings.workers,
                records: self.records * inputs.len() as u64,
                commit_interval: Duration::from_millis(self.settings.commit_interval_ms),
                is_exactly_once: self.settings.guarantee == Guarantee::ExactlyOnce,
            };
            return bare.run();
        }
        let clock = RestoreClock::new(log.clone());
        let state = self.state.clone();
        let started = Instant::now();
        let mut application = Application::builder(
            topologies::topology(&self.topology, &self.input, self.text(), self.reach_ms)?,
            &id,
        )
        .log(clock.clone())
        .hooks(clock.clone())
        .state_directory(state.unwrap_or(scratch.path().join("state")))
        .settings(self.settings.clone())
        .start()?;
        if self.records == 0 {
            println!("running");
            return Ok(application.run_until(&StopSignal::listen()?, Duration::from_secs(30))?);
        }
        let snapshot = self.wait(&application, &*log, &id, partitions, started)?;
        let ended = Instant::now();
        application.close(Duration::from_secs(60))?;
        // A restore reads no record of the input.
        let first = readings::FIRST.get().copied().unwrap_or(ended);
        let seconds = (ended - first).as_secs_f64();
        let restored: u64 = snapshot.tasks.iter().map(|task| task.restored).sum();
        let (cpu_s, rss_mib) = (process::cpu_seconds(), process::peak_rss_mib());
        let written = match bootstrap.filter(|_| self.written) {
            Some(bootstrap) => {
                written::written(bootstrap, &id, &topologies::outputs(&self.topology))?
            }
            None => Vec::new(),
        };
        let written: Vec<_> = written.iter().map(Written::to_string).collect();
        println!(
            "{{\"peer\":\"marea\",\"topology\":\"{}\",\"records\":{},\"seconds\":{seconds:.3},\"records_per_s\":{:.0},\
             \"startup_s\":{:.3},\"cpu_s\":{:.2},\"rss_mib\":{},\"restored\":{restored},\"restore_s\":{:.3},\
             \"commits\":{},\"dropped\":{},\"written\":\"{}\"}}",
            self.topology,
            self.records,
            self.records as f64 / seconds.max(1e-9),
            (first - born).as_secs_f64(),
            cpu_s,
            rss_mib,
            clock.seconds(),
            snapshot.commits,
            snapshot.drops.kafka_streams_total(),
            written.join(","),
        );
        Ok(())
    }

    /// On Kafka the format that Kafka Streams reads; elsewhere the compact one, unless the topology needs oceans.
    fn text(&self) -> Text {
        let compact = !self.log.starts_with("kafka:")
            && !["filter", "ocean"].contains(&self.topology.as_str());
        let usual = if compact { Text::Compact } else { Text::Json };
        self.text.unwrap_or(usual)
    }

    /// The topics that it reads.
    fn inputs(&self) -> Vec<String> {
        let mut inputs = vec![self.input.clone()];
        if self.topology == "join" {
            inputs.push(format!("{}2", self.input));
        }
        inputs
    }

    fn id(&self) -> String {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = since_1970.unwrap_or_default().as_millis();
        let new = || format!("marea-{}-{now_ms}", self.topology);
        self.app.clone().unwrap_or_else(new)
    }

    /// Creates the topics; on a log of our own, the input too. Returns its number of partitions.
    fn prepare(&self, log: &dyn Log, on_kafka: bool) -> Outcome<u32> {
        let mut partitions = self.partitions;
        if on_kafka {
            let found = log.topic(&self.input)?;
            partitions = found
                .ok_or_else(|| {
                    format!(
                        "there is no topic {}; make it with benches/peers/peer load",
                        self.input
                    )
                })?
                .partitions;
        } else {
            for topic in &self.inputs() {
                log.create_topics(&[TopicSpec::new(topic, partitions)])?;
                let load = Load {
                    topic,
                    partitions,
                    records: self.records,
                    keys: self.keys,
                    text: self.text(),
                };
                load.append(log)?;
            }
        }
        let outputs = topologies::outputs(&self.topology);
        let specs = outputs
            .iter()
            .map(|name| TopicSpec::new(name, partitions))
            .collect::<Vec<_>>();
        log.create_topics(&specs)?;
        Ok(partitions)
    }

    /// Waits until the committed offsets of the inputs show that everything has been processed.
    fn wait(
        &self,
        application: &Application,
        log: &dyn Log,
        id: &str,
        partitions: u32,
        started: Instant,
    ) -> Outcome<Snapshot> {
        let of = |topic: &str| -> Vec<_> {
            let numbers = 0..partitions;
            numbers
                .map(|number| TopicPartition::new(topic, number))
                .collect()
        };
        let topics = self.inputs();
        let inputs: Vec<_> = topics.iter().flat_map(|topic| of(topic)).collect();
        let mut repartitioned = of(&format!("{id}-by-ocean-repartition"));
        repartitioned.retain(|_| self.topology == "ocean");
        let wanted = self.records as i64 * topics.len() as i64;
        // The markers of the workers' last transactions come after the last record.
        let markers = self.settings.workers as i64;
        loop {
            std::thread::sleep(LOOK);
            let snapshot = application.snapshot();
            if let Some(error) = snapshot.error {
                return Err(error.into());
            }
            if started.elapsed() > DEADLINE {
                return Err(format!("not at the end after {DEADLINE:?}").into());
            }
            let committed = |partitions: &[TopicPartition]| -> Outcome<Vec<i64>> {
                let found = log.committed(id, partitions)?;
                Ok(found
                    .into_iter()
                    .map(|offset| offset.map_or(0, |offset| offset.offset))
                    .collect())
            };
            if committed(&inputs)?.iter().sum::<i64>() < wanted {
                continue;
            }
            let ends = log.end_offsets(&repartitioned, Isolation::ReadCommitted)?;
            let behind = ends.iter().zip(committed(&repartitioned)?);
            let lag = behind.map(|(end, at)| (end - at - markers).max(0));
            if lag.sum::<i64>() > 0 || (self.restore && snapshot.state == State::Starting) {
                continue;
            }
            return Ok(snapshot);
        }
    }
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "run" => {
            process::with_few_arenas()?;
            Run::parse(rest)?.run()
        }
        // As a test, or as a plain bench: every topology with few records. A join has many partners. The clock of
        // the first record starts only once per process, so these lines only show that everything works.
        _ => topologies::NAMES.iter().try_for_each(|name| {
            let records = if *name == "join" { "2000" } else { "20000" };
            let run = [name.to_string(), records.into()];
            Run::parse(&run)?.run()
        }),
    }
}
