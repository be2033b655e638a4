//! A task: one partition of one sub-topology, as a step machine.
//!
//! ```text
//!   batches in --> inputs --(smallest timestamp)--> source --> node --> node --> sink
//!                                                               |         |        |
//!                                                             stores    stores   effects
//! ```
//!
//! A task does no log IO, never waits and reads no clock. It turns inputs into effects: records to write,
//! changed rows, positions. The runtime commits them, all or nothing.
//!
//! Edges between nodes are typed when they are wired ([`Wiring`]): a record crosses a node boundary
//! by one indirect call, without serialisation, downcast or allocation. State lives in stores and
//! named times, never in a processor's fields, since an abort rebuilds the graph from committed rows.
//!
//! A file imports only from those above it in the list below, which is also the order in which to read them.

// What a topology says of topics and nodes, and what a record may meet.
mod topics;
mod node;
mod policy;
mod figures;
mod drops;

// What a task keeps beside its stores.
mod effects;
mod time_of;
mod origins;
mod time_bound;
mod sink_time;
mod timers;
mod input_ends;
mod place;

// What a node can access.
mod context;
mod attempt;
mod overtaken;
mod dead_letters;
mod held;

// Nodes, the edges between them, and how a task is built of them.
mod port;
mod outlets;
mod expired_puts;
mod globals;
mod spec;
mod wiring;

// The task.
mod inputs;
mod ahead;
mod time_limit;
mod limits;
mod step;
mod calls;
mod task_time;
mod filling;
mod reports;

pub use context::{Context, PartitionBy};
pub use drops::{DropReason, Drops};
pub use effects::{Effects, OutputId};
pub use expired_puts::ExpiredPuts;
pub use figures::{Failures, InputFigures, Traffic};
pub use globals::GlobalStores;
pub use held::HeldRow;
pub use inputs::{InputProgress, Inputs};
pub use limits::{Progress, StepLimits};
pub use node::{Calls, NodeId, NodeKind};
pub use origins::CLOCK_HEADER;
pub(crate) use origins::is_clock_alone;
pub use outlets::Outlets;
pub use place::Place;
pub use policy::{ErrorPolicies, Policy, Stage};
pub use port::{Edges, Port, Process, Push, Source, Tick, View, ViewPort};
pub use reports::{HeldBack, UserInput};
pub use sink_time::SinkTime;
pub use spec::{Copier, InputSpec, Make, NodeSpec, OpenStore, TaskSpec, TypedStores, Wiring};
pub use step::Task;
pub use time_bound::{HoldId, TimeBound};
pub(crate) use time_of::{OF_TASKS, TimeOf};
pub use timers::Clock;
pub use topics::{ClocksTo, DynamicTopic, DynamicTopics, OutputSpec, TopicName};
