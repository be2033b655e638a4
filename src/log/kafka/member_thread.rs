//! The thread that acts for a member: heartbeats, rebalances, and a clean shutdown.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::cluster::Cluster;
use super::config;
use super::config::log_line;
use super::convert::list;
use super::error::failed;
use super::local_member::{CLIENT_PREFIX, LEAVE, LocalMember, STAY, VANISH};
use super::locks::lock;
use super::orphans::Orphans;
use super::tokens::Tokens;
use crate::base::{Error, ErrorKind, Result, Thread, TopicPartition};

/// How often the thread checks what its worker has done.
const LOOK: Duration = Duration::from_millis(20);
/// How long the request to leave may take to reach the brokers, in milliseconds.
const LEAVE_MS: u64 = 3_000;

/// The group's messages, in order.
enum Said {
    Given(BTreeSet<usize>),
    WantedBack(BTreeSet<usize>),
}

/// Stores the arguments of a rebalance callback: the list belongs to the event, and nothing slow may
/// happen there.
#[derive(Default)]
struct Ear {
    said: Mutex<Vec<Said>>,
    /// Once the client is being closed nobody listens any more, and it waits for an answer.
    closing: AtomicBool,
    tokens: Tokens,
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        self.tokens.for_client()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka member");
    }
}

impl ConsumerContext for Ear {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let given = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let _ = match given {
                true => consumer.incremental_assign(partitions),
                false => consumer.incremental_unassign(partitions),
            };
            return;
        }
        let partitions = partitions.elements();
        let numbers = partitions
            .iter()
            .filter_map(|element| usize::try_from(element.partition()).ok());
        let numbers = numbers.collect();
        lock(&self.said).push(match given {
            true => Said::Given(numbers),
            false => Said::WantedBack(numbers),
        });
    }
}

pub(super) struct MemberThread {
    cluster: Arc<Cluster>,
    local: Arc<LocalMember>,
    topic: Arc<str>,
    consumer: BaseConsumer<Ear>,
    /// Grows with each new metadata.
    number: u64,
    /// The partitions of one revocation request, until all of them are released.
    returning: Option<BTreeSet<usize>>,
    /// Looks for tasks that the group has forgotten.
    orphans: Orphans,
}

impl MemberThread {
    pub(super) fn start(
        cluster: Arc<Cluster>,
        local: Arc<LocalMember>,
        topic: String,
        shape: u64,
    ) -> Result<Thread> {
        use rdkafka::config::FromClientConfigAndContext as _;
        let client = format!("{CLIENT_PREFIX}{shape:016x}");
        let config = cluster.address.member(
            &local.group,
            &local.member,
            local.session_timeout_ms,
            &client,
        );
        let consumer = BaseConsumer::from_config_and_context(
            &config,
            Ear {
                tokens: cluster.address.tokens.clone(),
                ..Ear::default()
            },
        );
        let consumer = consumer.map_err(config::not_made)?;
        let subscribed = consumer.subscribe(&[&topic]);
        subscribed.map_err(|cause| failed(&format!("joining group {}", local.group), cause))?;
        let env = Arc::clone(&cluster.env);
        let now_ms = env.monotonic_ms();
        let thread = Self {
            cluster,
            local,
            topic: topic.into(),
            consumer,
            number: 0,
            returning: None,
            orphans: Orphans::new(now_ms),
        };
        env.spawn("marea-kafka-member", Box::new(move || thread.run()))
    }

    fn run(mut self) {
        loop {
            match self.local.wish.load(Ordering::Acquire) {
                STAY => {}
                LEAVE => {
                    self.leave();
                    return self.close();
                }
                _ => return self.close(),
            }
            if let Err(error) = self.turn() {
                lock(&self.local.state).refused = error.kind() == ErrorKind::Invalid;
                self.local.lose(&error.to_string());
                self.leave();
                return self.close();
            }
        }
    }

    fn turn(&mut self) -> Result<()> {
        self.listen()?;
        self.give_back()?;
        self.orphans.look(&self.cluster, &self.local, &self.topic)?;
        let silent_ms = {
            let now_ms = self.cluster.env.monotonic_ms();
            now_ms.saturating_sub(lock(&self.local.state).spoke_ms)
        };
        let interval_ms = self.local.max_poll_interval_ms;
        if silent_ms > interval_ms {
            return Err(Error::user(format!(
                "its worker has not reported for {interval_ms} ms"
            )));
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        match self.consumer.poll(LOOK) {
            Some(Err(cause)) if is_final(&cause, &self.consumer) => {
                let twin = match cause.rdkafka_error_code() {
                    Some(Code::FencedInstanceId) => self.twin(),
                    _ => String::new(),
                };
                return Err(failed(&format!("the brokers reject it{twin}"), cause));
            }
            Some(Err(cause)) => {
                tracing::debug!(%cause, member = %self.local.member, "kafka member")
            }
            // The topic holds no records.
            Some(Ok(_)) | None => {}
        }
        let said = std::mem::take(&mut *lock(&self.consumer.context().said));
        for said in said {
            match said {
                Said::Given(given) => self.take(&given)?,
                Said::WantedBack(_) if self.consumer.assignment_lost() => {
                    return Err(Error::user(
                        "the brokers expelled it: no heartbeat arrived in time",
                    ));
                }
                Said::WantedBack(back) => {
                    self.refresh();
                    lock(&self.local.state).leaving.extend(&back);
                    self.returning = Some(back);
                }
            }
        }
        Ok(())
    }

    /// The current holder of the member's name, as far as the brokers know.
    fn twin(&self) -> String {
        let found = self.cluster.look_at_members(&self.local.group);
        let found = found.unwrap_or_default();
        match found
            .members
            .iter()
            .find(|member| member.is(&self.local.member))
        {
            Some(twin) => {
                let host = &twin.host;
                format!(", because a process on host {host} has joined under its name")
            }
            None => ", because another process has joined under its name".to_owned(),
        }
    }

    fn take(&mut self, given: &BTreeSet<usize>) -> Result<()> {
        let given_list = self.list(given)?;
        let assigned = self
            .consumer
            .incremental_assign(&given_list)
            .and_then(|()| {
                match given.is_empty() {
                    true => Ok(()),
                    // There is nothing to read.
                    false => self.consumer.pause(&given_list),
                }
            });
        assigned.map_err(|cause| failed("taking tasks", cause))?;
        self.refresh();
        self.orphans.wake(self.cluster.env.monotonic_ms());
        let mut state = lock(&self.local.state);
        state.owned.extend(given);
        state.joined = true;
        Ok(())
    }

    /// Gives tasks back to the group, once the worker has closed all that it was told to.
    fn give_back(&mut self) -> Result<()> {
        let Some(back) = &self.returning else {
            return Ok(());
        };
        let mut state = lock(&self.local.state);
        if !state.told.is_disjoint(back) {
            return Ok(());
        }
        for task in back {
            state.owned.remove(task);
            state.leaving.remove(task);
        }
        drop(state);
        let unassigned = self.consumer.incremental_unassign(&self.list(back)?);
        unassigned.map_err(|cause| failed("giving tasks back", cause))?;
        self.returning = None;
        Ok(())
    }

    /// The group's current generation, as needed by commits.
    fn refresh(&mut self) {
        self.number += 1;
        let metadata = self.consumer.group_metadata();
        let mut state = lock(&self.local.state);
        if state.lost.is_none() {
            state.metadata = metadata.map(|metadata| (Arc::new(metadata), self.number));
        }
    }

    fn list(&self, tasks: &BTreeSet<usize>) -> Result<TopicPartitionList> {
        let partition = |task: &usize| {
            TopicPartition::new(
                Arc::clone(&self.topic),
                u32::try_from(*task).unwrap_or(u32::MAX),
            )
        };
        let partitions: Vec<TopicPartition> = tasks.iter().map(partition).collect();
        list(
            partitions
                .iter()
                .map(|partition| (partition, KafkaOffset::Offset(0))),
        )
    }

    /// Lets the client shut down without anybody to answer it.
    fn close(self) {
        self.answer_request();
        self.consumer
            .context()
            .closing
            .store(true, Ordering::Release);
    }

    /// Gives back what the group is waiting for, closed or not: commits are refused by now.
    fn answer_request(&self) {
        if let Some(back) = &self.returning
            && let Ok(back) = self.list(back)
        {
            let _ = self.consumer.incremental_unassign(&back);
        }
    }

    /// Leaves the group at once. A static member does not leave when its client is merely closed.
    fn leave(&mut self) {
        let until_ms = self.cluster.env.monotonic_ms() + LEAVE_MS;
        // A member that leaves while it is joining would stay behind as a member without a process.
        while !lock(&self.local.state).joined && self.cluster.env.monotonic_ms() < until_ms {
            if self.listen().is_err() {
                break;
            }
        }
        self.consumer.unsubscribe();
        self.answer_request();
        self.returning = None;
        let mut quiet = 0;
        // The group first wants everything back; then the request to leave is sent.
        while quiet < 5 && self.cluster.env.monotonic_ms() < until_ms {
            if self.local.wish.load(Ordering::Acquire) == VANISH {
                return;
            }
            let _ = self.consumer.poll(LOOK);
            let said = std::mem::take(&mut *lock(&self.consumer.context().said));
            quiet += 1;
            for said in said {
                quiet = 2;
                let _ = match said {
                    Said::Given(given) => self
                        .list(&given)
                        .map(|list| self.consumer.incremental_assign(&list)),
                    Said::WantedBack(back) => self
                        .list(&back)
                        .map(|list| self.consumer.incremental_unassign(&list)),
                };
            }
        }
    }
}

/// Whether the client has given up for good.
fn is_final(cause: &KafkaError, consumer: &BaseConsumer<Ear>) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(
            Code::FencedInstanceId
                | Code::GroupAuthorizationFailed
                | Code::Fatal
                | Code::InvalidSessionTimeout
                | Code::InconsistentGroupProtocol
        )
    ) || consumer.client().fatal_error().is_some()
}
