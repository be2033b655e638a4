//! Groups: what they have committed, and who is in them.

use std::time::Duration;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::admin::{ATTEMPT, LOOK, hear_out, unknown};
use super::cluster::{Cluster, lock};
use super::config::{self, CONTACT_MS, REQUEST_MS};
use super::convert::{list, offset_of};
use super::error::{failed, refused, unavailable};
use crate::base::{Error, Result, TopicPartition};
use crate::log::CommittedOffset;

/// How often a client of a group is asked in vain before another takes its place.
const TIMES_WITH_ONE_CLIENT: u32 = 4;

/// How long one attempt waits for a coordinator.
const CONTACT: Duration = Duration::from_millis(CONTACT_MS);

/// A member of a group, as the brokers describe it.
pub(super) struct GroupMember {
    /// Its name at the broker: its own, a dash, and more.
    pub(super) id: String,
    /// The name of its client.
    pub(super) client: String,
    /// Where its process runs.
    pub(super) host: String,
    /// What it has, as bytes of the protocol.
    pub(super) assignment: Vec<u8>,
}

impl GroupMember {
    /// Whether it is the member of that name.
    pub(super) fn is(&self, member: &str) -> bool {
        let rest = self.id.strip_prefix(member);
        rest.is_some_and(|rest| rest.starts_with('-'))
    }
}

/// The question for the offsets of these.
fn unknown_offsets(partitions: &[TopicPartition]) -> Result<TopicPartitionList> {
    let partitions = partitions.iter();
    list(partitions.map(|partition| (partition, KafkaOffset::Invalid)))
}

/// The error where a transaction stays open that is about to change a group's offsets. Brokers end those
/// of clients that are gone after `transaction.timeout.ms`, and have been seen to forget one: a broker
/// that was alone and killed takes the partitions of a transaction whose commit it had begun for deleted
/// ones while it starts, and writes no markers (Kafka 4.3.0).
fn held_up(group: &str, partitions: &[TopicPartition], cause: KafkaError) -> Error {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    unavailable(
        format!(
            "a transaction that changes the offsets of group {group} for some of {} has been open for \
             {REQUEST_MS} ms. If it outlasts the transaction.timeout.ms of whoever began it, the brokers have \
             forgotten it: find it with `kafka-transactions.sh find-hanging` and end it with \
             `kafka-transactions.sh abort`",
            names.join(", ")
        ),
        cause,
    )
}

/// The members of groups as last seen, for all workers of this process: the question goes to every broker, and
/// each worker would put it.
pub(super) struct Seen<T>(Mutex<HashMap<String, (u64, Arc<T>)>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Seen<T> {
    /// What was seen at most this long ago, or what `look` finds now. Those that ask meanwhile wait for it.
    fn look(
        &self,
        group: &str,
        now_ms: impl Fn() -> u64,
        age_ms: u64,
        look: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut seen = lock(&self.0);
        if let Some((at_ms, found)) = seen.get(group)
            && now_ms() <= at_ms + age_ms
        {
            return Ok(Arc::clone(found));
        }
        // Of the moment before it was asked.
        let at_ms = now_ms();
        let found = Arc::new(look()?);
        seen.insert(group.to_owned(), (at_ms, Arc::clone(&found)));
        Ok(found)
    }
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
            let asked = unknown_offsets(partitions)?;
            // The client asks for stable offsets, and again while a transaction is about to change
            // them.
            match client.committed_offsets(asked, ATTEMPT) {
                Ok(answer) => break answer,
                Err(cause) if self.env.monotonic_ms() >= until_ms => {
                    return Err(match self.is_held_up(group, partitions) {
                        true => held_up(group, partitions, cause),
                        false => failed(&what(), cause),
                    });
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

    /// Whether the brokers answer as soon as they need not wait for a transaction.
    fn is_held_up(&self, group: &str, partitions: &[TopicPartition]) -> bool {
        let asked = || {
            let client = config::consumer(&self.address, &self.address.group_as_it_stands(group))?;
            let asked = unknown_offsets(partitions)?;
            let answer = client.committed_offsets(asked, CONTACT);
            answer.map_err(|cause| failed("asking for offsets as they stand", cause))
        };
        asked().is_ok()
    }

    pub(super) fn delete_group(&self, group: &str) -> Result<()> {
        let known = self.members(group)?;
        let mut members: Vec<String> = known.into_iter().map(|member| member.id).collect();
        // Those that have not been let in yet.
        for ((joined, member), seat) in self.local_members().iter() {
            if joined == group && lock(&seat.state).lost.is_none() {
                members.push(member.clone());
            }
        }
        if !members.is_empty() {
            let message = format!(
                "group {group} has members, among them {}; stop them first",
                members[0]
            );
            return Err(Error::invalid(message));
        }
        let what = format!("deleting group {group}");
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        let options = AdminOptions::new().request_timeout(Some(CONTACT));
        let answers = loop {
            let answers = block_on(self.admin().delete_groups(&[group], &options));
            let answers = answers.map_err(|cause| failed(&what, cause))?;
            // On a cluster that has just started nobody may care for the group yet, and a request that
            // waits for it may miss who does later.
            let passes = |answer: &Result<_, (_, Code)>| {
                matches!(
                    answer,
                    Err((
                        _,
                        Code::NotCoordinator
                            | Code::CoordinatorNotAvailable
                            | Code::CoordinatorLoadInProgress
                            | Code::OperationTimedOut
                    ))
                )
            };
            if self.env.monotonic_ms() >= until_ms || !answers.iter().any(passes) {
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

    /// The members of a group, asked for until somebody answers.
    pub(super) fn members(&self, group: &str) -> Result<Vec<GroupMember>> {
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        loop {
            match self.look_at_members(group) {
                // Each broker is asked, and one of them may be away.
                Err(error) if self.env.monotonic_ms() < until_ms => {
                    tracing::debug!(%error, group, "asking for members again");
                }
                answer => return answer.map(|(members, _)| members),
            }
            self.env.sleep(LOOK);
        }
    }

    /// The same as [`Self::look_at_members`], or what another worker saw at most this long ago.
    pub(super) fn recent_members(
        &self,
        group: &str,
        age_ms: u64,
    ) -> Result<Arc<(Vec<GroupMember>, bool)>> {
        let now_ms = || self.env.monotonic_ms();
        let look = || self.look_at_members(group);
        self.members_seen.look(group, now_ms, age_ms, look)
    }

    /// The members of a group as one attempt finds them, and whether the group is at rest.
    pub(super) fn look_at_members(&self, group: &str) -> Result<(Vec<GroupMember>, bool)> {
        let answer = self.admin().inner().fetch_group_list(Some(group), ATTEMPT);
        let groups = answer
            .map_err(|cause| failed(&format!("asking for the members of group {group}"), cause))?;
        let Some(known) = groups.groups().iter().find(|known| known.name() == group) else {
            return Ok((Vec::new(), false));
        };
        let members = known.members().iter().map(|member| GroupMember {
            id: member.id().to_owned(),
            client: member.client_id().to_owned(),
            host: member.client_host().trim_start_matches('/').to_owned(),
            assignment: member.assignment().unwrap_or_default().to_vec(),
        });
        Ok((members.collect(), known.state() == "Stable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_looks_for_all() {
        let seen = Seen::default();
        let look = |now_ms: u64, age_ms: u64, found: u64| {
            let found = seen.look("g", || now_ms, age_ms, || Ok(found));
            *found.expect("found")
        };
        assert_eq!(look(1_000, 200, 1), 1);
        assert_eq!(look(1_200, 200, 2), 1, "seen by another");
        assert_eq!(look(1_201, 200, 3), 3, "too long ago");
        assert_eq!(
            look(16_201, 15_000, 4),
            3,
            "who looks rarely takes what is older"
        );
        let failed = seen.look("other", || 0, 200, || Err(Error::invalid("away")));
        assert!(failed.is_err());
        let found = seen.look("other", || 0, 200, || Ok(5));
        assert_eq!(*found.expect("asked again"), 5, "a failure is not kept");
    }
}
