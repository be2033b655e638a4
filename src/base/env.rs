//! The only access to time, randomness and threads.
//!
//! The rest of the library uses its [`Env`]; `clippy.toml` bans the standard calls. So a test can control
//! the clock, and a simulation can control every source of nondeterminism.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Error, ErrorKind, Result};

/// Clock, randomness and threads.
pub trait Env: Send + Sync + fmt::Debug + 'static {
    /// The wall clock, in milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// A clock that never goes back, in nanoseconds since a fixed moment of this process.
    fn monotonic_ns(&self) -> u64;
    /// A random number.
    fn random_u64(&self) -> u64;
    /// Starts a named thread. The holder of the [`Thread`] owns it and must join it.
    ///
    /// # Errors
    /// `Unavailable` if the system provides no thread.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread>;
    /// Blocks the calling thread.
    fn sleep(&self, duration: Duration);

    /// [`Env::monotonic_ns`] in milliseconds.
    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }
}

/// A thread with an owner.
#[derive(Debug)]
pub struct Thread(Option<std::thread::JoinHandle<()>>);

impl Thread {
    /// A thread that has already ended: for an [`Env`] that runs bodies where they are spawned.
    pub fn ended() -> Self {
        Self(None)
    }

    /// Waits for the thread to end; `false` if it panicked.
    pub fn join(self) -> bool {
        self.0.is_none_or(|thread| thread.join().is_ok())
    }

    /// Whether the thread has ended, so that [`Thread::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(|thread| thread.is_finished())
    }
}

/// The real clock, the system's randomness, real threads.
#[derive(Debug)]
pub struct SystemEnv {
    started: Instant,
    random: AtomicU64,
}

impl SystemEnv {
    /// An environment whose monotonic clock starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door that the ban points to"
    )]
    pub fn shared() -> Arc<Self> {
        use std::hash::{BuildHasher, RandomState};
        let seed = RandomState::new().hash_one(std::process::id());
        Arc::new(Self {
            started: Instant::now(),
            random: AtomicU64::new(seed),
        })
    }
}

impl Env for SystemEnv {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door that the ban points to"
    )]
    fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn random_u64(&self) -> u64 {
        next_random(&self.random)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door that the ban points to"
    )]
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map(|thread| Thread(Some(thread)))
            .map_err(|cause| {
                let message =
                    format!("the system cannot start thread {name}; reduce the number of workers");
                Error::new(ErrorKind::Unavailable, message).with_source(cause)
            })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door that the ban points to"
    )]
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that advances only when told to, and seeded randomness; threads are real.
#[derive(Debug)]
pub struct ManualEnv {
    wall_ms: AtomicI64,
    random: AtomicU64,
    threads: Arc<SystemEnv>,
}

impl ManualEnv {
    /// An environment whose wall clock shows `wall_ms` and whose randomness starts at `seed`.
    pub fn new(wall_ms: i64, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            wall_ms: AtomicI64::new(wall_ms),
            random: AtomicU64::new(seed),
            threads: SystemEnv::shared(),
        })
    }

    /// Advances both clocks.
    pub fn advance_ms(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Env for ManualEnv {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst).max(0) as u64 * 1_000_000
    }

    fn random_u64(&self) -> u64 {
        next_random(&self.random)
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
        self.threads.spawn(name, body)
    }

    fn sleep(&self, duration: Duration) {
        self.advance_ms(duration.as_millis() as i64);
    }
}

/// The numbers that follow from a seed, for reproducible randomness.
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

impl Chance {
    /// The numbers of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub(crate) fn next_u64(&self) -> u64 {
        next_random(&self.0)
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&self, end: u64) -> u64 {
        match end {
            0 => 0,
            end => self.next_u64() % end,
        }
    }

    /// True once in `n` calls on average; never for 0.
    pub(crate) fn one_in(&self, times: u32) -> bool {
        times > 0 && self.below(u64::from(times)) == 0
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter and identities, not for secrets.
fn next_random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
