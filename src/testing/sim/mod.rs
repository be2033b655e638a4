//! Many lives of an application, each made from a seed, on one thread and in simulated time.
//!
//! ```text
//!  seed --> clock, chance --> whose turn is it? --> worker.turn() --> network --> log in memory
//!                                  |                                     |
//!                                  +-- dies, freezes, blocks             +-- loses, delays, breaks
//! ```
//! Workers, commit protocol, groups and tasks are the real ones; simulated are the clock, which advances
//! when it is read, the choice of the next turn, and the faults ([`Faults`]). The same seed gives the
//! same life, so a failure can be reproduced under a debugger or with more output.
//!
//! Records for global stores are in their topics before anything starts; all others come piece by piece.
//!
//! After each life the input is drained without faults, and the outputs must be those of a run without
//! faults: each record exactly once.

mod env;
mod faults;
mod network;
mod trace;
mod world;

use std::ops::Range;

pub use faults::{FaultCounts, Faults};

use self::world::World;
use super::invariance::{Output, compare, read};
use super::{Compare, InputRecord};
use crate::base::{Error, Result};
use crate::log::TopicSpec;
use crate::runtime::{Settings, StateBackend};
use crate::topology::Topology;

/// Simulates a topology, seed after seed, and compares the outputs of each with those of a run without
/// faults.
///
/// ```
/// use marea::prelude::*;
/// use marea::testing::{Compare, InputRecord, Simulation};
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
/// let words: Vec<_> = (0..500).map(word).collect();
/// let simulation = Simulation {
///     topics: vec![TopicSpec::new("words", 3), TopicSpec::new("counts-out", 1)],
///     seeds: 0..5,
///     ..Simulation::default()
/// };
/// let found = simulation.check(topology, &words, &[("counts-out", Compare::EveryRecord)])?;
/// assert!(found.faults.crashes > 0);
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The topics that the topology reads and writes.
    pub topics: Vec<TopicSpec>,
    /// Number of instances, each with one worker.
    pub workers: usize,
    /// The seeds. To reproduce a failure, use the one named in its message.
    pub seeds: Range<u64>,
    /// The minimum number of turns with faults: there are as many more as it takes to feed the input.
    pub turns: u64,
    /// Which faults occur, and how often.
    pub faults: Faults,
    /// The settings of each instance. Time-outs use the simulated clock; state is kept in memory, and
    /// restored between the steps of its worker (`restore_threads: 0`).
    pub settings: Settings,
}

impl Default for Simulation {
    /// Three workers with short time-outs, 200 seeds, every fault several times in each.
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            workers: 3,
            seeds: 0..200,
            turns: 500,
            faults: Faults::default(),
            settings: Settings {
                commit_interval_ms: 20,
                records_per_step: 10,
                session_timeout_ms: 300,
                max_poll_interval_ms: 800,
                purge_interval_ms: 100,
                restore_threads: 0,
                idle_timeout_ms: None,
                state_backend: StateBackend::Memory,
                ..Settings::default()
            },
        }
    }
}

/// One life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Equal for two runs of a seed in which the same events happened.
    pub trace: u64,
    /// Turns of all workers together.
    pub turns: u64,
    /// The faults that happened.
    pub faults: FaultCounts,
}

/// The totals of all seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// Number of seeds.
    pub seeds: u64,
    /// Turns of all workers together.
    pub turns: u64,
    /// The faults that happened.
    pub faults: FaultCounts,
}

impl Simulation {
    /// Runs every seed over `input` and compares the `outputs` with those of a run without faults.
    ///
    /// # Errors
    /// `User` if a seed's outputs differ; else errors of the topology or the runtime. The message names
    /// the seed, how to run it again, and the last events.
    pub fn check(
        &self,
        topology: impl Fn() -> Result<Topology>,
        input: &[InputRecord],
        outputs: &[(&str, Compare)],
    ) -> Result<Lives> {
        let (expected, _) = self
            .live(&topology, input, outputs, 0, Faults::NONE, None)
            .map_err(|error| error.context("without faults"))?;
        let mut lives = Lives::default();
        for seed in self.seeds.clone() {
            let expected = Some(&expected[..]);
            let (_, life) = self.live(&topology, input, outputs, seed, self.faults, expected)?;
            lives.seeds += 1;
            lives.turns += life.turns;
            lives.faults.add(&life.faults);
        }
        Ok(lives)
    }

    /// Runs one seed without comparing anything.
    ///
    /// # Errors
    /// As [`Simulation::check`].
    pub fn run(
        &self,
        topology: impl Fn() -> Result<Topology>,
        input: &[InputRecord],
        outputs: &[(&str, Compare)],
        seed: u64,
    ) -> Result<Life> {
        let life = self.live(&topology, input, outputs, seed, self.faults, None)?;
        Ok(life.1)
    }

    fn live(
        &self,
        topology: &dyn Fn() -> Result<Topology>,
        input: &[InputRecord],
        outputs: &[(&str, Compare)],
        seed: u64,
        faults: Faults,
        expected: Option<&[Output]>,
    ) -> Result<(Vec<Output>, Life)> {
        let mut world = World::new(self, topology, input, seed, faults)?;
        let ended = world.run().and_then(|()| {
            let read = |(topic, how): &(&str, Compare)| read(world.log(), topic, *how);
            let found: Vec<Output> = outputs.iter().map(read).collect::<Result<_>>()?;
            if let Some(expected) = expected {
                let runs = format!("a run without faults and seed {seed}");
                compare(&runs, outputs, expected, &found)?;
            }
            Ok(found)
        });
        let found = ended.map_err(|error: Error| {
            error.context(format!(
                "seed {seed} of a simulation ({}; to repeat it: `seeds: {seed}..{}`), which ended \
                 with:{}\n",
                world.counts(),
                seed + 1,
                world.trace
            ))
        })?;
        for (output, (topic, _)) in found.iter().zip(outputs) {
            topic.bytes().for_each(|byte| world.trace.mix(byte.into()));
            for ((key, value), times) in output {
                let bytes = key.iter().chain(value).flatten();
                bytes.for_each(|byte| world.trace.mix(u64::from(*byte)));
                world.trace.mix(*times as u64);
            }
        }
        let life = Life {
            trace: world.trace.hash(),
            turns: world.turns(),
            faults: world.counts(),
        };
        Ok((found, life))
    }
}
