//! `pass` as a program would write it with only the Kafka client: each thread reads its partitions, sends what it
//! has read, and commits offsets, in a transaction if the guarantee is exactly once. The difference from marea is
//! the cost of marea.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{Outcome, process};

const OUTPUT: &str = "out-pass";
const PATIENCE: Duration = Duration::from_secs(60);

/// What to read, and how to commit.
pub struct Bare<'a> {
    pub bootstrap: &'a str,
    pub input: &'a str,
    pub app: &'a str,
    pub partitions: u32,
    pub workers: usize,
    pub records: u64,
    pub commit_interval: Duration,
    pub is_exactly_once: bool,
}

/// Records that could not be delivered.
static UNDELIVERED: AtomicU64 = AtomicU64::new(0);

struct Deliveries;

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
    /// Copies all records and prints the line that [`Run::run`](crate::Run) prints.
    pub fn run(&self) -> Outcome<()> {
        let born = Instant::now();
        let first = OnceLock::new();
        let (read, commits) = (AtomicU64::new(0), AtomicU64::new(0));
        let ended = std::thread::scope(|scope| {
            let (first, read, commits) = (&first, &read, &commits);
            let workers: Vec<_> = (0..self.workers)
                .map(|worker| scope.spawn(move || self.work(worker, first, read, commits)))
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
        let first = first.get().copied().unwrap_or(ended);
        let seconds = (ended - first).as_secs_f64();
        println!(
            "{{\"peer\":\"bare\",\"topology\":\"pass\",\"records\":{},\"seconds\":{seconds:.3},\"records_per_s\":{:.0},\
             \"startup_s\":{:.3},\"cpu_s\":{:.2},\"rss_mib\":{},\"restored\":0,\"restore_s\":0,\
             \"commits\":{},\"dropped\":0}}",
            self.records,
            self.records as f64 / seconds.max(1e-9),
            (first - born).as_secs_f64(),
            process::cpu_seconds(),
            process::peak_rss_mib(),
            commits.into_inner(),
        );
        Ok(())
    }

    /// Reads every `workers`th partition until all workers together have read everything.
    fn work(
        &self,
        worker: usize,
        first: &OnceLock<Instant>,
        read: &AtomicU64,
        commits: &AtomicU64,
    ) -> Result<(), KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap);
        config.set("group.id", self.app);
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        let consumer: BaseConsumer = config.create()?;
        let mut places = TopicPartitionList::new();
        for partition in (worker..self.partitions as usize).step_by(self.workers) {
            places.add_partition_offset(self.input, partition as i32, Offset::Beginning)?;
        }
        consumer.assign(&places)?;
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
        let mut next = vec![None; self.partitions as usize];
        loop {
            if self.is_exactly_once {
                producer.begin_transaction()?;
            }
            let began = Instant::now();
            while began.elapsed() < self.commit_interval
                && read.load(Ordering::Relaxed) < self.records
            {
                let Some(message) = consumer.poll(Duration::from_millis(5)) else {
                    producer.poll(Duration::ZERO);
                    continue;
                };
                let message = message?;
                first.get_or_init(Instant::now);
                next[message.partition() as usize] = Some(message.offset() + 1);
                let mut record =
                    BaseRecord::<[u8], [u8]>::to(OUTPUT).partition(message.partition());
                record.key = message.key();
                record.payload = message.payload();
                record.timestamp = message.timestamp().to_millis();
                while let Err((error, refused)) = producer.send(record) {
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        return Err(error);
                    }
                    record = refused;
                    producer.poll(Duration::from_millis(5));
                }
                if read.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
                    producer.poll(Duration::ZERO);
                }
            }
            let mut offsets = TopicPartitionList::new();
            for (partition, offset) in next.iter_mut().enumerate() {
                if let Some(offset) = offset.take() {
                    let offset = Offset::Offset(offset);
                    offsets.add_partition_offset(self.input, partition as i32, offset)?;
                }
            }
            if offsets.count() > 0 || self.is_exactly_once {
                self.commit(&consumer, &producer, &offsets)?;
                commits.fetch_add(1, Ordering::Relaxed);
            }
            assert_eq!(
                UNDELIVERED.load(Ordering::Relaxed),
                0,
                "records were not delivered"
            );
            if read.load(Ordering::Relaxed) >= self.records {
                return Ok(());
            }
        }
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
