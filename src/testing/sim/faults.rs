//! What goes wrong in a simulation, and how often.

use std::fmt;

/// How often each fault happens: once in this many opportunities, never for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Of turns: the worker dies, between two turns or at some point of a commit. It comes back after a
    /// while, under its old name or a new one.
    pub crash: u32,
    /// Of turns: the whole instance stands still for longer than its session, and goes on as if nothing
    /// had happened.
    pub freeze: u32,
    /// Of turns: the worker is stuck for longer than `max_poll_interval_ms` while its heart beats.
    pub block: u32,
    /// Of turns: the log cannot be reached by anybody for a while.
    pub outage: u32,
    /// Of commits: none of it happens.
    pub abort: u32,
    /// Of commits: it happens, and its answer is lost and has to be asked for more than once.
    pub lose_answer: u32,
    /// Of commits: it reaches the log late, perhaps when its writer is long gone.
    pub late: u32,
}

impl Faults {
    /// Nothing goes wrong.
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
    /// All of it, each some times in a run.
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

/// How often each thing went wrong.
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
    /// Commits that the log refused as those of a zombie.
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
