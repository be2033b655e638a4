//! Groups: their committed offsets, and their deletion.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::Cluster;
use super::admin::{hear_out, unknown};
use crate::base::{Error, Result, TopicPartition};
use crate::log::CommittedOffset;
use crate::log::kafka::config;
use crate::log::kafka::convert::{list, offset_of};
use crate::log::kafka::error::{failed, refused, unavailable};
use crate::log::kafka::locks::lock;
use crate::log::kafka::waits::{ATTEMPT, CONTACT_MS, LOOK, REQUEST_MS};

/// How many failed requests a group's client may make before another replaces it.
const TIMES_WITH_ONE_CLIENT: u32 = 4;

/// How long one attempt waits for a coordinator.
const CONTACT: Duration = Duration::from_millis(CONTACT_MS);

/// Requests the offsets of these partitions.
fn unknown_offsets(partitions: &[TopicPartition]) -> Result<TopicPartitionList> {
    let partitions = partitions.iter();
    list(partitions.map(|partition| (partition, KafkaOffset::Invalid)))
}

/// The error if a transaction that is about to change a group's offsets stays open. Brokers abort those
/// of clients that are gone after `transaction.timeout.ms`, but have been seen to forget one: a broker
/// that was the only one and was killed takes the partitions of a transaction whose commit it had begun
/// for deleted ones while it starts, and writes no markers (Kafka 4.3.0).
fn held_up(group: &str, partitions: &[TopicPartition], cause: KafkaError) -> Error {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    unavailable(
        format!(
            "a transaction that changes the offsets of group {group} for some of {} has been open for \
             {REQUEST_MS} ms. If it stays open beyond the transaction.timeout.ms of its producer, it is \
             hanging: find it with `kafka-transactions.sh find-hanging` and end it with \
             `kafka-transactions.sh abort`",
            names.join(", ")
        ),
        cause,
    )
}

impl Cluster {
    pub(in crate::log::kafka) fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut client = self.group(group)?;
        let mut times = 0;
        let what = || format!("requesting the offsets of group {group}");
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        let answer = loop {
            hear_out(&client);
            let asked = unknown_offsets(partitions)?;
            // The client asks for stable offsets, and asks again while a transaction is about to change
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
                    tracing::debug!(%cause, group, "requesting offsets again");
                    times += 1;
                    // A client that has lost its connection to the coordinator may not find it by itself.
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
            answer.map_err(|cause| {
                failed("requesting offsets without waiting for transactions", cause)
            })
        };
        asked().is_ok()
    }

    pub(in crate::log::kafka) fn delete_group(&self, group: &str) -> Result<()> {
        let known = self.members(group)?;
        let mut members: Vec<String> = known.into_iter().map(|member| member.id).collect();
        // Those that have not joined completely yet.
        for ((joined, member), local) in self.local_members().iter() {
            if joined == group && lock(&local.state).lost.is_none() {
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
        let answers = loop {
            // Named, for the reason given at `describe` in `members`. The broker that was asked for the
            // members is the right one.
            let coordinator = lock(&self.coordinators).get(group).copied();
            let options = AdminOptions::new()
                .request_timeout(Some(CONTACT))
                .broker_id(coordinator);
            let answers = block_on(self.admin().delete_groups(&[group], &options));
            let answers = answers.map_err(|cause| failed(&what, cause))?;
            // On a cluster that has just started, no broker may be responsible for the group yet, and a
            // request that waits for one may miss the one that becomes responsible later.
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
            self.members(group)?;
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
}
