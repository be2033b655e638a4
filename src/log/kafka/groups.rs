//! Groups: what they have committed, and who is in them.

use futures::executor::block_on;
use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::admin::{ATTEMPT, LOOK, SETTLE_MS, hear_out, options, unknown};
use super::cluster::{Cluster, lock};
use super::config::REQUEST_MS;
use super::convert::{list, offset_of};
use super::error::{failed, refused};
use crate::base::{Error, Result, TopicPartition};
use crate::log::CommittedOffset;

/// How often a client of a group is asked in vain before another takes its place.
const TIMES_WITH_ONE_CLIENT: u32 = 4;

/// A member of a group at rest.
pub(super) struct Assigned {
    /// Its name at the broker.
    pub(super) member: String,
    /// The name of its client.
    pub(super) client: String,
    /// What it has, as bytes of the protocol.
    pub(super) assignment: Vec<u8>,
}

impl Cluster {
    pub(super) fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut client = self.group(group)?;
        let mut times = 0;
        let what = || format!("asking for the offsets of group {group}");
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        let answer = loop {
            hear_out(&client);
            let partitions = partitions.iter();
            let asked = list(partitions.map(|partition| (partition, KafkaOffset::Invalid)))?;
            // The client asks for stable offsets, and again while a transaction is about to change
            // them.
            match client.committed_offsets(asked, ATTEMPT) {
                Ok(answer) => break answer,
                Err(cause) if self.env.monotonic_ms() >= until_ms => {
                    return Err(failed(&what(), cause));
                }
                Err(cause) => {
                    tracing::debug!(%cause, group, "asking for offsets again");
                    times += 1;
                    // A client that has lost its way to the coordinator may not find it by itself.
                    if times % TIMES_WITH_ONE_CLIENT == 0 {
                        self.forget_group(group);
                        client = self.group(group)?;
                    }
                }
            }
            self.env.sleep(LOOK);
        };
        let mut committed = Vec::with_capacity(partitions.len());
        for element in answer.elements() {
            tracing::debug!(group, place = ?(element.topic(), element.partition()), offset = ?element.offset(), error = ?element.error(), "committed");
            match element.error() {
                Ok(()) => {}
                Err(cause) if unknown(&cause) => {}
                Err(cause) => return Err(failed(&what(), cause)),
            }
            committed.push(offset_of(element.offset()).map(|offset| CommittedOffset {
                offset,
                metadata: element.metadata().to_owned(),
            }));
        }
        Ok(committed)
    }

    pub(super) fn delete_group(&self, group: &str) -> Result<()> {
        let mut members = self.members(group)?;
        // Those that have not been let in yet.
        for ((joined, member), seat) in self.seats().iter() {
            if joined == group && lock(&seat.state).lost.is_none() {
                members.push((member.clone(), String::new()));
            }
        }
        if !members.is_empty() {
            let message = format!(
                "group {group} has members, among them {}; stop them first",
                members[0].0
            );
            return Err(Error::invalid(message));
        }
        let what = format!("deleting group {group}");
        let until_ms = self.env.monotonic_ms() + SETTLE_MS;
        let answers = loop {
            let answers = block_on(self.admin.delete_groups(&[group], &options()));
            let answers = answers.map_err(|cause| failed(&what, cause))?;
            // On a cluster that has just started nobody may care for the group yet.
            let moves = |answer: &Result<_, (_, Code)>| {
                matches!(
                    answer,
                    Err((
                        _,
                        Code::NotCoordinator
                            | Code::CoordinatorNotAvailable
                            | Code::CoordinatorLoadInProgress
                    ))
                )
            };
            if self.env.monotonic_ms() >= until_ms || !answers.iter().any(moves) {
                break answers;
            }
            self.env.sleep(LOOK);
        };
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::GroupIdNotFound)) => {}
                Err((_, Code::NonEmptyGroup)) => {
                    let message = format!("{what}: it has members; stop them first");
                    return Err(Error::invalid(message));
                }
                Err((_, code)) => return Err(refused(&what, code)),
            }
        }
        self.forget_group(group);
        Ok(())
    }

    /// The members of a group: name at the broker, and the name of the client.
    pub(super) fn members(&self, group: &str) -> Result<Vec<(String, String)>> {
        let what = format!("asking for the members of group {group}");
        let client = self.admin.inner();
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        let groups = loop {
            match client.fetch_group_list(Some(group), ATTEMPT) {
                Ok(groups) => break groups,
                Err(cause) if self.env.monotonic_ms() >= until_ms => {
                    return Err(failed(&what, cause));
                }
                // Each broker is asked, and one of them may be away.
                Err(cause) => tracing::debug!(%cause, group, "asking for members again"),
            }
            self.env.sleep(LOOK);
        };
        let of_group = groups.groups().iter().filter(|known| known.name() == group);
        Ok(of_group
            .flat_map(|known| known.members())
            .map(|member| (member.id().to_owned(), member.client_id().to_owned()))
            .collect())
    }

    /// The hosts of the members of a group whose name at the broker begins so.
    pub(super) fn hosts_of(&self, group: &str, beginning: &str) -> Result<Vec<String>> {
        let what = || format!("asking for the members of group {group}");
        let groups = self.admin.inner().fetch_group_list(Some(group), ATTEMPT);
        let groups = groups.map_err(|cause| failed(&what(), cause))?;
        let of_group = groups.groups().iter().filter(|known| known.name() == group);
        let members = of_group.flat_map(|known| known.members());
        let wanted = members.filter(|member| member.id().starts_with(beginning));
        let hosts = wanted.map(|member| member.client_host().trim_start_matches('/').to_owned());
        Ok(hosts.collect())
    }

    /// What the members of a group have; `None` unless the group is at rest.
    pub(super) fn assignments(&self, group: &str) -> Result<Option<Vec<Assigned>>> {
        let what = || format!("asking for the members of group {group}");
        let client = self.admin.inner();
        let groups = client.fetch_group_list(Some(group), ATTEMPT);
        let groups = groups.map_err(|cause| failed(&what(), cause))?;
        let known = groups.groups().iter().find(|known| known.name() == group);
        let Some(known) = known.filter(|known| known.state() == "Stable") else {
            return Ok(None);
        };
        let bytes = |member: &rdkafka::groups::GroupMemberInfo| {
            let assignment = member.assignment().unwrap_or_default();
            Assigned {
                member: member.id().to_owned(),
                client: member.client_id().to_owned(),
                assignment: assignment.to_vec(),
            }
        };
        Ok(Some(known.members().iter().map(bytes).collect()))
    }
}
