//! Every rejection of a topology, each with the sentence that the user reads.

use std::collections::HashMap;

use super::TopologyParts;
use crate::base::{Error, Result, is_name_char};
use crate::task::{NodeKind, TopicName};

pub(super) fn check(parts: &TopologyParts) -> Result<()> {
    let stores = parts.stores.iter().map(|store| store.name.as_str());
    check_names(
        "store",
        stores,
        "each operator that keeps state needs a store name of its own",
    )?;
    let repartitions = parts
        .repartitions
        .iter()
        .filter_map(|(topic, _)| match topic {
            TopicName::Repartition(name) => Some(name.as_str()),
            TopicName::External(_) => None,
        });
    check_names(
        "repartition",
        repartitions,
        "give each `Grouped` or `Repartitioned` its own name",
    )?;
    let names = parts
        .nodes
        .iter()
        .filter(|node| node.operator != "repartition_source");
    check_names(
        "operator",
        names.filter_map(|node| node.name.as_deref()),
        "each name stands for one operator",
    )?;
    check_uses(parts)?;
    for topic in &parts.feedbacks {
        let writes = |kind: &NodeKind| matches!(kind, NodeKind::Sink { topic: to } if to == topic);
        if !parts.nodes.iter().any(|node| writes(&node.kind)) {
            return Err(Error::invalid(format!(
                "no sink writes to feedback topic {topic}; add one, or remove its source"
            )));
        }
    }
    let mut timed = parts.nodes.iter().filter(|node| node.calls.timers);
    if let Some(node) = timed.find(|node| node.name.is_none()) {
        return Err(Error::invalid(format!(
            "a node \"{}\" has timers but no name to store them under; give it a name",
            node.operator
        )));
    }
    if let Some((_, _)) = parts
        .repartitions
        .iter()
        .find(|(_, partitions)| *partitions == Some(0))
    {
        return Err(Error::invalid(
            "a repartition topic needs at least one partition",
        ));
    }
    check_topics(parts)?;
    check_sources(parts)
}

/// Each store that a node uses exists, and each store is used.
fn check_uses(parts: &TopologyParts) -> Result<()> {
    let known = |name: &String| parts.stores.iter().any(|store| store.name == *name);
    for node in &parts.nodes {
        if let Some(store) = node.stores.iter().find(|name| !known(name)) {
            let node = node.name.as_deref().unwrap_or(node.operator);
            return Err(Error::invalid(format!(
                "{node:?} uses store {store:?}, but there is no store of that name; add it with \
                 `StreamBuilder::add_store`"
            )));
        }
    }
    let used = |name: &String| parts.nodes.iter().any(|node| node.stores.contains(name));
    match parts.stores.iter().find(|store| !used(&store.name)) {
        None => Ok(()),
        Some(store) => Err(Error::invalid(format!(
            "no processor uses store {:?}; connect it with `Processed::stores`, or remove it",
            store.name
        ))),
    }
}

/// The user's topics have names that a broker accepts, of up to 249 characters. Names that become part of an internal
/// topic's are shorter.
fn check_topics(parts: &TopologyParts) -> Result<()> {
    let topics = parts.nodes.iter().flat_map(|node| match &node.kind {
        NodeKind::Source { topics } => topics.as_slice(),
        NodeKind::Sink { topic } => std::slice::from_ref(topic),
        _ => &[],
    });
    for topic in topics {
        if let TopicName::External(name) = topic {
            check_name("topic", name, 249)?;
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str, len_max: usize) -> Result<()> {
    let dots = matches!(name, "." | "..");
    if name.is_empty() || name.len() > len_max || dots || !name.chars().all(is_name_char) {
        return Err(Error::invalid(format!(
            "{what} {name:?} is not a legal topic name; use 1 to {len_max} of a-z, A-Z, 0-9, '.', '_', '-'"
        )));
    }
    Ok(())
}

/// A topic is read by one source: two would each have a position of their own.
fn check_sources(parts: &TopologyParts) -> Result<()> {
    let mut seen: HashMap<&TopicName, usize> = HashMap::new();
    for node in &parts.nodes {
        let NodeKind::Source { topics } = &node.kind else {
            continue;
        };
        if topics.is_empty() {
            return Err(Error::invalid("a source reads no topic; name at least one"));
        }
        for topic in topics {
            if seen.insert(topic, node.id.0).is_some() {
                return Err(Error::invalid(format!(
                    "topic {topic} is read by two sources; read it once and clone the stream"
                )));
            }
        }
    }
    if seen.is_empty() {
        return Err(Error::invalid(
            "the topology reads nothing; start with `StreamBuilder::stream`",
        ));
    }
    Ok(())
}

fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a str>, cure: &str) -> Result<()> {
    let mut seen: HashMap<&str, ()> = HashMap::new();
    for name in names {
        check_name(&format!("{what} name"), name, 200)?;
        if seen.insert(name, ()).is_some() {
            return Err(Error::invalid(format!(
                "two {what}s are named {name:?}; {cure}"
            )));
        }
    }
    Ok(())
}
