//! The names of the topics that belong to an application, except those of its stores and repartitions, which
//! have names of their own.

/// The topic that says where times are, what was left behind, and which topologies have run.
pub(super) fn record_topic(application: &str) -> String {
    format!("{application}-topology")
}

/// The topic that says which instance has which task. No name of a store or repartition makes one of its topics this.
pub(crate) fn instances_topic(application: &str) -> String {
    format!("{application}-instances")
}

/// The topic with the times and timers of the tasks of a sub-topology.
pub(super) fn task_changelog(application: &str, subtopology: &str) -> String {
    format!("{application}-{subtopology}-task-changelog")
}

/// Whether a topic is one of the application's own, so that no record may name it.
pub(super) fn is_own(application: &str, topic: &str) -> bool {
    let prefix = format!("{application}-");
    let ends = ["-changelog", "-repartition"];
    topic == record_topic(application)
        || topic == instances_topic(application)
        || topic.starts_with(&prefix) && ends.iter().any(|end| topic.ends_with(end))
}
