//! The shape of an application on a given log: its tasks, its topics, its changelogs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::own_topics::{is_own, record_topic, task_changelog};
use super::record::{Notes, Wanted};
use super::settings::{Settings, StateBackend};
use crate::base::{Error, Result, TaskId, TopicPartition};
use crate::log::{Cleanup, Log, TaskPlan, TopicSpec};
use crate::state::{ChangelogKeeps, StoreSpec};
use crate::task::{DynamicTopic, DynamicTopics, GlobalStores, NodeId, TaskSpec};
use crate::topology::{Idle, Partitions, SubTopology, TopicLimits, Topology};

/// The longest name of a topic that brokers accept, in characters.
const TOPIC_LEN_MAX: usize = 249;

/// Tasks and topics, decided once at start.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) application: String,
    pub(super) specs: BTreeMap<TaskId, Arc<TaskSpec>>,
    /// For each task: the changelog of each store and last of the task itself.
    pub(super) changelogs: BTreeMap<TaskId, Vec<Option<TopicPartition>>>,
    /// Which times exist, and in which task changelogs they belong.
    pub(super) wanted: Wanted,
    /// What a start adds to the record of where they are.
    pub(super) notes: Notes,
    /// Whether there is such a record, or will be one.
    pub(super) keeps_record: bool,
    /// For each source node with a setting: the silence after which it no longer holds back time, in
    /// milliseconds; `None` for never.
    pub(super) idle_timeouts_ms: BTreeMap<NodeId, Option<u64>>,
    /// Full names of the repartition topics.
    pub(super) repartitions: Vec<String>,
    /// The task that fills the global stores of this instance, and its inputs.
    pub(super) global: Option<Arc<TaskSpec>>,
    pub(super) globals: GlobalStores,
}

/// The plan of an application on a log, before anything is created there.
pub(super) struct LayoutPlan<'a> {
    /// Without its tasks.
    pub(super) layout: Layout,
    /// The internal topics.
    pub(super) topics: Vec<TopicSpec>,
    pub(super) topology: &'a Topology,
    partitions: Partitions,
    limits: TopicLimits,
    /// The dead-letter topic, with its number of partitions.
    dead_letters: Option<(String, u32)>,
}

impl Layout {
    /// Whether the topic is one of the application's repartition topics.
    pub(super) fn is_repartition(&self, topic: &str) -> bool {
        self.repartitions.iter().any(|name| name == topic)
    }

    /// Whether one task reads what another writes.
    pub(super) fn reads_repartition(&self, spec: &TaskSpec) -> bool {
        spec.inputs
            .iter()
            .any(|input| self.is_repartition(&input.topic))
    }

    /// Reads the settings of the user's topics and determines all numbers of partitions.
    ///
    /// # Errors
    /// `Invalid` for a missing topic, and for joined topics that are not co-partitioned.
    pub(super) fn plan<'a>(
        topology: &'a Topology,
        application: &str,
        log: &dyn Log,
        settings: &Settings,
    ) -> Result<LayoutPlan<'a>> {
        check_changelogs(topology.stores())?;
        let mut limits = TopicLimits::default();
        let partitions = topology.resolve_partitions(|name| {
            let topic = log.topic(name)?;
            if let Some(topic) = &topic {
                limits
                    .max_record_bytes
                    .insert(name.to_owned(), topic.max_record_bytes);
            }
            Ok(topic.map(|topic| topic.partitions))
        })?;
        if topology.writes_named() {
            limits.named = named_topics(log, application)?;
        }
        let dead_letters = dead_letters(log, settings, &mut limits)?;
        let mut topics = Vec::new();
        let names = |part: &SubTopology| part.stores.clone();
        let mut layout = Self {
            application: application.to_owned(),
            specs: BTreeMap::new(),
            changelogs: BTreeMap::new(),
            wanted: Wanted::default(),
            notes: Notes::default(),
            keeps_record: false,
            idle_timeouts_ms: BTreeMap::new(),
            repartitions: Vec::new(),
            globals: GlobalStores::new(topology.global().into_iter().flat_map(names)),
            global: topology.global_spec(application, &partitions).map(Arc::new),
        };
        for (source, idle) in topology.idle_timeouts() {
            let timeout_ms = match idle {
                Idle::Default => continue,
                Idle::After(timeout) => Some(timeout.as_millis() as u64),
                Idle::Never => None,
            };
            layout.idle_timeouts_ms.insert(*source, timeout_ms);
        }
        for (topic, _) in topology.repartitions() {
            let name = topic.resolve(application);
            topics.push(TopicSpec::new(&name, partitions.of(topic)));
            layout.repartitions.push(name);
        }
        for part in topology.subtopologies() {
            let count = topology.task_count(part, &partitions);
            let dead_letters = lent(dead_letters.as_ref());
            // The first task reads every topic that the others read.
            let first =
                topology.task_spec(application, part, 0, &partitions, &limits, dead_letters);
            if first.is_stateful() {
                let name = task_changelog(application, &part.name);
                let topic = TopicSpec::new(name, count);
                topics.push(topic.with_cleanup(Cleanup::Compact));
                layout.wanted.add(topology, application, part, count);
            }
            let logged = topology.stores().iter().filter(|store| store.is_logged());
            for store in logged.filter(|store| part.stores.contains(&store.name)) {
                topics.push(changelog_spec(store, application, count));
            }
        }
        if !layout.wanted.is_empty() {
            layout.keeps_record = true;
            let topic = TopicSpec::new(record_topic(application), 1);
            topics.push(topic.with_cleanup(Cleanup::Compact));
        }
        check_lengths(&topics)?;
        Ok(LayoutPlan {
            layout,
            topics,
            topology,
            partitions,
            limits,
            dead_letters,
        })
    }

    /// How many databases this instance has open if it runs all tasks.
    pub(super) fn databases(&self, backend: StateBackend) -> usize {
        let stateful = self.specs.values().filter(|spec| spec.is_stateful());
        match backend {
            StateBackend::RocksDb => stateful.count() + usize::from(self.global.is_some()),
            StateBackend::Memory => 0,
        }
    }

    /// All tasks with their inputs, for the group.
    pub(super) fn plans(&self) -> Vec<TaskPlan> {
        let plan = |(task, spec): (&TaskId, &Arc<TaskSpec>)| TaskPlan {
            task: task.clone(),
            inputs: inputs(spec),
        };
        self.specs.iter().map(plan).collect()
    }

    /// What a task is built from.
    pub(super) fn spec(&self, task: &TaskId) -> Result<&Arc<TaskSpec>> {
        let found = self.specs.get(task);
        found.ok_or_else(|| Error::internal(format!("the application has no task {task}")))
    }
}

impl LayoutPlan<'_> {
    /// Creates the internal topics, and determines the tasks.
    ///
    /// # Errors
    /// `Invalid` for an internal topic that exists with other settings.
    pub(super) fn make(self, log: &dyn Log) -> Result<Layout> {
        let Self {
            mut layout,
            topics,
            topology,
            partitions,
            mut limits,
            dead_letters,
        } = self;
        log.create_topics(&topics)
            .and_then(|()| log.check_topics(&topics))
            .map_err(|error| error.context("the application's own topics"))?;
        for wanted in topics {
            if let Some(topic) = log.topic(&wanted.name)? {
                limits
                    .max_record_bytes
                    .insert(wanted.name, topic.max_record_bytes);
            }
        }
        let application = layout.application.clone();
        for part in topology.subtopologies() {
            let name = part.shared_name();
            for partition in 0..topology.task_count(part, &partitions) {
                let task = TaskId::new(name.clone(), partition);
                let dead_letters = lent(dead_letters.as_ref());
                let mut spec = topology.task_spec(
                    &application,
                    part,
                    partition,
                    &partitions,
                    &limits,
                    dead_letters,
                );
                spec.globals = layout.globals.clone();
                let changelogs = changelogs(&application, &task, &spec);
                layout.changelogs.insert(task.clone(), changelogs);
                layout.specs.insert(task, Arc::new(spec));
            }
        }
        Ok(layout)
    }
}

fn lent(dead_letters: Option<&(String, u32)>) -> Option<(&str, u32)> {
    dead_letters.map(|(name, partitions)| (name.as_str(), *partitions))
}

/// The partitions that a task reads.
pub(super) fn inputs(spec: &TaskSpec) -> Vec<TopicPartition> {
    let input =
        |input: &crate::task::InputSpec| TopicPartition::new(input.topic.clone(), input.partition);
    spec.inputs.iter().map(input).collect()
}

fn changelogs(application: &str, task: &TaskId, spec: &TaskSpec) -> Vec<Option<TopicPartition>> {
    let store = |store: &StoreSpec| {
        let topic = store.changelog_topic(application);
        store
            .is_logged()
            .then(|| TopicPartition::new(topic, task.partition))
    };
    let of_task = spec.is_stateful().then(|| {
        TopicPartition::new(
            task_changelog(application, &task.subtopology),
            task.partition,
        )
    });
    spec.stores.iter().map(store).chain([of_task]).collect()
}

fn changelog_spec(store: &StoreSpec, application: &str, partitions: u32) -> TopicSpec {
    let mut topic = TopicSpec::new(store.changelog_topic(application), partitions);
    topic.cleanup = match store.kind.keeps() {
        ChangelogKeeps::LastOfKeys => Cleanup::Compact,
        ChangelogKeeps::LastOfLiveKeys => Cleanup::CompactDelete,
        ChangelogKeeps::Recent(lag_ms) => {
            topic.compaction_lag_ms = lag_ms;
            Cleanup::Compact
        }
    };
    topic
}

/// Refuses internal topics whose names a broker would refuse, whatever the log: an application may move to another one.
fn check_lengths(topics: &[TopicSpec]) -> Result<()> {
    let too_long = |topic: &&TopicSpec| topic.name.len() > TOPIC_LEN_MAX;
    match topics.iter().find(too_long) {
        None => Ok(()),
        Some(TopicSpec { name, .. }) => Err(Error::invalid(format!(
            "the internal topic {name:?} would have a name of {} characters, and a broker accepts {TOPIC_LEN_MAX}; \
             shorten the application id, or the name of the store, operator or repartition in it",
            name.len()
        ))),
    }
}

/// A restore from a source topic must end where the task's input is committed, which is not implemented
/// yet.
fn check_changelogs(stores: &[StoreSpec]) -> Result<()> {
    let unable = |store: &&StoreSpec| store.is_restored() && !store.is_logged();
    match stores.iter().find(unable) {
        None => Ok(()),
        Some(store) => Err(Error::invalid(format!(
            "store {} would have to be restored from its source topic, which is not supported yet; give it \
             a changelog of its own",
            store.name
        ))),
    }
}

/// The topics that records may name: all but the application's own.
fn named_topics(log: &dyn Log, application: &str) -> Result<DynamicTopics> {
    let mut topics = BTreeMap::new();
    for name in log.topic_names()? {
        if !is_own(application, &name)
            && let Some(topic) = log.topic(&name)?
        {
            let known = DynamicTopic {
                partitions: topic.partitions,
                max_record_bytes: topic.max_record_bytes,
            };
            topics.insert(name, known);
        }
    }
    Ok(DynamicTopics::Known(Arc::new(topics)))
}

fn dead_letters(
    log: &dyn Log,
    settings: &Settings,
    limits: &mut TopicLimits,
) -> Result<Option<(String, u32)>> {
    let Some(name) = &settings.dead_letter_topic else {
        if settings.policies.sends_dead_letters() {
            return Err(Error::invalid(
                "a policy sends dead letters, but no dead-letter topic is set; set `dead_letter_topic`",
            ));
        }
        return Ok(None);
    };
    let topic = log.topic(name)?.ok_or_else(|| {
        Error::invalid(format!(
            "dead-letter topic {name} does not exist; create it first"
        ))
    })?;
    limits
        .max_record_bytes
        .insert(name.clone(), topic.max_record_bytes);
    Ok(Some((name.clone(), topic.partitions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;
    use crate::state::{Changelog, StoreKind};

    #[test]
    fn a_store_over_its_source_topic_is_refused_until_it_can_be_restored() {
        let codecs = ("utf8".to_owned(), "utf8".to_owned());
        let mut store = StoreSpec::new("users", StoreKind::key_value(), codecs);
        assert!(check_changelogs(std::slice::from_ref(&store)).is_ok());
        store.changelog = Changelog::None;
        assert!(check_changelogs(std::slice::from_ref(&store)).is_ok());
        store.changelog = Changelog::Source("users".to_owned());
        let error = check_changelogs(&[store]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("store users"), "{error}");
    }
}
