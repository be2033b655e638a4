//! A topology's traffic as a program would cause it with only the Kafka client: each thread reads its partitions,
//! sends as many records of the same sizes as marea sent (outputs, changelogs, repartition topics, which it reads
//! too), and commits offsets, in a transaction if the guarantee is exactly once. It computes nothing. The
//! difference from marea is the cost of marea.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::written::Written;
use crate::{Outcome, process};

const PATIENCE: Duration = Duration::from_secs(60);

/// What to read, and how to commit.
pub struct Bare<'a> {
    pub bootstrap: &'a str,
    pub topology: &'a str,
    pub inputs: &'a [String],
    /// What to write, to these topics.
    pub writes: &'a [Written],
    pub app: &'a str,
    pub partitions: u32,
    pub workers: usize,
    /// Of all inputs together.
    pub records: u64,
    pub commit_interval: Duration,
    pub is_exactly_once: bool,
}

/// Records that could not be delivered.
static UNDELIVERED: AtomicU64 = AtomicU64::new(0);

struct Deliveries;

/// What all workers together have done.
#[derive(Default)]
struct Progress {
    /// When the first record was read.
    first: OnceLock<Instant>,
    read: AtomicU64,
    /// Records of repartition topics. Counted before the record that caused them is counted as read.
    sent_again: AtomicU64,
    commits: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if result.is_err() {
            UNDELIVERED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Bare<'_> {
    /// Reads and writes everything and prints the line that [`Run::run`](crate::Run) prints.
    pub fn run(&self) -> Outcome<()> {
        let born = Instant::now();
        let progress = Progress::default();
        let ended = std::thread::scope(|scope| {
            let progress = &progress;
            let workers: Vec<_> = (0..self.workers)
                .map(|worker| scope.spawn(move || self.work(worker, progress)))
                .collect();
            let mut outcome = Ok(());
            for worker in workers {
                match worker.join() {
                    Ok(ended) => outcome = outcome.and(ended),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            outcome.map(|()| Instant::now())
        });
        let ended = ended.map_err(|error: KafkaError| error.to_string())?;
        let first = progress.first.get().copied().unwrap_or(ended);
        let seconds = (ended - first).as_secs_f64();
        // As marea counts them.
        let per_input = self.records / self.inputs.len() as u64;
        println!(
            "{{\"peer\":\"bare\",\"topology\":\"{}\",\"records\":{},\"seconds\":{seconds:.3},\"records_per_s\":{:.0},\
             \"startup_s\":{:.3},\"cpu_s\":{:.2},\"rss_mib\":{},\"restored\":0,\"restore_s\":0,\
             \"commits\":{},\"dropped\":0}}",
            self.topology,
            per_input,
            per_input as f64 / seconds.max(1e-9),
            (first - born).as_secs_f64(),
            process::cpu_seconds(),
            process::peak_rss_mib(),
            progress.commits.into_inner(),
        );
        Ok(())
    }

    /// Whether the workers together have read the inputs, and all that they have sent to be read again.
    fn is_done(&self, progress: &Progress) -> bool {
        // In this order: more may be sent in between, and never less.
        let read = progress.read.load(Ordering::Acquire);
        read >= self.records + progress.sent_again.load(Ordering::Acquire)
    }

    /// Reads every `workers`th partition until all workers together have read everything.
    fn work(&self, worker: usize, progress: &Progress) -> Result<(), KafkaError> {
        let again = self.writes.iter().filter(|written| written.is_read_again());
        let reads_again = again.clone().map(|written| written.records).sum();
        let again: Vec<&str> = again.map(|written| &*written.topic).collect();
        let consumer = self.consumer(worker, &again)?;
        let producer = self.producer(worker)?;
        let mut copies: Vec<Copies<'_>> = self
            .writes
            .iter()
            .map(
                |written| match written.is_read_again() || again.is_empty() {
                    true => Copies::new(written, false, self.records),
                    false => Copies::new(written, true, reads_again),
                },
            )
            .collect();
        let mut next = BTreeMap::<(String, i32), i64>::new();
        loop {
            if self.is_exactly_once {
                producer.begin_transaction()?;
            }
            let began = Instant::now();
            while began.elapsed() < self.commit_interval && !self.is_done(progress) {
                let Some(message) = consumer.poll(Duration::from_millis(5)) else {
                    producer.poll(Duration::ZERO);
                    continue;
                };
                let message = message?;
                progress.first.get_or_init(Instant::now);
                let (topic, partition) = (message.topic(), message.partition());
                match next
                    .iter_mut()
                    .find(|((known, of), _)| known == topic && *of == partition)
                {
                    Some((_, offset)) => *offset = message.offset() + 1,
                    None => {
                        next.insert((topic.to_owned(), partition), message.offset() + 1);
                    }
                }
                let is_again = again.contains(&topic);
                for copy in copies.iter_mut().filter(|copy| copy.of_again == is_again) {
                    let sent = copy.send(&producer, &message)?;
                    if copy.written.is_read_again() {
                        progress.sent_again.fetch_add(sent, Ordering::Release);
                    }
                }
                let read = &progress.read;
                if read.fetch_add(1, Ordering::Release).is_multiple_of(1_000) {
                    producer.poll(Duration::ZERO);
                }
            }
            let mut offsets = TopicPartitionList::new();
            for ((topic, partition), offset) in std::mem::take(&mut next) {
                offsets.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
            }
            if offsets.count() > 0 || self.is_exactly_once {
                self.commit(&consumer, &producer, &offsets)?;
                progress.commits.fetch_add(1, Ordering::Relaxed);
            }
            assert_eq!(
                UNDELIVERED.load(Ordering::Relaxed),
                0,
                "records were not delivered"
            );
            if self.is_done(progress) {
                return Ok(());
            }
        }
    }

    /// At the beginning of its partitions.
    fn consumer(&self, worker: usize, again: &[&str]) -> Result<BaseConsumer, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap);
        config.set("group.id", self.app);
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        let consumer: BaseConsumer = config.create()?;
        let mut places = TopicPartitionList::new();
        for partition in (worker..self.partitions as usize).step_by(self.workers) {
            for topic in self
                .inputs
                .iter()
                .map(|topic| &**topic)
                .chain(again.iter().copied())
            {
                places.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
            }
        }
        consumer.assign(&places)?;
        Ok(consumer)
    }

    fn producer(&self, worker: usize) -> Result<BaseProducer<Deliveries>, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap);
        config.set("compression.type", "lz4");
        config.set("enable.idempotence", "true");
        if self.is_exactly_once {
            config.set("transactional.id", format!("{}-{worker}", self.app));
        }
        let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries)?;
        if self.is_exactly_once {
            producer.init_transactions(PATIENCE)?;
        }
        Ok(producer)
    }

    fn commit(
        &self,
        consumer: &BaseConsumer,
        producer: &BaseProducer<Deliveries>,
        offsets: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        if !self.is_exactly_once {
            producer.flush(PATIENCE)?;
            return consumer.commit(offsets, CommitMode::Sync);
        }
        if offsets.count() > 0
            && let Some(metadata) = consumer.group_metadata()
        {
            producer.send_offsets_to_transaction(offsets, &metadata, PATIENCE)?;
        }
        producer.commit_transaction(PATIENCE)
    }
}

/// The records of one topic that are due, of sizes given in advance.
struct Copies<'a> {
    written: &'a Written,
    /// Whether they are due as records of a repartition topic are read, and not as those of the inputs are.
    of_again: bool,
    /// Per record that is read.
    share: f64,
    due: f64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Copies<'a> {
    fn new(written: &'a Written, of_again: bool, reads: u64) -> Self {
        Self {
            written,
            of_again,
            share: written.records as f64 / reads as f64,
            due: 0.0,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Sends what is due for one more record that was read; returns how many records those are.
    fn send(
        &mut self,
        producer: &BaseProducer<Deliveries>,
        message: &BorrowedMessage<'_>,
    ) -> Result<u64, KafkaError> {
        self.due += self.share;
        let due = self.due.trunc();
        if due == 0.0 {
            return Ok(0);
        }
        self.due -= due;
        resized(&mut self.key, message.key(), self.written.key_bytes);
        resized(&mut self.value, message.payload(), self.written.value_bytes);
        for _ in 0..due as u64 {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.written.topic)
                .partition(message.partition())
                .key(&self.key[..])
                .payload(&self.value[..]);
            record.timestamp = message.timestamp().to_millis();
            while let Err((error, refused)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error);
                }
                record = refused;
                producer.poll(Duration::from_millis(5));
            }
        }
        Ok(due as u64)
    }
}

/// As many bytes of `from`, over and over.
fn resized(into: &mut Vec<u8>, from: Option<&[u8]>, bytes: u64) {
    into.clear();
    let from = from.filter(|from| !from.is_empty()).unwrap_or(b"-");
    into.extend(from.iter().cycle().take(bytes as usize));
}
