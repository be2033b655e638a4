//! The log on a Kafka cluster, by librdkafka.
//!
//! ```text
//!  address, builder           the address of the cluster; no secret is shown
//!  settings, properties       what users may set, in an address or a file;  tokens: of OAUTHBEARER
//!  config, error, convert     settings, verdicts, conversion to Kafka's types
//!  cluster, contact           shared parts; why no broker answers;  ports: of brokers that are down
//!  cluster/                   requests to it:
//!    admin, topic_settings    topics;  ends: where partitions begin and end
//!    questions, purges        offsets that are requested all the time; records deleted in the background
//!    groups, members          committed offsets of groups; their members
//!    topic_ids                whether a topic is still the one it was
//!  reader                     committed records of partitions assigned manually
//!  writer, transaction        a commit is one transaction, on the writer's own thread;  sending, outcome
//!  membership, member_thread  a group assigns tasks, by a topic of them (tasks_topic);  orphans: and
//!  all;  local_member: a member's place;  task_order: which partition of it is which task
//! ```
//!
//! Clients of the library, each with about four threads ([ADR 0018](../../../docs/adr/0018-what-a-logs-clients-take.md)):
//!
//! ```text
//!  of each worker    a reader, a writer, a member of the group
//!  of the log        one for requests; one for each group whose offsets are requested; a spare reader
//!  while tasks are   a reader for each thread that restores
//!  restored
//! ```
//!
//! Differences from the logs in this process, inherent in Kafka: the marker that ends a transaction takes
//! an offset, so there are gaps; appended records become visible a moment later; batches are returned
//! with other boundaries; the wall clock of an append is not known.

mod address;
mod builder;
mod cluster;
mod config;
mod contact;
mod convert;
mod deliveries;
mod error;
mod jobs;
mod leaders;
mod locks;
mod member_thread;
mod membership;
mod orphans;
mod outcome;
mod ports;
mod properties;
mod reader;
mod reader_client;
mod local_member;
mod sending;
mod settings;
mod task_order;
mod tokens;
mod topic_settings;
mod transaction;
mod waits;
mod writer;

pub use self::builder::KafkaLogBuilder;
pub use self::settings::Secret;
pub use self::tokens::OauthToken;

use std::sync::Arc;

use super::kafka::address::Address;
use super::kafka::cluster::Cluster;
use super::kafka::cluster::members::GroupMember;
use super::kafka::reader::KafkaReader;
use super::kafka::writer::KafkaWriter;
use super::{CommittedOffset, Isolation, JoinRequest, Log, Membership, Reader, TopicSpec, Writer};
use crate::base::{Env, Offset, Result, TopicPartition};

/// A log on a Kafka cluster.
#[derive(Debug)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
}

impl KafkaLog {
    /// Connects to the cluster that `url` names: `kafka://HOST:PORT`, several brokers separated by
    /// commas, and after a question mark settings of librdkafka, for example
    /// `kafka://a:9093,b:9093?security.protocol=SSL`. Names and values are percent-decoded: write `&` in
    /// a password as `%26`. Secrets need not be part of it: `config=FILE` reads settings from a file, see
    /// [`KafkaLogBuilder::properties`]. Settings that the guarantees depend on are refused by name, and
    /// no message or log line shows a value that may be a secret.
    ///
    /// # Errors
    /// `Unavailable` if no broker answers within five seconds; `Invalid` if the address or a setting
    /// is wrong.
    pub fn connect(url: &str, env: Arc<dyn Env>) -> Result<Self> {
        let cluster = Arc::new(Cluster::connect(Address::parse(url)?, env)?);
        Ok(Self { cluster })
    }

    /// Starts with the brokers to contact first: `HOST:PORT`, several separated by commas. Settings are
    /// added to the builder.
    pub fn builder(brokers: impl Into<String>) -> KafkaLogBuilder {
        KafkaLogBuilder::new(brokers.into())
    }
}

impl Log for KafkaLog {
    fn incarnation(&self) -> u128 {
        self.cluster.incarnation
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.cluster.create_topics(topics)
    }

    fn check_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.cluster.check_topics(topics)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        self.cluster.topic(name)
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        self.cluster.topic_names()
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.cluster.delete_topics(names)
    }

    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        let offsets = self
            .cluster
            .start_offsets(std::slice::from_ref(partition))?;
        one(&offsets, partition)
    }

    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        let offsets = self
            .cluster
            .end_offsets(std::slice::from_ref(partition), isolation)?;
        one(&offsets, partition)
    }

    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<Vec<Offset>> {
        self.cluster.end_offsets(partitions, isolation)
    }

    fn recent_ends(&self, partitions: &[TopicPartition]) -> Vec<Option<Offset>> {
        self.cluster.recent_ends(partitions)
    }

    fn recent_high_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Option<(Offset, u64)>> {
        self.cluster.recent_high_watermarks(partitions)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.cluster.delete_records(before)
    }

    fn purge(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.cluster.purge(before)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        self.cluster.committed(group, partitions)
    }

    fn members(&self, group: &str) -> Result<Option<Vec<String>>> {
        let members = self.cluster.members(group)?;
        let names = members.into_iter().map(GroupMember::into_name);
        Ok(Some(names.collect()))
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.cluster.delete_group(group)
    }

    fn reader(&self, bytes: usize) -> Result<Box<dyn Reader>> {
        let cluster = Arc::clone(&self.cluster);
        Ok(Box::new(KafkaReader::new(cluster, bytes)?))
    }

    fn writer(&self, id: &str, bytes: usize) -> Result<Box<dyn Writer>> {
        let cluster = Arc::clone(&self.cluster);
        Ok(Box::new(KafkaWriter::open(cluster, id, bytes)?))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        self.cluster.join(request)
    }
}

fn one(offsets: &[Offset], partition: &TopicPartition) -> Result<Offset> {
    let found = offsets.first().copied();
    found.ok_or_else(|| super::check::unknown_partition(partition))
}
