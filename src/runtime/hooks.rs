//! Where a test may observe each step of a commit, or let the process die.

use std::fmt;

/// A step of the commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Records were processed; the commit has not been submitted.
    BeforeCommit,
    /// The commit was submitted; there is no answer yet.
    Asked,
    /// The log has committed; the rows are not in the backend.
    Committed,
    /// The rows are in the backend, perhaps not on disk yet.
    Applied,
    /// The backend is about to be flushed to the disk.
    BeforeFlush,
    /// The backend has been flushed.
    Flushed,
    /// A restore has written a part.
    Restoring,
    /// The record of where times are is about to be written, together with the times that move. Reached
    /// before tasks are opened, on the thread that opens them.
    BeforeMove,
    /// The log has committed that record.
    Moved,
}

/// Called by workers at each [`Point`]. Made for tests: a hook may abort the process.
pub trait Hooks: Send + Sync + fmt::Debug {
    /// The worker has reached `point`.
    fn reached(&self, point: Point);
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn reached(&self, _point: Point) {}
}
