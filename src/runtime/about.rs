//! The properties of an application that do not change while it runs.

use super::change::TopologyChange;
use super::settings::Guarantee;
use crate::topology::Topology;

/// The properties of an application that do not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The application's id.
    pub application: String,
    /// What a crash may leave behind.
    pub guarantee: Guarantee,
    /// Number of its worker threads.
    pub workers: usize,
    /// The number of its tasks, over all instances.
    pub tasks: usize,
    /// The memory limit in bytes, including the log's.
    pub memory_bytes: usize,
    /// The topic of its dead letters.
    pub dead_letter_topic: Option<String>,
    /// The topology as formatted by [`Topology::describe`].
    pub topology_text: String,
    /// The same as formatted by [`Topology::describe_json`].
    pub topology_json: String,
    /// The same as formatted by [`Topology::describe_dot`].
    pub topology_dot: String,
    /// What the start found on the log: what it kept, added, moved and left behind.
    pub change: TopologyChange,
}

impl About {
    /// With the descriptions of a topology, and the rest empty.
    pub(super) fn of(topology: &Topology, application: &str) -> Self {
        Self {
            application: application.to_owned(),
            guarantee: Guarantee::default(),
            workers: 0,
            tasks: 0,
            memory_bytes: 0,
            dead_letter_topic: None,
            topology_text: topology.describe(),
            topology_json: topology.describe_json(),
            topology_dot: topology.describe_dot(),
            change: TopologyChange::default(),
        }
    }
}
