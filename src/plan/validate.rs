//! The errors of the plan, each with the sentence that the user reads. `topology/validate.rs` checks what the rules
//! cannot change; the compiler and the DSL check what needs types.

use super::Graph;
use super::rules::{mergeable, shared_repartitions};
use crate::base::{Error, Result};
use crate::task::TopicName;
use crate::topology::Topology;

/// Refuses to merge repartitions that would encode the same records differently.
pub(super) fn check_merges(graph: &Graph) -> Result<()> {
    for (first, other) in shared_repartitions(graph) {
        let (Some(first), Some(other)) =
            (mergeable(graph.node(first)), mergeable(graph.node(other)))
        else {
            continue;
        };
        if first.codecs != other.codecs {
            let codecs =
                |(key, value): &(String, String)| format!("keys as {key}, values as {value}");
            return Err(Error::invalid(format!(
                "repartitions {:?} ({}) and {:?} ({}) have the same records and would be merged, but their codecs \
                 differ; give both the same codecs, or put `repartition` before the second, which keeps its own topic",
                first.name,
                codecs(&first.codecs),
                other.name,
                codecs(&other.codecs),
            )));
        }
    }
    Ok(())
}

/// Refuses a store whose changelog would have the name of a sub-topology's task changelog: both are derived from
/// the user's names.
pub(super) fn check_changelogs(topology: &Topology) -> Result<()> {
    for part in topology.subtopologies() {
        let is_own = |topic: &TopicName| matches!(topic, TopicName::Repartition(_));
        let mut topics = part.sources.iter().chain(&part.sinks);
        let mut nodes = part.nodes.iter().map(|id| &topology.nodes()[id.0]);
        // Clocks of origins and timers make a sub-topology stateful even without a store.
        let has_times = topics.any(is_own) || nodes.any(|node| node.calls.timers);
        if part.stores.is_empty() && !has_times {
            continue;
        }
        let clash = |name: &str| name.strip_suffix("-task") == Some(part.name.as_str());
        let mut logged = topology.stores().iter().filter(|store| store.is_logged());
        if let Some(store) = logged.find(|store| clash(&store.name)) {
            return Err(Error::invalid(format!(
                "the changelog of store {:?} and the task changelog of sub-topology {:?} would be one \
                 topic, <application>-{}-changelog; give the store a name that does not end in \"-task\"",
                store.name, part.name, store.name
            )));
        }
    }
    Ok(())
}
