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
//! A worker never takes silence for an answer: its failure stops the application, whose state, error
//! and exit say so. The runtime knows the log by its traits alone.

mod application;
mod commit;
mod drain;
mod globals;
mod hooks;
mod inline;
mod layout;
mod liveness;
mod moves;
mod open_task;
mod opening;
mod replay;
mod settings;
mod status;
mod stop_signal;
mod watch;
mod worker;

pub use application::{Application, ApplicationBuilder};
pub use hooks::{Hooks, NoHooks, Point};
pub(crate) use inline::Inline;
pub use opening::{RestoringTask, WaitingTask};
pub use replay::{Replay, StoreSum};
pub use settings::{DeletedUnread, Guarantee, Settings, StateBackend};
pub use status::{LogOutage, Snapshot, State, Stuck, TaskSnapshot, WorkerSnapshot};
pub use stop_signal::StopSignal;
pub(crate) use worker::Turn;

pub use crate::task::{DropReason, Drops, ErrorPolicies, Policy, Stage};
