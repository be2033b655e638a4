//! A topology as text, JSON and DOT. The text is the golden format: a diff of it is a diff of names.

use std::fmt::Write as _;

use super::Topology;
use crate::state::{Changelog, StoreSpec, StoreType};
use crate::task::{NodeId, NodeKind, NodeSpec, TopicName};

/// Stands for the topics that records name; no topic can have this name.
const BY_RECORD: &str = "(by record)";

impl Topology {
    /// The topology as text, for people and for golden files.
    ///
    /// Nodes without a name are shown by operator and position; they have no identity, so the
    /// position may change where a name may not.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        let parts = self
            .subtopologies()
            .iter()
            .map(|part| ("sub-topology", part));
        let global = self.global().map(|part| ("global", part));
        for (what, part) in parts.chain(global) {
            let _ = writeln!(out, "{what} {}", part.name);
            for id in &part.nodes {
                let node = &self.nodes()[id.0];
                let _ = write!(out, "  {}", self.label(*id));
                match &node.kind {
                    NodeKind::Source { topics } => {
                        let names: Vec<_> = topics.iter().map(ToString::to_string).collect();
                        let back = self.back(topics);
                        let _ = write!(out, " reads {}{back}", names.join(", "));
                    }
                    NodeKind::Sink { topic } => {
                        let back = self.back(std::slice::from_ref(topic));
                        let _ = write!(out, " writes {topic}{back}");
                    }
                    NodeKind::DynamicSink => out.push_str(" writes what its records name"),
                    NodeKind::Processor => {}
                }
                if !node.stores.is_empty() {
                    let _ = write!(out, " [{}]", node.stores.join(", "));
                }
                if !node.children.is_empty() {
                    let labels: Vec<_> = node.children.iter().map(|id| self.label(*id)).collect();
                    let _ = write!(out, " -> {}", labels.join(", "));
                }
                out.push('\n');
            }
            for name in &part.stores {
                if let Some(store) = self.stores().iter().find(|store| store.name == *name) {
                    let _ = writeln!(out, "  store {}", describe_store(store));
                }
            }
        }
        out
    }

    /// The topology as JSON, for tools.
    pub fn describe_json(&self) -> String {
        let parts = self.subtopologies().iter().map(|part| {
            let nodes = part.nodes.iter().map(|id| {
                let node = &self.nodes()[id.0];
                let (reads, writes): (Vec<_>, _) = match &node.kind {
                    NodeKind::Source { topics } => {
                        (topics.iter().map(ToString::to_string).collect(), None)
                    }
                    NodeKind::Sink { topic } => (Vec::new(), Some(topic.to_string())),
                    NodeKind::DynamicSink => (Vec::new(), Some(BY_RECORD.to_owned())),
                    NodeKind::Processor => (Vec::new(), None),
                };
                serde_json::json!({
                    "id": self.label(*id),
                    "operator": node.operator,
                    "name": node.name,
                    "reads": reads,
                    "writes": writes,
                    "stores": node.stores,
                    "children": node.children.iter().map(|id| self.label(*id)).collect::<Vec<_>>(),
                })
            });
            let stores = self
                .stores()
                .iter()
                .filter(|store| part.stores.contains(&store.name));
            serde_json::json!({
                "name": part.name,
                "nodes": nodes.collect::<Vec<_>>(),
                "stores": stores.map(describe_store).collect::<Vec<_>>(),
            })
        });
        let mut described = serde_json::json!({ "subtopologies": parts.collect::<Vec<_>>() });
        if !self.feedbacks().is_empty() {
            let topics = self.feedbacks().iter().map(ToString::to_string);
            described["feedbacks"] = topics.collect();
        }
        described.to_string()
    }

    /// The topology in Graphviz's language.
    pub fn describe_dot(&self) -> String {
        let mut out = String::from("digraph topology {\n  rankdir=LR;\n  node [shape=box];\n");
        for (number, part) in self.subtopologies().iter().enumerate() {
            let _ = writeln!(
                out,
                "  subgraph cluster_{number} {{\n    label=\"{}\";",
                part.name
            );
            for id in &part.nodes {
                let _ = writeln!(out, "    n{} [label=\"{}\"];", id.0, self.label(*id));
            }
            out.push_str("  }\n");
            for id in &part.nodes {
                let node = &self.nodes()[id.0];
                for child in &node.children {
                    let _ = writeln!(out, "  n{} -> n{};", id.0, child.0);
                }
                match &node.kind {
                    NodeKind::Source { topics } => {
                        let dashed = match self.back(topics) {
                            "" => "",
                            _ => " [style=dashed, constraint=false]",
                        };
                        for topic in topics {
                            let _ = writeln!(out, "  \"{topic}\" -> n{}{dashed};", id.0);
                        }
                    }
                    NodeKind::Sink { topic } => {
                        let _ = writeln!(out, "  n{} -> \"{topic}\";", id.0);
                    }
                    NodeKind::DynamicSink => {
                        let _ = writeln!(out, "  n{} -> \"{BY_RECORD}\";", id.0);
                    }
                    NodeKind::Processor => {}
                }
                for store in &node.stores {
                    let _ = writeln!(out, "  \"{store}\" [shape=cylinder];");
                    let _ = writeln!(out, "  n{} -> \"{store}\" [dir=none, style=dashed];", id.0);
                }
            }
        }
        out.push_str("}\n");
        out
    }

    /// The description of topics that lead back.
    fn back(&self, topics: &[TopicName]) -> &'static str {
        match topics.iter().any(|topic| self.feedbacks().contains(topic)) {
            true => " (back)",
            false => "",
        }
    }

    /// The user's name for a node, or operator and position.
    fn label(&self, id: NodeId) -> String {
        let node: &NodeSpec = &self.nodes()[id.0];
        match &node.name {
            Some(name) => format!("{}({name})", node.operator),
            None => format!("{}#{}", node.operator, id.0),
        }
    }
}

fn describe_store(store: &StoreSpec) -> String {
    format!("{}: {}", store.name, store_text(store))
}

/// The description of a store, without its name.
pub(crate) fn store_text(store: &StoreSpec) -> String {
    let store_type = match store.store_type {
        StoreType::Persistent => "persistent",
        StoreType::InMemory => "in-memory",
    };
    let kind = store.kind.describe();
    let logged = match &store.changelog {
        Changelog::Own => String::new(),
        Changelog::None => ", not logged".to_owned(),
        Changelog::Source(topic) => format!(", restored from {topic}"),
    };
    let (key, value) = &store.codecs;
    format!("{store_type} {kind}, {key} -> {value}{logged}")
}
