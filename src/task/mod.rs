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

mod ahead;
mod attempt;
mod calls;
mod context;
mod dead_letters;
mod drops;
mod effects;
mod expired_puts;
mod figures;
mod filling;
mod globals;
mod held;
mod input_ends;
mod inputs;
mod limits;
mod node;
mod origins;
mod outlets;
mod overtaken;
mod place;
mod policy;
mod port;
mod reports;
mod sink_time;
mod spec;
mod step;
mod task_time;
mod time_bound;
mod time_limit;
mod time_of;
mod timers;
mod topics;
mod wiring;

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
