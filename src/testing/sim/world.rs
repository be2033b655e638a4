//! One run: instances, the network between them and the log, the input, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Simulation;
use super::env::SimEnv;
use super::faults::{FaultCounts, Faults};
use super::network::Network;
use super::trace::Trace;
use crate::base::{Chance, Error, Result, TopicPartition, partition_for_key};
use crate::log::{BatchBuilder, Commit, Log, MemoryLog, Writer};
use crate::runtime::{Application, Hooks, Inline, Point, Settings, Turn};
use crate::testing::InputRecord;
use crate::topology::Topology;

/// The name of the simulated application, the prefix of its internal topics.
const APPLICATION: &str = "simulation";
/// The number of pieces that the input arrives in, at random moments.
const PIECES: usize = 40;
/// Number of turns after which a run without faults must have finished.
const TURNS_MOST: u64 = 50_000;

/// One run of a seed.
pub(super) struct World<'a> {
    simulation: &'a Simulation,
    topology: &'a dyn Fn() -> Result<Topology>,
    env: Arc<SimEnv>,
    /// Below the network.
    log: Arc<dyn Log>,
    network: Arc<Network>,
    /// Separate from the workers' randomness: what they do with theirs does not change what happens to
    /// them.
    chance: Chance,
    faults: Faults,
    counts: FaultCounts,
    places: Vec<Place>,
    input: VecDeque<&'a [InputRecord]>,
    feeder: Box<dyn Writer>,
    partitions: BTreeMap<String, u32>,
    /// What fills the global stores. It is there before anything starts: which rows a record finds of those
    /// that come later is a matter of chance, so results could not be compared.
    global_topics: BTreeSet<String>,
    beat_at_ms: u64,
    turns: u64,
    pub(super) trace: Trace,
}

/// Where an instance of the application runs, if it is running.
struct Place {
    /// Incremented when it comes back under a new name.
    name: u64,
    instance: Option<Inline>,
    hooks: Arc<Dying>,
    /// When it wants its next turn, or comes back.
    wake_at_ms: u64,
    /// Whether it has no turn until then, whatever happens.
    still: bool,
    /// Whether its heartbeats stop too.
    frozen: bool,
    ended: bool,
}

/// Lets the worker die at some point of a commit.
#[derive(Debug, Default)]
struct Dying {
    /// After how many points from now; 0 for never.
    points: AtomicU64,
}

/// The payload with which a worker dies.
struct Death;

impl Hooks for Dying {
    fn reached(&self, point: Point) {
        // The code that opens tasks catches panics itself, so that a failure affects only its task.
        let opens = matches!(point, Point::Restoring | Point::BeforeMove | Point::Moved);
        if opens || self.points.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.points.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Not a panic: nothing is printed, and only the world catches it.
            resume_unwind(Box::new(Death));
        }
    }
}

impl<'a> World<'a> {
    pub(super) fn new(
        simulation: &'a Simulation,
        topology: &'a dyn Fn() -> Result<Topology>,
        input: &'a [InputRecord],
        seed: u64,
        faults: Faults,
    ) -> Result<Self> {
        let env = SimEnv::new(seed);
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(env.clone()));
        log.create_topics(&simulation.topics)?;
        let network = Arc::new(Network::new(log.clone(), env.clone(), faults));
        let place = || Place {
            name: 0,
            instance: None,
            hooks: Arc::default(),
            wake_at_ms: 0,
            still: false,
            frozen: false,
            ended: false,
        };
        let topics = simulation.topics.iter();
        let global = topology()?.global().map(|global| global.sources.clone());
        let global = global.into_iter().flatten();
        let mut world = Self {
            simulation,
            topology,
            feeder: log.writer("feeder", 1 << 20)?,
            env,
            log,
            network,
            chance: Chance::new(seed ^ 0x5eed),
            faults,
            counts: FaultCounts::default(),
            places: (0..simulation.workers).map(|_| place()).collect(),
            input: input.chunks(input.len().div_ceil(PIECES).max(1)).collect(),
            partitions: topics
                .map(|topic| (topic.name.clone(), topic.partitions))
                .collect(),
            global_topics: global.map(|topic| topic.to_string()).collect(),
            beat_at_ms: 0,
            turns: 0,
            trace: Trace::new(seed),
        };
        world.feed_records(input, true)?;
        Ok(world)
    }

    /// The result below the network.
    pub(super) fn log(&self) -> &dyn Log {
        &*self.log
    }

    pub(super) fn counts(&self) -> FaultCounts {
        let mut counts = self.counts;
        counts.add(&self.network.counts());
        counts
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns
    }

    /// Runs with faults, then to the end of the input, then stops all instances.
    pub(super) fn run(&mut self) -> Result<()> {
        while !self.input.is_empty() || self.turns < self.simulation.turns {
            if self.chance.one_in(8) {
                self.feed()?;
            }
            self.step()?;
        }
        self.calm();
        let most = self.turns + TURNS_MOST;
        while !self.have_ended() {
            if self.turns > most {
                let snapshots = self.places.iter().filter_map(|place| {
                    let snapshot = place.instance.as_ref()?.snapshot();
                    Some(format!("{snapshot:?}"))
                });
                let snapshots = snapshots.collect::<Vec<_>>().join("\n");
                return Err(Error::internal(format!(
                    "after {TURNS_MOST} turns without faults still waiting for the input to \
                     end:\n{snapshots}"
                )));
            }
            self.step()?;
        }
        Ok(())
    }

    /// From now on there are no faults; frozen instances continue in due time.
    fn calm(&mut self) {
        self.faults = Faults::NONE;
        self.network.calm();
        for place in &self.places {
            place.hooks.points.store(0, Ordering::Relaxed);
        }
    }

    /// Drains and stops every instance, as their owners would; returns whether all have ended.
    fn have_ended(&mut self) -> bool {
        for place in &mut self.places {
            if let Some(instance) = &mut place.instance
                && instance.is_drained()
            {
                instance.stop();
            }
        }
        self.places.iter().all(|place| place.ended)
    }

    /// The next instance, at the time when its turn is due.
    fn step(&mut self) -> Result<()> {
        self.turns += 1;
        let chosen = self.choose();
        self.network.deliver();
        self.beat();
        if self.chance.one_in(self.faults.outage) {
            let until_ms = self.env.now_ms() + self.chance.below(600);
            self.network.break_until_ms(until_ms);
            self.trace
                .say(self.env.now_ms(), None, "the log is unavailable", until_ms);
        }
        if self.places[chosen].instance.is_none() {
            return self.bring_back(chosen);
        }
        self.places[chosen].frozen = false;
        self.places[chosen].still = false;
        if self.go_wrong(chosen) {
            return Ok(());
        }
        self.turn(chosen)
    }

    /// One of the instances that are due, advancing the clock to the first if none is; occasionally one
    /// that is not.
    fn choose(&mut self) -> usize {
        let now_ms = self.env.now_ms();
        let due = |place: &Place| !place.ended && place.wake_at_ms <= now_ms;
        let mut ready: Vec<usize> = self.positions(due);
        if ready.is_empty() && self.chance.one_in(4) {
            ready =
                self.positions(|place| place.instance.is_some() && !place.still && !place.ended);
        }
        if ready.is_empty() {
            let alive = self.places.iter().filter(|place| !place.ended);
            let first_ms = alive.map(|place| place.wake_at_ms).min().unwrap_or(now_ms);
            self.env.advance_to_ms(first_ms);
            ready = self.positions(|place| !place.ended && place.wake_at_ms <= first_ms);
        }
        let chosen = self.chance.below(ready.len() as u64) as usize;
        ready.get(chosen).copied().unwrap_or(0)
    }

    fn positions(&self, wanted: impl Fn(&Place) -> bool) -> Vec<usize> {
        let places = self.places.iter().enumerate();
        let wanted = places.filter(|(_, place)| wanted(place));
        wanted.map(|(position, _)| position).collect()
    }

    /// Whether a fault keeps the instance from taking turns.
    fn go_wrong(&mut self, chosen: usize) -> bool {
        let now_ms = self.env.now_ms();
        let settings = &self.simulation.settings;
        let place = &mut self.places[chosen];
        if self.chance.one_in(self.faults.crash) {
            if self.chance.one_in(2) {
                // Within one of its next commits.
                let points = 1 + self.chance.below(12);
                place.hooks.points.store(points, Ordering::Relaxed);
                return false;
            }
            self.die(chosen);
            return true;
        }
        if self.chance.one_in(self.faults.freeze) {
            self.counts.freezes += 1;
            place.frozen = true;
            place.still = true;
            place.wake_at_ms = now_ms + longer_than(settings.session_timeout_ms, &self.chance);
            self.trace
                .say(now_ms, Some(chosen), "freezes", place.wake_at_ms);
            return true;
        }
        if self.chance.one_in(self.faults.block) {
            self.counts.blocks += 1;
            place.still = true;
            place.wake_at_ms = now_ms + longer_than(settings.max_poll_interval_ms, &self.chance);
            self.trace
                .say(now_ms, Some(chosen), "blocks", place.wake_at_ms);
            return true;
        }
        false
    }

    fn die(&mut self, chosen: usize) {
        self.counts.crashes += 1;
        let now_ms = self.env.now_ms();
        let place = &mut self.places[chosen];
        place.instance = None;
        place.hooks = Arc::default();
        let away_ms = self
            .chance
            .below(2 * self.simulation.settings.session_timeout_ms);
        place.wake_at_ms = now_ms + away_ms;
        place.name += self.chance.below(2);
        self.trace.say(now_ms, Some(chosen), "dies", away_ms);
    }

    fn bring_back(&mut self, chosen: usize) -> Result<()> {
        let now_ms = self.env.now_ms();
        let place = &mut self.places[chosen];
        let settings = Settings {
            workers: 1,
            restore_threads: 0,
            ..self.simulation.settings.clone()
        };
        let builder = Application::builder((self.topology)()?, APPLICATION)
            .log(self.network.clone())
            .env(self.env.clone())
            .hooks(place.hooks.clone())
            .settings(settings);
        match builder.inline(&format!("i{chosen}-{}", place.name)) {
            Ok(instance) => {
                place.instance = Some(instance);
                self.trace.say(now_ms, Some(chosen), "comes up", place.name);
            }
            // No instance can start during an outage.
            Err(error) if error.kind() == crate::base::ErrorKind::Unavailable => {
                place.wake_at_ms = now_ms + 50;
                self.trace.say(now_ms, Some(chosen), "cannot start", 0);
            }
            Err(error) => return Err(error.context(format!("instance {chosen} starts"))),
        }
        Ok(())
    }

    fn turn(&mut self, chosen: usize) -> Result<()> {
        let began_ms = self.env.now_ms();
        let place = &mut self.places[chosen];
        let Some(instance) = &mut place.instance else {
            return Ok(());
        };
        let turn = match catch_unwind(AssertUnwindSafe(|| instance.turn(0))) {
            Ok(turn) => turn.map_err(|error| error.context(format!("instance {chosen}")))?,
            Err(cause) if cause.is::<Death>() => {
                self.die(chosen);
                return Ok(());
            }
            Err(cause) => resume_unwind(cause),
        };
        let snapshot = instance.snapshot();
        let now_ms = self.env.now_ms();
        place.wake_at_ms = match turn {
            Turn::Again => now_ms,
            Turn::Wait { until_ms } => until_ms.max(now_ms),
            Turn::Ended => {
                place.ended = true;
                now_ms
            }
        };
        self.trace
            .turn(began_ms, chosen, place.wake_at_ms, snapshot.records);
        Ok(())
    }

    /// Sends the heartbeats of all instances that are not frozen.
    fn beat(&mut self) {
        let now_ms = self.env.now_ms();
        if now_ms < self.beat_at_ms {
            return;
        }
        self.beat_at_ms = now_ms + self.simulation.settings.session_timeout_ms / 3;
        for place in &self.places {
            if let (Some(instance), false) = (&place.instance, place.frozen) {
                instance.beat();
            }
        }
    }

    /// Appends the next piece of the input.
    fn feed(&mut self) -> Result<()> {
        let Some(piece) = self.input.pop_front() else {
            return Ok(());
        };
        self.feed_records(piece, false)?;
        self.trace
            .say(self.env.now_ms(), None, "input", piece.len() as u64);
        Ok(())
    }

    /// Appends the records of topics that fill global stores, or those of all others.
    fn feed_records(&mut self, records: &[InputRecord], global: bool) -> Result<()> {
        let mut builders: BTreeMap<TopicPartition, BatchBuilder> = BTreeMap::new();
        let of_global = |record: &&InputRecord| self.global_topics.contains(&*record.topic);
        for record in records.iter().filter(|record| of_global(record) == global) {
            let key = record.key.as_deref();
            let partitions = self.partitions.get(&record.topic).copied().unwrap_or(1);
            let partition = key.map_or(0, |key| partition_for_key(key, partitions));
            let place = TopicPartition::new(record.topic.as_str(), partition);
            let builder = builders.entry(place).or_default();
            builder.push(key, record.value.as_deref(), record.timestamp_ms, &[]);
        }
        if builders.is_empty() {
            return Ok(());
        }
        let batches = builders.into_iter();
        let appends = batches.filter_map(|(place, mut builder)| Some((place, builder.seal()?)));
        let commit = Commit {
            appends: appends.collect(),
            group: None,
        };
        let submitted = self.feeder.submit(commit);
        submitted
            .and_then(|()| self.feeder.poll(std::time::Duration::ZERO))
            .map_err(|error| error.into_error())?;
        Ok(())
    }
}

/// One and a half to two and a half times as long.
fn longer_than(ms: u64, chance: &Chance) -> u64 {
    ms + ms / 2 + chance.below(ms)
}
