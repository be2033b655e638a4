//! What an application has written to Kafka, so that the program without marea can write as much.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(30);

/// The committed records of one topic: how many, and the bytes of a key and of a value in the mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub topic: String,
    pub records: u64,
    pub key_bytes: u64,
    pub value_bytes: u64,
}

impl Written {
    /// Whether the application reads them itself, behind a repartition.
    pub fn is_read_again(&self) -> bool {
        self.topic.ends_with("-repartition")
    }
}

/// As in the setting `writes`: `TOPIC:RECORDS:KEY:VALUE`, the last two in bytes.
impl FromStr for Written {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<&str> = text.split(':').collect();
        let [topic, records, key_bytes, value_bytes] = fields[..] else {
            return Err(format!("{text} is not TOPIC:RECORDS:KEY:VALUE").into());
        };
        Ok(Self {
            topic: topic.into(),
            records: records.parse()?,
            key_bytes: key_bytes.parse()?,
            value_bytes: value_bytes.parse()?,
        })
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            topic,
            records,
            key_bytes,
            value_bytes,
        } = self;
        write!(f, "{topic}:{records}:{key_bytes}:{value_bytes}")
    }
}

/// The records in the outputs and in the application's own topics, except those of its coordination, which are few.
pub fn written(bootstrap: &str, app: &str, outputs: &[String]) -> Outcome<Vec<Written>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.set("group.id", format!("{app}-written"));
    config.set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let own = |name: &str| {
        name.starts_with(app) && (name.ends_with("-changelog") || name.ends_with("-repartition"))
    };
    let mut places = TopicPartitionList::new();
    for topic in metadata.topics() {
        if own(topic.name()) || outputs.iter().any(|output| output == topic.name()) {
            for partition in topic.partitions() {
                places.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
            }
        }
    }
    consumer.assign(&places)?;
    let mut sums = BTreeMap::<String, Written>::new();
    let mut open = places.count();
    while open > 0 {
        match consumer.poll(PATIENCE) {
            None => return Err("no answer from the broker".into()),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(message) => {
                let message = message?;
                let sum = sums.entry(message.topic().to_owned()).or_default();
                sum.records += 1;
                sum.key_bytes += message.key_len() as u64;
                sum.value_bytes += message.payload_len() as u64;
            }
        }
    }
    let mean = |(topic, sum): (String, Written)| Written {
        topic,
        key_bytes: sum.key_bytes / sum.records,
        value_bytes: sum.value_bytes / sum.records,
        ..sum
    };
    Ok(sums.into_iter().map(mean).collect())
}
