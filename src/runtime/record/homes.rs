//! Where times are: according to the record, and as a topology wants it.

use std::collections::BTreeMap;

use crate::task::{NodeSpec, TimeOf, TopicName};
use crate::topology::{SubTopology, Topology};

/// The first byte of a row.
pub(super) const VERSION: u8 = 1;
/// Separates the names of sub-topologies, which do not contain it.
pub(super) const SEPARATOR: &str = "/";

/// What a topology keeps times of, and the sub-topology whose task changelog has them.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Wanted {
    pub(in crate::runtime) homes: BTreeMap<TimeOf, String>,
    /// The number of tasks of each sub-topology that has a task changelog.
    pub(in crate::runtime) tasks: BTreeMap<String, u32>,
}

impl Wanted {
    /// Whether the topology keeps no times; then it has no record either.
    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    /// Adds a sub-topology that keeps times.
    pub(in crate::runtime) fn add(
        &mut self,
        topology: &Topology,
        application: &str,
        part: &SubTopology,
        tasks: u32,
    ) {
        let nodes = part.nodes.iter().map(|id| &topology.nodes()[id.0]);
        let timed = nodes.filter(|node| node.calls.timers);
        let name = |node: &NodeSpec| node.name.clone().map(TimeOf::Node);
        let source = |topic: &TopicName| TimeOf::Source(topic.resolve(application));
        let sinks = part.sinks.iter().filter_map(|topic| match topic {
            TopicName::External(_) => None,
            TopicName::Repartition(_) => Some(TimeOf::Sink(topic.resolve(application))),
        });
        let all = part.stores.iter().cloned().map(TimeOf::Store);
        let all = all.chain(timed.filter_map(name));
        let all = all.chain(part.sources.iter().map(source)).chain(sinks);
        let homes = all.map(|of| (of, part.name.clone()));
        self.homes.extend(homes);
        self.tasks.insert(part.name.clone(), tasks);
    }
}

/// What the record says: for each owner of times, the sub-topologies whose task changelogs have had them, the
/// current one first. What a topology no longer has stays in the record, in case it comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::runtime) struct Homes(pub(in crate::runtime) BTreeMap<TimeOf, Vec<String>>);

impl Homes {
    /// A row of the topic: its key and its value.
    pub(in crate::runtime) fn row(of: &TimeOf, names: &[String]) -> (Vec<u8>, Vec<u8>) {
        let names = names.join(SEPARATOR);
        (
            of.to_string().into_bytes(),
            [&[VERSION], names.as_bytes()].concat(),
        )
    }

    /// The sub-topology whose task changelog has the times.
    pub(in crate::runtime) fn home(&self, of: &TimeOf) -> Option<&str> {
        self.0.get(of)?.first().map(String::as_str)
    }

    /// Whether its times are recorded at all.
    pub(in crate::runtime) fn has(&self, of: &TimeOf) -> bool {
        self.0.contains_key(of)
    }

    /// The sub-topologies that have had a store before, the latest first.
    #[cfg_attr(
        not(feature = "rocksdb"),
        allow(
            dead_code,
            reason = "there are no directories that could have other names"
        )
    )]
    pub(in crate::runtime) fn before(&self, store: &str) -> &[String] {
        let names = self.0.get(&TimeOf::Store(store.to_owned()));
        names.and_then(|names| names.get(1..)).unwrap_or_default()
    }

    /// All sub-topologies of one owner, with this one in front.
    pub(in crate::runtime) fn with(&self, of: &TimeOf, home: &str) -> Vec<String> {
        let known = self.0.get(of).into_iter().flatten();
        let others = known.filter(|name| *name != home).cloned();
        [home.to_owned()].into_iter().chain(others).collect()
    }
}
