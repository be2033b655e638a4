//! The topic whose partitions are the tasks of a group: created, grown, and recreated when their number
//! changes.

use super::Cluster;
use crate::base::{ErrorKind, Result};
use crate::log::TopicSpec;
use crate::log::kafka::locks::lock;
use crate::log::kafka::waits::{LOOK, REQUEST_MS, SETTLE_MS};

/// The name of a group's topic of tasks.
pub(in crate::log::kafka) fn name_of(group: &str) -> String {
    format!("{group}-marea-tasks")
}

impl Cluster {
    /// Makes sure that the group's topic has a partition for each task. While the group has members it
    /// may only grow: they hold its partitions. Once the group is empty, a topic of another size is
    /// deleted and recreated, because partitions without a task would be shared out like the others, and
    /// leave some members with less to do.
    ///
    /// Instances that start at once do this concurrently. If an instance finds something changed in the
    /// meantime, it checks again until the topic is right.
    ///
    /// # Errors
    /// `Unavailable` if that did not happen in time.
    pub(in crate::log::kafka) fn prepare_tasks(&self, group: &str, tasks: usize) -> Result<()> {
        let name = name_of(group);
        let partitions = u32::try_from(tasks.max(1)).unwrap_or(u32::MAX);
        let began_ms = self.env.monotonic_ms();
        loop {
            let done = match self.topic(&name)? {
                Some(found) if found.partitions == partitions => return Ok(()),
                None => self.create_topics(&[TopicSpec::new(&name, partitions)]),
                Some(found) if self.has_members(group)? => match found.partitions < partitions {
                    true => self.grow_topic(&name, partitions),
                    false => return Ok(()),
                },
                Some(found) => {
                    tracing::info!(
                        topic = name,
                        found = found.partitions,
                        partitions,
                        "recreating the topic, because the number of tasks has changed"
                    );
                    self.delete_topics(std::slice::from_ref(&name))
                }
            };
            if let Err(error) = done {
                // Another instance has created, grown or deleted it in the meantime; or brokers do not
                // agree yet.
                let patience_ms = match error.kind() {
                    ErrorKind::Unavailable => REQUEST_MS,
                    ErrorKind::Invalid => SETTLE_MS,
                    _ => 0,
                };
                if self.env.monotonic_ms() >= began_ms + patience_ms {
                    return Err(error);
                }
                tracing::debug!(%error, topic = name, "trying again");
                self.env.sleep(LOOK);
            }
        }
    }

    /// Whether the group has members, including those of this process that have not joined completely
    /// yet.
    fn has_members(&self, group: &str) -> Result<bool> {
        let lives = |((of, _), local): (
            &(String, String),
            &std::sync::Arc<crate::log::kafka::local_member::LocalMember>,
        )| { of == group && lock(&local.state).lost.is_none() };
        let is_here = self.local_members().iter().any(lives);
        Ok(is_here || !self.members(group)?.is_empty())
    }
}
