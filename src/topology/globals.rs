//! What every instance runs completely: sources of which it reads all partitions, and the stores that they fill.
//! All tasks may read these, so they do not join sub-topologies.

use super::{SubTopology, TopologyParts, subtopology};
use crate::base::{Error, Result};
use crate::task::{NodeId, NodeKind};

/// Removes the nodes behind global sources from the parts, and their stores from what other nodes use.
///
/// # Errors
/// `Invalid` if such a node has another parent, writes a topic, sets timers, or uses a store that others write.
pub(super) fn take(parts: &mut TopologyParts) -> Result<Option<SubTopology>> {
    if parts.globals.is_empty() {
        return Ok(None);
    }
    let mut ids: Vec<NodeId> = Vec::new();
    let mut open = parts.globals.clone();
    while let Some(id) = open.pop() {
        if !ids.contains(&id) {
            ids.push(id);
            open.extend(&parts.nodes[id.0].children);
        }
    }
    ids.sort();
    for id in &ids {
        let node = &parts.nodes[id.0];
        let name = node.name.as_deref().unwrap_or(node.operator);
        let writes = matches!(node.kind, NodeKind::Sink { .. } | NodeKind::DynamicSink);
        let alien = node.parents.iter().any(|parent| !ids.contains(parent));
        if writes || alien || node.calls.timers {
            return Err(Error::invalid(format!(
                "{name:?} stands behind a global source, and writes a topic, sets timers, or has a parent that is \
                 not global; what fills a global store does nothing else"
            )));
        }
    }
    let global = subtopology::make(&parts.nodes, ids)?;
    for node in &mut parts.nodes {
        if !global.nodes.contains(&node.id) {
            node.stores.retain(|store| !global.stores.contains(store));
        }
    }
    Ok(Some(global))
}
