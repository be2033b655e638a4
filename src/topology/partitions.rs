//! How many partitions each topic has, and whether joined topics agree.

use std::collections::HashMap;

use super::Topology;
use crate::base::{Error, Result};
use crate::task::{NodeId, NodeKind, TopicName};

/// The number of partitions of every topic of a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(HashMap<TopicName, u32>);

impl Partitions {
    /// The number of partitions of a topic, 1 if it is not part of the topology.
    pub fn of(&self, topic: &TopicName) -> u32 {
        self.0.get(topic).copied().unwrap_or(1)
    }
}

impl Topology {
    /// Determines the number of partitions of each repartition topic, and checks that joined inputs agree.
    /// `lookup` returns the number of partitions of a user's topic.
    ///
    /// A repartition topic gets the number that the user fixed; else that of the topics it is joined with; else
    /// the largest number of the topics that feed it. One that leads back gets the largest number of the other
    /// topics that its reader reads.
    ///
    /// # Errors
    /// `Invalid` for a topic that does not exist, or for two joined topics whose numbers differ: the message names
    /// both and the remedy.
    pub fn resolve_partitions(
        &self,
        mut lookup: impl FnMut(&str) -> Result<Option<u32>>,
    ) -> Result<Partitions> {
        let mut known: HashMap<TopicName, u32> = HashMap::new();
        for subtopology in self.subtopologies().iter().chain(self.global()) {
            for topic in subtopology.sources.iter().chain(&subtopology.sinks) {
                let TopicName::External(name) = topic else {
                    continue;
                };
                if known.contains_key(topic) {
                    continue;
                }
                let partitions = lookup(name)?.ok_or_else(|| {
                    let message = format!(
                        "topic {name} does not exist; create it before the application starts"
                    );
                    Error::invalid(message)
                })?;
                known.insert(topic.clone(), partitions);
            }
        }
        for (topic, fixed) in self.repartitions() {
            if let Some(partitions) = fixed {
                known.insert(topic.clone(), *partitions);
            }
        }
        let groups: Vec<Vec<TopicName>> = self
            .joins
            .iter()
            .map(|join| self.sources_of_join(*join))
            .collect();
        for group in &groups {
            self.settle(group, &mut known);
        }
        // Upstream parts come first, so that the inputs of a topic are known before the topic is.
        for subtopology in self.subtopologies() {
            // Whoever sends back has as many partitions to choose from as there are tasks to answer.
            let (backs, others): (Vec<&TopicName>, Vec<&TopicName>) = subtopology
                .sources
                .iter()
                .partition(|topic| self.feedbacks.contains(topic));
            if let Some(largest) = others.iter().filter_map(|topic| known.get(*topic)).max() {
                let largest = *largest;
                for topic in backs {
                    known.entry(topic.clone()).or_insert(largest);
                }
            }
            let largest = subtopology
                .sources
                .iter()
                .filter_map(|topic| known.get(topic))
                .max();
            let largest = largest.copied().unwrap_or(1);
            for topic in &subtopology.sinks {
                known.entry(topic.clone()).or_insert(largest);
            }
        }
        for group in &groups {
            check_agreement(group, &known)?;
        }
        Ok(Partitions(known))
    }

    /// Repartition topics of a join get the number of the other inputs.
    fn settle(&self, group: &[TopicName], known: &mut HashMap<TopicName, u32>) {
        let given = group
            .iter()
            .filter_map(|topic| known.get(topic))
            .max()
            .copied();
        let fed = |topic: &TopicName| {
            let writers = self
                .subtopologies()
                .iter()
                .filter(|part| part.sinks.contains(topic));
            writers
                .flat_map(|part| &part.sources)
                .filter_map(|source| known.get(source))
                .max()
        };
        let partitions = given.or_else(|| group.iter().filter_map(fed).max().copied());
        let Some(partitions) = partitions else { return };
        for topic in group {
            known.entry(topic.clone()).or_insert(partitions);
        }
    }

    /// The topics that reach a join, through its parents or through the stores it reads.
    fn sources_of_join(&self, join: NodeId) -> Vec<TopicName> {
        let nodes = self.nodes();
        let mut open = vec![join];
        let stores = &nodes[join.0].stores;
        let sharing = nodes
            .iter()
            .filter(|node| node.stores.iter().any(|s| stores.contains(s)));
        open.extend(sharing.map(|node| node.id));
        let mut seen = vec![false; nodes.len()];
        let mut topics = Vec::new();
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id.0], true) {
                continue;
            }
            if let NodeKind::Source { topics: read } = &nodes[id.0].kind {
                topics.extend(read.iter().cloned());
            }
            open.extend(&nodes[id.0].parents);
        }
        topics.sort();
        topics
    }
}

fn check_agreement(group: &[TopicName], known: &HashMap<TopicName, u32>) -> Result<()> {
    let mut counted = group
        .iter()
        .filter_map(|topic| Some((topic, *known.get(topic)?)));
    let Some((first, expected)) = counted.next() else {
        return Ok(());
    };
    match counted.find(|(_, partitions)| *partitions != expected) {
        None => Ok(()),
        Some((other, partitions)) => Err(Error::invalid(format!(
            "topics {first} ({expected} partitions) and {other} ({partitions} partitions) are joined but not \
             partitioned alike; give both the same number, or put `repartition` with that number before the join"
        ))),
    }
}
