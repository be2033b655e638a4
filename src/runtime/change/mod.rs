//! A topology against what is on the log: what it keeps, adds, moves, leaves behind, and why it could not start.
//!
//! ```text
//!  the topology     stores, timers, repartition topics  --+
//!  the record       what topologies before it had       --+-- compare --> TopologyChange --> starts, or refuses
//!  the log          topics, and what is in them         --+                    |
//!                                                                              +--> Notes, for the record
//! ```
//! Names of topics are no evidence: those of application `shop-eu` begin like those of `shop`. So what is left behind
//! is judged by the record `<application>-topology` alone, which names all that the application ever had
//! ([ADR 0034](../../../docs/adr/0034-state-is-not-left-in-silence.md)):
//!
//! ```text
//!  in the record, not in the topology, and its topic is there
//!    noted as left?                --> Before      said, asked no more
//!    named in the settings?        --> Accepted    noted as left
//!    nothing in it?                --> Empty       noted as left
//!    no topology is in the record? --> Unasked     an earlier release wrote it; noted as left
//!    this topology has run before, and other members are in the group now?  --> Shared: theirs, perhaps
//!    else                          --> Refused
//! ```

mod compare;
mod contents;
mod text;

pub(super) use compare::{Present, compare};
pub use contents::RowCount;

use serde::Serialize;

use crate::base::Error;

/// A topology against what is on a log, from [`ApplicationBuilder::compare`](super::ApplicationBuilder::compare). As text
/// it is for an operator, as JSON for tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopologyChange {
    /// The application's id.
    pub application: String,
    /// Whether there is a record of what ran before. Without one, what is left behind cannot be told.
    pub has_record: bool,
    /// What is there and is used further.
    pub keeps: Vec<Piece>,
    /// What is new.
    pub adds: Vec<Piece>,
    /// What was left behind by a topology before, and is used again: with the rows of then.
    pub returns: Vec<Returned>,
    /// Times and timers that go to another task changelog, since their sub-topology has another name.
    pub moves: Vec<MovedTimes>,
    /// What is there and this topology does not use.
    pub orphans: Vec<Orphan>,
    /// What this topology cannot be started with, whatever is accepted.
    pub refuses: Vec<Refusal>,
}

impl TopologyChange {
    /// Adds what else the log refuses.
    pub(super) fn refuse(&mut self, error: &Error) {
        let reason = error.to_string();
        self.refuses.push(Refusal { reason });
    }
}

/// Something of a topology that outlives its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Its name in the topology.
    pub name: String,
    /// The topic that it is on; a store without a changelog has none.
    pub topic: Option<String>,
    /// The number of that topic's partitions.
    pub partitions: Option<u32>,
    /// What a description of the topology says of a store.
    pub description: Option<String>,
}

/// What outlives the instances of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PieceKind {
    /// The rows of a store, on its changelog.
    Store,
    /// The timers of a node, on a task changelog.
    Timers,
    /// Records on their way, on a repartition topic.
    Repartition,
}

/// Something that was left behind and is used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Returned {
    /// What it is.
    #[serde(flatten)]
    pub piece: Piece,
    /// Since when it had been left, in milliseconds by the wall clock.
    pub since_ms: i64,
}

/// Times and timers that move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedTimes {
    /// What they are of: a store, a node or a topic.
    pub of: String,
    /// The sub-topology that had them.
    pub from: String,
    /// The one that has them now.
    pub to: String,
}

/// Something that is there and that the topology does not use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// What it is.
    #[serde(flatten)]
    pub piece: Piece,
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: OrphanFate,
    /// How much is in it, where that was looked at: rows of a store, timers, records that nobody has read.
    pub count: Option<RowCount>,
}

/// What becomes of something that the topology does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
#[non_exhaustive]
pub enum OrphanFate {
    /// The application does not start: somebody has to say that it may be left.
    Refused,
    /// [`Settings::accept_orphans`](super::Settings::accept_orphans) names it. It stays on the log.
    Accepted,
    /// It was left by a start before this one, and stays on the log until somebody deletes its topic.
    Before {
        /// Since when, in milliseconds by the wall clock.
        since_ms: i64,
    },
    /// Nothing is in it.
    Empty,
    /// This topology has run before and others are in the group now, who may use it: an instance of the release before,
    /// in a rolling upgrade. It is left to them.
    Shared,
    /// An earlier release wrote the record, and did not note which topologies have run: it may have been left long ago.
    Unasked,
}

/// Why a topology cannot be started on a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What is the matter, and what to do.
    pub reason: String,
}
