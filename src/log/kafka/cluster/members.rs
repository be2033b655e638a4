//! The members of a group, as its coordinator describes them: the other brokers need not be up.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString, c_char};
use std::sync::{Arc, Mutex};

use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataBroker;

use super::Cluster;
use super::tasks_topic::name_of;
use crate::base::{Error, ErrorKind, Result};
use crate::log::kafka::error::{failed, refused};
use crate::log::kafka::locks::lock;
use crate::log::kafka::waits::{ATTEMPT, LOOK, REQUEST_MS};

/// A group as the brokers describe it.
#[derive(Default)]
pub(in crate::log::kafka) struct Members {
    pub(in crate::log::kafka) members: Vec<GroupMember>,
    /// Whether it is stable: no member is joining, and all have their assignment.
    pub(in crate::log::kafka) are_settled: bool,
}

/// A member of a group.
pub(in crate::log::kafka) struct GroupMember {
    /// Its name at the broker, which ends with a random part.
    pub(in crate::log::kafka) id: String,
    /// The name that it keeps across restarts, if it is static.
    name: Option<String>,
    /// The name of its client.
    pub(in crate::log::kafka) client: String,
    /// The host of its process.
    pub(in crate::log::kafka) host: String,
    /// Its assignment: topics and partitions.
    assigned: Vec<(String, usize)>,
}

impl GroupMember {
    /// Its own name, or what the broker calls it if it has none.
    pub(in crate::log::kafka) fn into_name(self) -> String {
        self.name.unwrap_or(self.id)
    }

    /// Whether it is the member of that name.
    pub(in crate::log::kafka) fn is(&self, member: &str) -> bool {
        self.name.as_deref() == Some(member)
    }

    /// The partitions of a topic that it has.
    pub(in crate::log::kafka) fn partitions_of(&self, topic: &str) -> BTreeSet<usize> {
        let of = self.assigned.iter().filter(|(name, _)| name == topic);
        of.map(|(_, partition)| *partition).collect()
    }
}

/// The members of groups as last seen, shared by all workers of this process, each of which would
/// otherwise ask.
pub(in crate::log::kafka) struct Seen<T>(Mutex<HashMap<String, (u64, Arc<T>)>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Seen<T> {
    /// The last answer if it is no older than this, or else what `look` finds now. Concurrent callers
    /// wait for one answer.
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
        // Counted from before the request.
        let at_ms = now_ms();
        let found = Arc::new(look()?);
        seen.insert(group.to_owned(), (at_ms, Arc::clone(&found)));
        Ok(found)
    }
}

impl Cluster {
    /// The members of a group; asks until a broker answers.
    pub(in crate::log::kafka) fn members(&self, group: &str) -> Result<Vec<GroupMember>> {
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        loop {
            match self.look_at_members(group) {
                // The coordinator may be moving.
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && self.env.monotonic_ms() < until_ms =>
                {
                    tracing::debug!(%error, group, "requesting members again");
                }
                answer => return answer.map(|found| found.members),
            }
            self.env.sleep(LOOK);
        }
    }

    /// The same as [`Self::look_at_members`], or another worker's answer if it is no older than this.
    pub(in crate::log::kafka) fn recent_members(
        &self,
        group: &str,
        age_ms: u64,
    ) -> Result<Arc<Members>> {
        let now_ms = || self.env.monotonic_ms();
        let look = || self.look_at_members(group);
        self.members_seen.look(group, now_ms, age_ms, look)
    }

    /// The members of a group in a single attempt: asks the broker that answered last and, if that is no
    /// longer the group's coordinator, or is down, the others.
    pub(in crate::log::kafka) fn look_at_members(&self, group: &str) -> Result<Members> {
        let name = CString::new(group)
            .map_err(|_| Error::invalid(format!("group {group}: the name contains a zero byte")))?;
        let last = lock(&self.coordinators).get(group).copied();
        if let Some(broker) = last
            && let Some(found) = self.said_of(group, describe(self, &name, broker))?
        {
            return Ok(found);
        }
        let what = || format!("requesting the members of group {group}");
        // Whether the topic exists is irrelevant: the answer lists the brokers.
        let topic = name_of(group);
        let metadata = self.admin().inner().fetch_metadata(Some(&topic), ATTEMPT);
        let metadata = metadata.map_err(|cause| failed(&what(), cause))?;
        for broker in metadata.brokers().iter().map(MetadataBroker::id) {
            if Some(broker) != last
                && let Some(found) = self.said_of(group, describe(self, &name, broker))?
            {
                lock(&self.coordinators).insert(group.to_owned(), broker);
                return Ok(found);
            }
        }
        // On a cluster that never had a group there is no coordinator until a client looks for one, as
        // each client with a group does by itself.
        self.group(group)?;
        let message = format!("{}: no broker coordinates the group", what());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Interprets a broker's answer; `None` if another one must be asked.
    fn said_of(&self, group: &str, said: Option<Result<Members, Code>>) -> Result<Option<Members>> {
        let what = format!("requesting the members of group {group}");
        match said {
            Some(Ok(found)) => Ok(Some(found)),
            // Nobody has joined it yet.
            Some(Err(Code::GroupIdNotFound)) => Ok(Some(Members::default())),
            Some(Err(code)) => match refused(&what, code) {
                error if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "asking another broker");
                    Ok(None)
                }
                error => Err(error),
            },
            None => Ok(None),
        }
    }
}

/// A group, as a broker describes it within [`ATTEMPT`]; `None` if it does not. The binding's only call
/// for it asks every broker for all groups, so this one goes to the underlying library.
///
/// The broker is named. Otherwise the library looks for the coordinator itself, and if the request times
/// out before that is found, it continues with freed memory (librdkafka 2.12:
/// `rd_kafka_admin_coord_request` releases its reference, and the failure that it returns is reported to
/// the same holder), which has aborted the process when the broker came back.
#[expect(
    unsafe_code,
    reason = "the binding has no such call; the proof is beside it"
)]
fn describe(cluster: &Cluster, group: &CStr, broker: i32) -> Option<Result<Members, Code>> {
    let client = cluster.admin().inner().native_ptr();
    let mut names = [group.as_ptr()];
    let wait_ms = i32::try_from(ATTEMPT.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives the call, as `cluster` is borrowed. The name outlives the call that
    // copies it. Queue, options and event are made and destroyed here, each once, the event before the
    // queue. The result and everything in it belong to the event and are copied out before it is
    // destroyed; indices stay below the counts that the library returns, and texts are terminated. An
    // answer that arrives after the wait finds its queue disabled, which the library allows. Where a
    // reason would be written, null is allowed.
    unsafe {
        let queue = native::rd_kafka_queue_new(client);
        let options = native::rd_kafka_AdminOptions_new(
            client,
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        );
        let none = std::ptr::null_mut();
        // Values within the library's limits are not refused.
        native::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, none, 0);
        native::rd_kafka_AdminOptions_set_broker(options, broker, none, 0);
        let count = names.len();
        native::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), count, options, queue);
        native::rd_kafka_AdminOptions_destroy(options);
        // A little longer than the library, so that it can say why there is no answer.
        let event = native::rd_kafka_queue_poll(queue, wait_ms + 200);
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        };
        let assigned = |assignment: *const native::rd_kafka_MemberAssignment_t| {
            let list = match assignment.is_null() {
                true => std::ptr::null(),
                false => native::rd_kafka_MemberAssignment_partitions(assignment),
            };
            let count = match list.is_null() {
                true => 0,
                false => usize::try_from((*list).cnt).unwrap_or(0),
            };
            let element = |index| {
                let element = (*list).elems.add(index);
                let partition = usize::try_from((*element).partition).ok()?;
                Some((text((*element).topic), partition))
            };
            (0..count).filter_map(element).collect()
        };
        let group = |group: *const native::rd_kafka_ConsumerGroupDescription_t| {
            let error = native::rd_kafka_ConsumerGroupDescription_error(group);
            if !error.is_null() {
                return Err(native::rd_kafka_error_code(error).into());
            }
            let member = |index| {
                let member = native::rd_kafka_ConsumerGroupDescription_member(group, index);
                let name = native::rd_kafka_MemberDescription_group_instance_id(member);
                let host = text(native::rd_kafka_MemberDescription_host(member));
                GroupMember {
                    id: text(native::rd_kafka_MemberDescription_consumer_id(member)),
                    name: (!name.is_null()).then(|| text(name)),
                    client: text(native::rd_kafka_MemberDescription_client_id(member)),
                    host: host.trim_start_matches('/').to_owned(),
                    assigned: assigned(native::rd_kafka_MemberDescription_assignment(member)),
                }
            };
            let number = native::rd_kafka_ConsumerGroupDescription_member_count(group);
            let state = native::rd_kafka_ConsumerGroupDescription_state(group);
            Ok(Members {
                members: (0..number).map(member).collect(),
                are_settled: state
                    == native::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE,
            })
        };
        let mut found = None;
        if !event.is_null() {
            let error = native::rd_kafka_event_error(event);
            let result = native::rd_kafka_event_DescribeConsumerGroups_result(event);
            if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                found = Some(Err(error.into()));
            } else if !result.is_null() {
                let mut count = 0;
                let groups =
                    native::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
                found = (count > 0).then(|| group(*groups));
            }
            native::rd_kafka_event_destroy(event);
        }
        native::rd_kafka_queue_destroy(queue);
        found
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
