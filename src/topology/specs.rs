//! From sub-topologies to tasks: full names, partitions, limits.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Partitions, SubTopology, Topology};
use crate::batch::DEFAULT_MAX_RECORD_BYTES;
use crate::state::{Changelog, StoreSpec};
use crate::task::{
    ClocksTo, DynamicTopic, DynamicTopics, GlobalStores, InputSpec, NodeId, NodeKind, OutputSpec,
    TaskSpec, TopicName,
};

/// Limits of topics by full name, read from the log at start.
#[derive(Clone, Debug, Default)]
pub struct TopicLimits {
    /// Largest record of each topic, in bytes.
    pub max_record_bytes: HashMap<String, usize>,
    /// The topics that records may name.
    pub named: DynamicTopics,
}

impl TopicLimits {
    /// The largest record of a topic, in bytes; the default if it is unknown.
    pub fn of(&self, topic: &str) -> usize {
        let limit = self.max_record_bytes.get(topic).copied();
        limit.unwrap_or(DEFAULT_MAX_RECORD_BYTES)
    }
}

impl Topology {
    /// The number of tasks of a sub-topology: the largest number of partitions among its inputs.
    pub fn task_count(&self, subtopology: &SubTopology, partitions: &Partitions) -> u32 {
        subtopology
            .sources
            .iter()
            .map(|topic| partitions.of(topic))
            .max()
            .unwrap_or(1)
    }

    /// The task of one partition of a sub-topology. `dead_letters` is the topic for records that a policy sends
    /// there, with its number of partitions.
    pub fn task_spec(
        &self,
        application: &str,
        subtopology: &SubTopology,
        partition: u32,
        partitions: &Partitions,
        limits: &TopicLimits,
        dead_letters: Option<(&str, u32)>,
    ) -> TaskSpec {
        let mut inputs = Vec::new();
        for id in &subtopology.nodes {
            let NodeKind::Source { topics } = &self.nodes[id.0].kind else {
                continue;
            };
            for topic in topics
                .iter()
                .filter(|topic| partition < partitions.of(topic))
            {
                inputs.push(InputSpec {
                    topic: topic.resolve(application).into(),
                    source: *id,
                    partition,
                    origins: self.origins(topic, partitions),
                    clocks: self.clocks_to(topic),
                });
            }
        }
        let output = |topic: &TopicName| {
            let name = topic.resolve(application);
            OutputSpec {
                max_record_bytes: limits.of(&name),
                topic: name.into(),
                partitions: partitions.of(topic),
                name: topic.clone(),
                origins: self.origins(topic, partitions),
                clocked: self.is_clocked(topic, partitions),
                clocks: self.clocks_to(topic),
            }
        };
        let mut outputs: Vec<OutputSpec> = subtopology.sinks.iter().map(output).collect();
        let dead_letters = dead_letters.map(|(topic, count)| {
            let name = TopicName::External(topic.to_owned());
            outputs
                .iter()
                .position(|output| output.name == name)
                .unwrap_or_else(|| {
                    outputs.push(OutputSpec {
                        partitions: count,
                        ..output(&name)
                    });
                    outputs.len() - 1
                })
        });
        let stores = self.stores_of(subtopology);
        let changelog = |store: &StoreSpec| limits.of(&store.changelog_topic(application));
        TaskSpec {
            nodes: self.nodes.clone(),
            members: subtopology.nodes.clone(),
            changelog_limits: stores.iter().map(changelog).collect(),
            stores,
            typed_stores: self.typed_stores.clone(),
            inputs,
            outputs,
            dynamic: match subtopology.writes_named {
                true => limits.named.clone(),
                false => DynamicTopics::None,
            },
            dead_letters,
            partition,
            globals: GlobalStores::default(),
            in_loop: subtopology.in_loop,
        }
    }

    /// The whole topology as a single task with one partition of each topic, as a test driver runs it.
    pub fn single_task_spec(&self, application: &str, dead_letters: Option<&str>) -> TaskSpec {
        let is_global = |id: &NodeId| self.global().is_some_and(|part| part.nodes.contains(id));
        let is_read = |name: &String| self.global().is_none_or(|part| !part.stores.contains(name));
        let stores = self.stores.iter().map(|store| store.name.clone());
        let nodes = (0..self.nodes.len()).map(NodeId);
        let mut whole = SubTopology {
            name: application.to_owned(),
            nodes: nodes.filter(|id| !is_global(id)).collect(),
            sources: Vec::new(),
            sinks: Vec::new(),
            writes_named: self.writes_named(),
            stores: stores.filter(is_read).collect(),
            in_loop: self.subtopologies().iter().any(|part| part.in_loop),
        };
        for part in self.subtopologies() {
            whole.sources.extend(part.sources.iter().cloned());
            whole.sinks.extend(part.sinks.iter().cloned());
        }
        whole.sinks.sort();
        whole.sinks.dedup();
        let dead_letters = dead_letters.map(|topic| (topic, 1));
        let one = Partitions::default();
        let limits = TopicLimits {
            named: DynamicTopics::Any(DynamicTopic {
                partitions: 1,
                max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            }),
            ..TopicLimits::default()
        };
        self.task_spec(application, &whole, 0, &one, &limits, dead_letters)
    }

    /// The task that fills the global stores, which reads every partition of its topics; `None` if there are none.
    pub fn global_spec(&self, application: &str, partitions: &Partitions) -> Option<TaskSpec> {
        let global = self.global()?;
        let limits = TopicLimits::default();
        let mut spec = self.task_spec(application, global, 0, partitions, &limits, None);
        let all = |input: &InputSpec| {
            let topic = TopicName::External(input.topic.to_string());
            let input = input.clone();
            (0..partitions.of(&topic)).map(move |partition| InputSpec {
                partition,
                ..input.clone()
            })
        };
        spec.inputs = spec.inputs.iter().flat_map(all).collect();
        for store in &mut spec.stores {
            // Its changes are passed on to those who read it.
            store.changelog = Changelog::Own;
        }
        Some(spec)
    }

    /// How many tasks write a repartition topic; `None` for a topic of the user's.
    fn origins(&self, topic: &TopicName, partitions: &Partitions) -> Option<u32> {
        let TopicName::Repartition(_) = topic else {
            return None;
        };
        let writer = self
            .subtopologies()
            .iter()
            .find(|part| part.sinks.contains(topic))?;
        Some(self.task_count(writer, partitions))
    }

    /// Whether records of a topic carry the clock of their origin. A single origin needs it if several tasks read
    /// the topic and write a repartition topic in turn: a task that gets no records can then still say how far
    /// time has come.
    fn is_clocked(&self, topic: &TopicName, partitions: &Partitions) -> bool {
        let passes_on = |part: &SubTopology| {
            let mut sinks = part.sinks.iter();
            part.sources.contains(topic)
                && self.task_count(part, partitions) > 1
                && sinks.any(|sink| matches!(sink, TopicName::Repartition(_)))
        };
        match self.origins(topic, partitions) {
            None => false,
            Some(1) => self.subtopologies().iter().any(passes_on),
            Some(_) => true,
        }
    }

    /// A reader that itself writes a repartition topic must learn how far time has come even if it gets no
    /// records, since its own readers wait for it.
    fn clocks_to(&self, topic: &TopicName) -> ClocksTo {
        let passes_on = |part: &SubTopology| {
            let mut sinks = part.sinks.iter();
            part.sources.contains(topic)
                && sinks.any(|sink| matches!(sink, TopicName::Repartition(_)))
        };
        let writer = self.subtopologies().iter();
        let mut writers = writer.filter(|part| part.sinks.contains(topic));
        let feeds_itself = writers.any(|part| part.sources.contains(topic));
        match feeds_itself || self.subtopologies().iter().any(passes_on) {
            true => ClocksTo::All,
            false => ClocksTo::Used,
        }
    }

    fn stores_of(&self, subtopology: &SubTopology) -> Vec<StoreSpec> {
        let used = |name: &String| subtopology.stores.contains(name);
        self.stores
            .iter()
            .filter(|store| used(&store.name))
            .cloned()
            .collect()
    }
}

impl SubTopology {
    /// The name as tasks carry it.
    pub fn shared_name(&self) -> Arc<str> {
        self.name.as_str().into()
    }
}
