//! The topic whose partitions are the tasks of a group: made, grown, and made anew when their number changes.

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
    /// Sees to it that the group's topic has a partition for each task. While the group has members it may only
    /// grow: they hold its partitions. Once it is empty one of another size is deleted and made anew, as partitions
    /// without a task would be shared out like the others, and leave some members with less to do.
    ///
    /// Instances that start at once do this side by side. Whatever one of them finds changed under it, it looks
    /// again until the topic is right.
    ///
    /// # Errors
    /// `Unavailable` if it has not become so in time.
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
                        "made anew, as the number of tasks has changed"
                    );
                    self.delete_topics(std::slice::from_ref(&name))
                }
            };
            if let Err(error) = done {
                // Another instance has made, grown or deleted it meanwhile; or brokers do not agree yet.
                let patience_ms = match error.kind() {
                    ErrorKind::Unavailable => REQUEST_MS,
                    ErrorKind::Invalid => SETTLE_MS,
                    _ => 0,
                };
                if self.env.monotonic_ms() >= began_ms + patience_ms {
                    return Err(error);
                }
                tracing::debug!(%error, topic = name, "looking again");
                self.env.sleep(LOOK);
            }
        }
    }

    /// Whether the group has members, those of this process that have not been let in yet among them.
    fn has_members(&self, group: &str) -> Result<bool> {
        let lives = |((of, _), seat): (
            &(String, String),
            &std::sync::Arc<crate::log::kafka::seat::Seat>,
        )| { of == group && lock(&seat.state).lost.is_none() };
        let is_here = self.local_members().iter().any(lives);
        Ok(is_here || !self.members(group)?.is_empty())
    }
}
