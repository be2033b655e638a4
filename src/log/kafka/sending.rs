//! Puts records into the client's queue, which sends them as they arrive.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::config::BATCH_BYTES;
use super::convert::{number_of, outgoing, size_at_most};
use super::deliveries::{Ticket, weight};
use super::jobs::Part;
use super::transaction::{Stop, Transactions};
use crate::base::Error;
use crate::log::CommitError;

impl Part {
    /// The size at which a batch must end for a topic that accepts less than a whole batch, in bytes.
    pub(super) fn limit(max_record_bytes: usize) -> Option<usize> {
        (max_record_bytes < BATCH_BYTES).then_some(max_record_bytes)
    }
}

impl Transactions {
    /// Passes all records to the client.
    pub(super) fn send_all(
        &mut self,
        part: &Part,
        is_staged: bool,
        until_ms: u64,
    ) -> Result<(), Stop> {
        for ((partition, batch), limit) in part.appends.iter().zip(&part.limits) {
            let wrong = |error: Error| Stop::Ours(CommitError::Aborted(error.context(partition)));
            let number = number_of(partition).map_err(wrong)?;
            let ticket = Ticket {
                place: self.number_in_transaction(partition),
                is_staged,
            };
            let mut cursor = batch.cursor(0);
            let mut unsent = 0;
            while let Some(record) = cursor.next_record().map_err(wrong)? {
                let (timestamp_ms, headers) = outgoing(&record).map_err(wrong)?;
                if let Some(limit) = limit {
                    // Each record fits, but two of them may not.
                    let size = size_at_most(&record).map_err(wrong)?;
                    if unsent > 0 && unsent + size > *limit {
                        self.drain(until_ms)?;
                        unsent = 0;
                    }
                    unsent += size;
                }
                let mut message: BaseRecord<'_, [u8], [u8], usize> =
                    BaseRecord::with_opaque_to(&partition.topic, ticket.number())
                        .partition(number)
                        .timestamp(timestamp_ms);
                message.key = record.key;
                message.payload = record.value;
                message.headers = headers;
                if is_staged {
                    let load = &self.producer.context().load;
                    load.add(weight(record.key, record.value));
                }
                self.send(message, until_ms)?;
            }
            if limit.is_some() {
                self.drain(until_ms)?;
            }
        }
        Ok(())
    }

    fn send(&self, message: BaseRecord<'_, [u8], [u8], usize>, until_ms: u64) -> Result<(), Stop> {
        let mut message = message;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                    let bytes = len(back.key) + len(back.payload);
                    if self.producer.in_flight_count() == 0 {
                        return Err(Stop::Ours(CommitError::Aborted(too_large(
                            back.topic, bytes,
                        ))));
                    }
                    self.check_time(until_ms)?;
                    self.serve();
                    message = back;
                }
                Err((cause, _)) => return Err(Stop::Client(cause)),
            }
        }
    }
}

/// The error for a record that does not fit into an empty queue.
fn too_large(topic: &str, bytes: usize) -> Error {
    Error::invalid(format!(
        "a record of {bytes} bytes for topic {topic} is larger than the queue of the Kafka client: give the \
         application more memory, or set queue.buffering.max.kbytes in the log's address"
    ))
}
