//! Compares a topology with the data on the log: what it keeps, adds, moves, leaves behind, and why it could not
//! start.
//!
//! ```text
//!  the topology     stores, timers, repartition topics  --+
//!  the record       what earlier topologies had         --+-- compare --> TopologyChange --> starts, or refuses
//!  the log          topics, and what is in them         --+                    |
//!                                                                              +--> Notes, for the record
//! ```
//! Names of topics are no evidence: those of application `shop-eu` begin like those of `shop`. So what is left
//! behind is judged by the record `<application>-topology` alone, which names everything the application has had
//! ([ADR 0034](../../../docs/adr/0034-state-is-not-left-in-silence.md)):
//!
//! ```text
//!  in the record, not in the topology, and its topic exists
//!    noted as left?                --> Before      reported, not asked again
//!    named in the settings?        --> Accepted    noted as left
//!    nothing in it?                --> Empty       noted as left
//!    no topology is in the record? --> Unasked     an earlier release wrote it; noted as left
//!    this topology has run before, and other members are in the group now?  --> Shared: they may use it
//!    else                          --> Refused
//! ```

mod compare;
mod text;

pub(super) use compare::{Present, compare};

use serde::Serialize;

use super::contents::RowCount;
use crate::base::Error;

/// A topology compared with the data on a log, from
/// [`ApplicationBuilder::compare`](super::ApplicationBuilder::compare). Its text is for operators, its JSON for
/// tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopologyChange {
    /// The application's id.
    pub application: String,
    /// Whether there is a record of what ran before. Without one, it is unknown what is left behind.
    pub has_record: bool,
    /// What exists and is still used.
    pub keeps: Vec<Piece>,
    /// What is new.
    pub adds: Vec<Piece>,
    /// What an earlier topology left behind and this one uses again, with the rows it had then.
    pub returns: Vec<Returned>,
    /// Times and timers that move to another task changelog, because their sub-topology has another name.
    pub moves: Vec<MovedTimes>,
    /// What exists and this topology does not use.
    pub orphans: Vec<Orphan>,
    /// Why this topology cannot be started, whatever is accepted.
    pub refuses: Vec<Refusal>,
}

impl TopologyChange {
    /// Adds another refusal by the log.
    pub(super) fn refuse(&mut self, error: &Error) {
        let reason = error.to_string();
        self.refuses.push(Refusal { reason });
    }
}

/// A part of a topology that outlives its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Its name in the topology.
    pub name: String,
    /// Its topic; a store without a changelog has none.
    pub topic: Option<String>,
    /// The number of that topic's partitions.
    pub partitions: Option<u32>,
    /// How the description of the topology describes a store.
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
    /// Records in transit, on a repartition topic.
    Repartition,
}

/// Something that was left behind and is used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Returned {
    /// What it is.
    #[serde(flatten)]
    pub piece: Piece,
    /// When it was left behind, in milliseconds by the wall clock.
    pub since_ms: i64,
}

/// Times and timers that move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedTimes {
    /// What they belong to: a store, a node or a topic.
    pub of: String,
    /// The sub-topology that had them.
    pub from: String,
    /// The one that has them now.
    pub to: String,
}

/// Something that exists and that the topology does not use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// What it is.
    #[serde(flatten)]
    pub piece: Piece,
    /// What happens to it.
    #[serde(flatten)]
    pub fate: OrphanFate,
    /// How much it contains, if that was determined: rows of a store, timers, unread records.
    pub count: Option<RowCount>,
}

/// What happens to something that the topology does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
#[non_exhaustive]
pub enum OrphanFate {
    /// The application does not start until it is accepted by name.
    Refused,
    /// [`Settings::accept_orphans`](super::Settings::accept_orphans) names it. It stays on the log.
    Accepted,
    /// An earlier start left it behind; it stays on the log until its topic is deleted.
    Before {
        /// When it was left behind, in milliseconds by the wall clock.
        since_ms: i64,
    },
    /// It contains nothing.
    Empty,
    /// This topology has run before, and other members of the group may use it, such as the newer release in a
    /// rolling upgrade. It is left to them.
    Shared,
    /// An earlier release wrote the record and did not note which topologies have run: it may have been left long
    /// ago.
    Unasked,
}

/// Why a topology cannot be started on a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub reason: String,
}
