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
//! A file imports only from those above it in the list below, which is also the order in which to read them: what every part
//! reads (`context`), what it reports (`status`), how tasks are opened (`opening`), the worker that runs them, and
//! the application that starts workers.
//!
//! A worker that ends is never ignored: its failure stops the application, and the state, the error and
//! the exit code report it. The runtime uses the log only through its traits.

// What everything reads.
mod settings;
mod spans;
mod hooks;
mod shutdown;
mod own_topics;
mod scan;
mod record;
mod layout;
mod context;

// What is reported.
mod figures;
mod snapshot;
mod status;
mod liveness;

// How tasks come to a worker.
mod contents;
mod moves;
mod change;
mod comparing;
mod committed_tasks;
mod opening;

// What a worker does with them.
mod open_task;
mod commit;
mod about;
mod shared;
mod worker;

// What the user holds.
mod drain;
mod globals;
mod watch;
mod stop_signal;
mod queries;
mod handle;
mod builder;
mod replay;
mod inline;
mod application;

pub use about::About;
pub use application::Application;
pub use builder::ApplicationBuilder;
pub use change::{
    MovedTimes, Orphan, OrphanFate, Piece, PieceKind, Refusal, Returned, TopologyChange,
};
pub use contents::RowCount;
pub use figures::{InputSnapshot, Latencies, MemorySnapshot, StoreSnapshot, WorkerMemory};
pub use handle::Handle;
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
