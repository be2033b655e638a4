//! Runs a topology: workers, assignment, commits, restore.
//!
//! ```text
//!  Application -- starts --> Worker (an OS thread) -- owns --> tasks, reader, writer, member
//!                              |
//!                              |  take assignment   fetch   step   commit   (one loop, one owner)
//!                              v
//!                            Status  <-- read by snapshot, drain, close
//! ```
//!
//! A worker never takes silence for an answer: its failure stops the application, whose state, error
//! and exit say so. The runtime knows the log by its traits alone.

mod application;
mod commit;
mod drain;
mod hooks;
mod layout;
mod open_task;
mod opening;
mod replay;
mod settings;
mod status;
mod stop_signal;
mod worker;

pub use application::{Application, ApplicationBuilder};
pub use hooks::{Hooks, NoHooks, Point};
pub use opening::{RestoringTask, WaitingTask};
pub use replay::{Replay, StoreSum};
pub use settings::{Guarantee, Settings, StateBackend};
pub use status::{Snapshot, State, TaskSnapshot};
pub use stop_signal::StopSignal;
