//! What all parts of a Kafka log share: the address, the clients that make requests, what is known about
//! topics, and the members that live in this process.

pub(super) mod admin;
mod ends;
mod groups;
pub(super) mod members;
mod purges;
pub(super) mod questions;
pub(super) mod tasks_topic;
pub(super) mod topic_ids;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use super::address::Address;
use super::cluster::members::{Members, Seen};
use super::cluster::purges::Purges;
use super::cluster::questions::Questions;
use super::cluster::topic_ids::TopicIds;
use super::config;
use super::config::{Consumer, Quiet};
use super::contact::out_of_reach;
use super::local_member::LocalMember;
use super::locks::lock;
use super::ports::HeldPorts;
use super::reader_client::ReaderClient;
use super::settings::{redacted, unreadable};
use super::waits::{CONTACT_MS, LOOK, SETTLE_MS};
use crate::base::{Env, Error, Result, TopicPartition};
use crate::log::{TopicSpec, check};

pub(super) struct Cluster {
    pub(super) address: Address,
    pub(super) env: Arc<dyn Env>,
    pub(super) incarnation: u128,
    admin: AdminClient<Quiet>,
    /// When it gets its next token.
    admin_token_ms: AtomicI64,
    /// For queries of a group's offsets, one client per group.
    groups: Mutex<HashMap<String, Arc<Consumer>>>,
    /// As last seen; deleting a topic here forgets it.
    topics: Mutex<HashMap<Arc<str>, Arc<TopicSpec>>>,
    /// The last reader that was dropped, for the next one of its size: connecting takes longer than most restores.
    spare_reader: Mutex<Option<ReaderClient>>,
    /// By group and name: the last one of this process to join.
    local_members: Mutex<BTreeMap<(String, String), Arc<LocalMember>>>,
    pub(super) members_seen: Seen<Members>,
    /// By group: the broker that described it last.
    pub(super) coordinators: Mutex<HashMap<String, i32>>,
    pub(super) questions: Questions,
    pub(super) topic_ids: TopicIds,
    pub(super) purges: Purges,
    /// Held as long as its clients look for brokers.
    _ports: HeldPorts,
}

impl Cluster {
    /// Contacts the cluster.
    ///
    /// # Errors
    /// `Unavailable` if no broker answers in time; `Invalid` for settings that cannot be.
    pub(super) fn connect(address: Address, env: Arc<dyn Env>) -> Result<Self> {
        if address.wants_tokens() && !address.tokens.is_given() {
            return Err(Error::invalid(
                "sasl.mechanism OAUTHBEARER needs tokens: give `KafkaLog::builder()` an `oauth_token`",
            ));
        }
        let ports = HeldPorts::default();
        ports.hold(&address.brokers);
        let admin: AdminClient<Quiet> = create(&address)?;
        let contact = Duration::from_millis(CONTACT_MS);
        let metadata = admin.inner().fetch_metadata(None, contact);
        let metadata = metadata.map_err(|cause| out_of_reach(&address, &*env, cause))?;
        for broker in metadata.brokers() {
            ports.hold(&format!("{}:{}", broker.host(), broker.port()));
        }
        let id = admin.inner().fetch_cluster_id(contact);
        let id = id.ok_or_else(|| out_of_reach(&address, &*env, KafkaError::Canceled))?;
        Ok(Self {
            address,
            env,
            incarnation: incarnation(&id),
            admin,
            admin_token_ms: AtomicI64::new(0),
            groups: Mutex::default(),
            topics: Mutex::default(),
            spare_reader: Mutex::default(),
            local_members: Mutex::default(),
            members_seen: Seen::default(),
            coordinators: Mutex::default(),
            questions: Questions::default(),
            topic_ids: TopicIds::default(),
            purges: Purges::default(),
            _ports: ports,
        })
    }

    /// The client for administrative requests, with a valid token.
    pub(super) fn admin(&self) -> &AdminClient<Quiet> {
        let tokens = &self.address.tokens;
        tokens.renew(self.admin.inner(), &self.admin_token_ms);
        &self.admin
    }

    /// A client that knows a group without being a member.
    pub(super) fn group(&self, group: &str) -> Result<Arc<Consumer>> {
        let mut groups = lock(&self.groups);
        if let Some(client) = groups.get(group) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(config::consumer(&self.address, &self.address.group(group))?);
        groups.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    pub(super) fn forget_group(&self, group: &str) {
        lock(&self.groups).remove(group);
    }

    /// A topic as last seen, or as the brokers know it now.
    pub(super) fn known_topic(&self, name: &Arc<str>) -> Result<Option<Arc<TopicSpec>>> {
        if let Some(spec) = lock(&self.topics).get(name) {
            return Ok(Some(Arc::clone(spec)));
        }
        let Some(spec) = self.topic(name)? else {
            return Ok(None);
        };
        let spec = Arc::new(spec);
        lock(&self.topics).insert(Arc::clone(name), Arc::clone(&spec));
        Ok(Some(spec))
    }

    /// A partition's topic.
    ///
    /// # Errors
    /// `Invalid` if there is no such partition.
    pub(super) fn topic_of(&self, partition: &TopicPartition) -> Result<Arc<TopicSpec>> {
        let exists = |spec: &Arc<TopicSpec>| partition.partition < spec.partitions;
        // The broker that answers may not know of a new topic yet.
        let until_ms = self.env.monotonic_ms() + SETTLE_MS;
        loop {
            if let Some(spec) = self.known_topic(&partition.topic)?.filter(exists) {
                return Ok(spec);
            }
            if self.env.monotonic_ms() >= until_ms {
                return Err(check::unknown_partition(partition));
            }
            lock(&self.topics).remove(&partition.topic);
            self.env.sleep(LOOK);
        }
    }

    pub(super) fn forget_topics(&self) {
        lock(&self.topics).clear();
    }

    pub(super) fn take_reader(&self, bytes: usize) -> Result<ReaderClient> {
        let spare = lock(&self.spare_reader).take_if(|spare| spare.bytes == bytes);
        if let Some(client) = spare {
            return Ok(client);
        }
        let consumer = config::consumer(&self.address, &self.address.reader(bytes))?;
        Ok(ReaderClient::new(consumer, bytes))
    }

    /// Keeps a reader for the next one that needs it, replacing the one kept so far.
    pub(super) fn give_back_reader(&self, client: ReaderClient) {
        if client.consumer.unassign().is_err() {
            return;
        }
        let Some(spare) = lock(&self.spare_reader).replace(client) else {
            return;
        };
        // Dropping a client waits for its threads.
        let body = Box::new(move || drop(spare));
        let _ends_by_itself = self.env.spawn("marea-kafka-spare", body);
    }

    pub(super) fn local_members(
        &self,
    ) -> MutexGuard<'_, BTreeMap<(String, String), Arc<LocalMember>>> {
        lock(&self.local_members)
    }
}

fn create(address: &Address) -> Result<AdminClient<Quiet>> {
    use rdkafka::config::FromClientConfigAndContext as _;
    let made = AdminClient::from_config_and_context(&address.admin(), Quiet::new(address));
    let made: AdminClient<Quiet> = made.map_err(|cause| {
        let error = config::not_made(cause);
        let said = redacted(error.message(), &address.settings);
        Error::invalid(match unreadable(&address.settings) {
            Some(file) => format!("{said}; {file}"),
            None => said,
        })
    })?;
    address.tokens.give(made.inner())?;
    Ok(made)
}

/// A number for a cluster's name: FNV-1a of 128 bits.
fn incarnation(id: &str) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    id.bytes().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("brokers", &self.address.brokers)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}
