//! Clock and randomness of a simulation. There are no threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::{Chance, Env, Result, Thread};

/// When the wall clock of a simulation begins: 14 November 2023.
const WALL_MS: i64 = 1_700_000_000_000;
/// How much time reading the clock takes, in nanoseconds.
const LOOK_NS: u64 = 200;
/// Once in this many reads of the clock, something took long, so that some steps end by time.
const LONG_EVERY: u32 = 50;
const LONG_NS: u64 = 4_000_000;

/// A clock that advances a little whenever it is read, and otherwise when told to.
#[derive(Debug)]
pub(super) struct SimEnv {
    now_ns: AtomicU64,
    chance: Chance,
}

impl SimEnv {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            now_ns: AtomicU64::new(1_000_000_000),
            chance: Chance::new(seed),
        })
    }

    /// The time, without advancing it.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed) / 1_000_000
    }

    /// Advances the clock to a time, unless it is already there.
    pub(super) fn advance_to_ms(&self, ms: u64) {
        let ns = ms.saturating_mul(1_000_000);
        self.now_ns.fetch_max(ns, Ordering::Relaxed);
    }

    pub(super) fn chance(&self) -> &Chance {
        &self.chance
    }
}

impl Env for SimEnv {
    fn wall_ms(&self) -> i64 {
        WALL_MS + self.now_ms() as i64
    }

    fn monotonic_ns(&self) -> u64 {
        let took_ns = match self.chance.one_in(LONG_EVERY) {
            true => self.chance.below(LONG_NS),
            false => LOOK_NS,
        };
        self.now_ns.fetch_add(took_ns, Ordering::Relaxed) + took_ns
    }

    fn random_u64(&self) -> u64 {
        self.chance.next_u64()
    }

    /// Runs the body to its end, immediately.
    fn spawn(&self, _name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
        body();
        Ok(Thread::ended())
    }

    fn sleep(&self, duration: Duration) {
        let took_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(took_ns, Ordering::Relaxed);
    }
}
