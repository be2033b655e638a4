//! Topics: listing, creating, changing and deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::Offset as KafkaOffset;
use rdkafka::admin::{
    AdminOptions, ConfigResourceResult, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::Cluster;
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::kafka::config::Consumer;
use crate::log::kafka::convert::list;
use crate::log::kafka::error::{failed, refused, unavailable};
use crate::log::kafka::topic_settings::{differences, settings_of, spec_of};
use crate::log::kafka::waits::{LOOK, REQUEST, REQUEST_MS, SETTLE_MS};
use crate::log::{Isolation, TopicSpec, check};

/// How long a broker may take to learn of a topic whose settings are requested, in milliseconds, and how
/// often it is asked: a broker that has just been started lags behind.
const UNHEARD_MS: u64 = 8_000;
const UNHEARD_LOOK: Duration = Duration::from_millis(100);

pub(in crate::log::kafka) fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST))
        .operation_timeout(Some(REQUEST))
}

impl Cluster {
    pub(in crate::log::kafka) fn create_topics(&self, specs: &[TopicSpec]) -> Result<()> {
        let mut missing: Vec<&TopicSpec> = Vec::new();
        for spec in specs {
            check::check_spec(spec)?;
            let twin = missing.iter().find(|other| other.name == spec.name);
            let existing = match twin {
                Some(twin) => Some((*twin).clone()),
                None => self.topic(&spec.name)?,
            };
            match existing {
                Some(existing) if check::check_same(spec, &existing).is_ok() => {}
                Some(_) => self.wait_until_same(spec)?,
                None => missing.push(spec),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let settings: Vec<_> = missing.iter().map(|spec| settings_of(spec)).collect();
        let mut topics = Vec::with_capacity(missing.len());
        for (spec, settings) in missing.iter().zip(&settings) {
            let partitions = i32::try_from(spec.partitions)
                .map_err(|_| Error::invalid(format!("topic {}: too many partitions", spec.name)))?;
            // The brokers' own default.
            let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(-1));
            for (name, value) in settings {
                topic = topic.set(name, value);
            }
            topics.push(topic);
        }
        let answers = block_on(self.admin().create_topics(&topics, &options()));
        for answer in answers.map_err(|cause| failed("creating topics", cause))? {
            match answer {
                // Another worker was faster.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(refused(&format!("creating topic {name}"), code)),
            }
        }
        for spec in missing {
            self.wait_until(&format!("topic {} to have leaders", spec.name), || {
                Ok(self
                    .leaders(&spec.name)?
                    .is_some_and(|led| led == spec.partitions as usize))
            })?;
            self.wait_until_same(spec)?;
        }
        Ok(())
    }

    /// Waits until a topic is known with all its settings: another instance may be creating it at this
    /// moment, and the broker that answers may not know all of them yet. If somebody created the topic in
    /// another way, or the cluster has its own settings, they stay different.
    fn wait_until_same(&self, spec: &TopicSpec) -> Result<()> {
        let until_ms = self.env.monotonic_ms() + SETTLE_MS;
        loop {
            let existing = self.topic(&spec.name)?;
            let refused = existing
                .as_ref()
                .map_or(Ok(()), |existing| check::check_same(spec, existing));
            if existing.as_ref() == Some(spec) || self.env.monotonic_ms() >= until_ms {
                return refused;
            }
            self.env.sleep(LOOK);
        }
    }

    /// See [`crate::log::Log::check_topics`].
    pub(in crate::log::kafka) fn check_topics(&self, specs: &[TopicSpec]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        let asked: Vec<ResourceSpecifier<'_>> = specs
            .iter()
            .map(|spec| ResourceSpecifier::Topic(&spec.name))
            .collect();
        let what = "reading the settings of topics";
        for answer in self.describe(what, &asked)? {
            let settings = answer.map_err(|code| refused(what, code))?;
            let is_it = |spec: &&TopicSpec| matches!(&settings.specifier, OwnedResourceSpecifier::Topic(name) if *name == spec.name);
            let Some(spec) = specs.iter().find(is_it) else {
                continue;
            };
            if settings.entries.is_empty() {
                return Err(withheld(&spec.name));
            }
            let found = differences(spec, &settings);
            if !found.is_empty() {
                let name = &spec.name;
                let found: Vec<String> = found
                    .iter()
                    .map(|(setting, value, needed)| {
                        format!("{setting}={value}, required: {needed}")
                    })
                    .collect();
                return Err(Error::invalid(format!(
                    "topic {name} would lose or reject records: {}; alter its settings (kafka-configs \
                     --alter --entity-type topics --entity-name {name} --add-config ...), or delete it if \
                     its records are not needed",
                    found.join("; ")
                )));
            }
        }
        Ok(())
    }

    /// Raises the number of a topic's partitions.
    pub(in crate::log::kafka) fn grow_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let grown = [NewPartitions::new(name, partitions as usize)];
        let answers = block_on(self.admin().create_partitions(&grown, &options()));
        for answer in answers.map_err(|cause| failed("adding partitions", cause))? {
            match answer {
                // Another worker was faster.
                Ok(_) | Err((_, Code::InvalidPartitions)) => {}
                Err((name, code)) => {
                    return Err(refused(&format!("adding partitions to {name}"), code));
                }
            }
        }
        self.forget_topics();
        self.wait_until(
            &format!("topic {name} to have {partitions} partitions"),
            || {
                Ok(self
                    .leaders(name)?
                    .is_some_and(|led| led >= partitions as usize))
            },
        )
    }

    /// The settings of topics. A broker that does not know a new topic yet returns none, and so does one
    /// without permission: only a persistently empty answer means missing permission.
    fn describe(
        &self,
        what: &str,
        asked: &[ResourceSpecifier<'_>],
    ) -> Result<Vec<ConfigResourceResult>> {
        let until_ms = self.env.monotonic_ms() + UNHEARD_MS;
        loop {
            let answers = block_on(self.admin().describe_configs(asked, &options()));
            let answers = answers.map_err(|cause| failed(what, cause))?;
            let is_empty = |answer: &ConfigResourceResult| {
                let settings = answer.as_ref();
                settings.is_ok_and(|settings| settings.entries.is_empty())
            };
            if !answers.iter().any(is_empty) || self.env.monotonic_ms() >= until_ms {
                return Ok(answers);
            }
            self.env.sleep(UNHEARD_LOOK);
        }
    }

    pub(in crate::log::kafka) fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        let Some(partitions) = self.partition_count(name)? else {
            return Ok(None);
        };
        let what = format!("reading the settings of topic {name}");
        let answers = self.describe(&what, &[ResourceSpecifier::Topic(name)])?;
        match answers.into_iter().next() {
            Some(Ok(settings)) if settings.entries.is_empty() => {
                match self.partition_count(name)? {
                    Some(_) => Err(withheld(name)),
                    // Deleted in the meantime.
                    None => Ok(None),
                }
            }
            Some(Ok(settings)) => Ok(Some(spec_of(name, partitions, &settings))),
            // Deleted in the meantime.
            Some(Err(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => Ok(None),
            Some(Err(code)) => Err(refused(&what, code)),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: no response; try again"),
            )),
        }
    }

    fn partition_count(&self, name: &str) -> Result<Option<usize>> {
        self.with_partitions(name, <[_]>::len)
    }

    /// How many partitions have a leader.
    fn leaders(&self, name: &str) -> Result<Option<usize>> {
        self.with_partitions(name, |partitions| {
            partitions
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count()
        })
    }

    fn with_partitions<T>(
        &self,
        name: &str,
        count: impl Fn(&[rdkafka::metadata::MetadataPartition]) -> T,
    ) -> Result<Option<T>> {
        let what = format!("looking up topic {name}");
        let metadata = self.admin().inner().fetch_metadata(Some(name), REQUEST);
        let metadata = metadata.map_err(|cause| failed(&what, cause))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        match topic.error().map(Code::from) {
            None | Some(Code::LeaderNotAvailable) => Ok(Some(count(topic.partitions()))),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic) => {
                Ok(None)
            }
            Some(code) => Err(refused(&what, code)),
        }
    }

    /// All names except those that Kafka itself uses.
    pub(in crate::log::kafka) fn topic_names(&self) -> Result<Vec<String>> {
        let metadata = self.admin().inner().fetch_metadata(None, REQUEST);
        let metadata = metadata.map_err(|cause| failed("listing topics", cause))?;
        let names: BTreeSet<String> = metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none() && !topic.name().starts_with("__"))
            .map(|topic| topic.name().to_owned())
            .collect();
        Ok(names.into_iter().collect())
    }

    pub(in crate::log::kafka) fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.forget_topics();
        if names.is_empty() {
            return Ok(());
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let answers = block_on(self.admin().delete_topics(&asked, &options()));
        for answer in answers.map_err(|cause| failed("deleting topics", cause))? {
            match answer {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((name, code)) => return Err(refused(&format!("deleting topic {name}"), code)),
            }
        }
        for name in names {
            self.wait_until(&format!("topic {name} to be deleted"), || {
                Ok(self.partition_count(name)?.is_none())
            })?;
        }
        Ok(())
    }

    /// The error for offsets that did not arrive in time. A client that has not heard of a leader for
    /// long, for example because its process was stopped, claims that partitions do not exist: the
    /// brokers know better.
    pub(in crate::log::kafka) fn not_told(
        &self,
        partitions: &[TopicPartition],
        what: &str,
        cause: KafkaError,
    ) -> Error {
        match unknown(&cause).then(|| self.check_exist(partitions)) {
            Some(Ok(())) => unavailable(format!("{what}: no leader is known; try again"), cause),
            Some(Err(error)) => error,
            None => failed(what, cause),
        }
    }

    pub(in crate::log::kafka) fn check_exist(&self, partitions: &[TopicPartition]) -> Result<()> {
        // The broker that answers may not know of a new topic yet.
        let until_ms = self.env.monotonic_ms() + SETTLE_MS;
        let mut last: BTreeMap<&str, &TopicPartition> = BTreeMap::new();
        for partition in partitions {
            let known = last.entry(&partition.topic).or_insert(partition);
            *known = (*known).max(partition);
        }
        for partition in last.into_values() {
            loop {
                let count = self.partition_count(&partition.topic)?.unwrap_or(0);
                if (partition.partition as usize) < count {
                    break;
                }
                if self.env.monotonic_ms() >= until_ms {
                    return Err(check::unknown_partition(partition));
                }
                self.env.sleep(LOOK);
            }
        }
        Ok(())
    }

    pub(in crate::log::kafka) fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
    ) -> Result<()> {
        let partitions: Vec<TopicPartition> = before
            .iter()
            .map(|(partition, _)| partition.clone())
            .collect();
        // Also refuses all if one does not exist.
        let ends = self.end_offsets(&partitions, Isolation::ReadUncommitted)?;
        let clamped = before.iter().zip(ends).map(|((partition, offset), end)| {
            (partition, KafkaOffset::Offset((*offset).clamp(0, end)))
        });
        let asked = list(clamped)?;
        if asked.count() == 0 {
            return Ok(());
        }
        let what = || format!("deleting records of {}", names(&partitions));
        let answer = block_on(self.admin().delete_records(&asked, &options()));
        let answer = answer.map_err(|cause| failed(&what(), cause))?;
        for element in answer.elements() {
            if let Err(cause) = element.error() {
                let place = format!("{}-{}", element.topic(), element.partition());
                let what = format!("deleting records of {place}");
                return Err(self.not_told(&partitions, &what, cause));
            }
        }
        Ok(())
    }

    fn wait_until(&self, what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        loop {
            // Brokers that have just changed something may be busy with it.
            match done() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() != ErrorKind::Unavailable => return Err(error),
                Err(error) => tracing::debug!(%error, what, "waiting"),
            }
            if self.env.monotonic_ms() >= until_ms {
                let message = format!("waited {REQUEST_MS} ms for {what}; try again");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            self.env.sleep(LOOK);
        }
    }
}

/// Takes the client's side messages, mostly about lost connections; nothing else does.
pub(in crate::log::kafka) fn hear_out(client: &Consumer) {
    for _ in 0..1_000 {
        if client.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

pub(in crate::log::kafka) fn unknown(cause: &KafkaError) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(
            Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::UnknownTopic
                // No leader is known for any partition of the request.
                | Code::NoEnt
        )
    )
}

/// A topic without settings: the binding ignores the code that says why there are none.
fn withheld(name: &str) -> Error {
    Error::invalid(format!(
        "reading the settings of topic {name}: the brokers report none; grant DescribeConfigs to the \
         application's user"
    ))
}

pub(in crate::log::kafka) fn names(partitions: &[TopicPartition]) -> String {
    match partitions {
        [] => "no partition".to_owned(),
        [one] => one.to_string(),
        [first, ..] => format!("{first} and {} others", partitions.len() - 1),
    }
}
