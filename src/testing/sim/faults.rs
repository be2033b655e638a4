//! What goes wrong in a simulation, and how often.

use std::fmt;

/// How often each fault happens: once in this many opportunities, never for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Per turn: the worker dies, between two turns or at some point of a commit. It comes back after a
    /// while, under its old name or a new one.
    pub crash: u32,
    /// Per turn: the whole instance freezes for longer than its session, and then continues as if nothing
    /// had happened.
    pub freeze: u32,
    /// Per turn: the worker is stuck for longer than `max_poll_interval_ms` while its heartbeats
    /// continue.
    pub block: u32,
    /// Per turn: the log is unreachable for a while.
    pub outage: u32,
    /// Per commit: none of it happens.
    pub abort: u32,
    /// Per commit: it happens, but its answer is lost and has to be asked for more than once.
    pub lose_answer: u32,
    /// Per commit: it reaches the log late, perhaps long after its writer is gone.
    pub late: u32,
}

impl Faults {
    /// No faults.
    pub const NONE: Self = Self {
        crash: 0,
        freeze: 0,
        block: 0,
        outage: 0,
        abort: 0,
        lose_answer: 0,
        late: 0,
    };
}

impl Default for Faults {
    /// All faults, each several times per run.
    fn default() -> Self {
        Self {
            crash: 60,
            freeze: 150,
            block: 150,
            outage: 300,
            abort: 15,
            lose_answer: 8,
            late: 6,
        }
    }
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// See [`Faults::crash`].
    pub crashes: u64,
    /// See [`Faults::freeze`].
    pub freezes: u64,
    /// See [`Faults::block`].
    pub blocks: u64,
    /// See [`Faults::outage`].
    pub outages: u64,
    /// See [`Faults::abort`].
    pub aborts: u64,
    /// See [`Faults::lose_answer`].
    pub lost_answers: u64,
    /// See [`Faults::late`].
    pub late: u64,
    /// Commits that the log refused because they came from a zombie.
    pub fenced: u64,
}

impl FaultCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.freezes += other.freezes;
        self.blocks += other.blocks;
        self.outages += other.outages;
        self.aborts += other.aborts;
        self.lost_answers += other.lost_answers;
        self.late += other.late;
        self.fenced += other.fenced;
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes, {} freezes, {} blocks, {} outages, {} aborted commits, {} lost answers, {} late \
             commits, {} fenced",
            self.crashes,
            self.freezes,
            self.blocks,
            self.outages,
            self.aborts,
            self.lost_answers,
            self.late,
            self.fenced
        )
    }
}
