//! Runs a topology: workers, assignment, commits, restore.
//!
//! ```text
//!  Application -- starts --> Worker (an OS thread) -- owns --> tasks, reader, writer, member
//!       |                      |
//!       |                      |  turn: take assignment   step   commit   fetch   (one owner)
//!       |                      v
//!       |                    Status  <-- read by snapshot, drain, close
//!       +----- starts --> Liveness: heartbeats while workers are busy
//! ```
//!
//! Before anything is created, the topology is compared with what is on the log (`change`).
//!
//! Other threads read what tasks have committed (`queries`).
//!
//! A worker that ends is never ignored: its failure stops the application, and the state, the error and
//! the exit code report it. The runtime uses the log only through its traits.

mod application;
mod change;
mod commit;
mod committed_tasks;
mod comparing;
mod contents;
mod drain;
mod figures;
mod globals;
mod handle;
mod hooks;
mod inline;
mod layout;
mod liveness;
mod moves;
mod open_task;
mod opening;
mod own_topics;
mod queries;
mod record;
mod replay;
mod scan;
mod settings;
mod snapshot;
mod status;
mod stop_signal;
mod watch;
mod worker;

pub use application::{Application, ApplicationBuilder};
pub use change::{
    MovedTimes, Orphan, OrphanFate, Piece, PieceKind, Refusal, Returned, TopologyChange,
};
pub use contents::RowCount;
pub use figures::{InputSnapshot, Latencies, MemorySnapshot, StoreSnapshot, WorkerMemory};
pub use handle::{About, Handle};
pub use hooks::{Hooks, NoHooks, Point};
pub(crate) use inline::Inline;
#[cfg(feature = "admin")]
pub(crate) use own_topics::instances_topic;
pub use queries::{Queries, View};
pub use replay::{Replay, StoreSum};
pub use settings::{DeletedUnread, Guarantee, Settings, StateBackend};
pub use snapshot::{
    LogOutage, RestoringTask, Snapshot, State, Stuck, TaskSnapshot, WaitingTask, WorkerSnapshot,
};
pub use stop_signal::StopSignal;
pub(crate) use worker::Turn;

pub use crate::state::{RowFigures, StoreFigures};
pub use crate::task::{
    DropReason, Drops, ErrorPolicies, Failures, HeldBack, InputFigures, Policy, Stage, Traffic,
};
