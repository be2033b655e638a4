//! Where partitions begin and end, counting committed records or all records.
//!
//! The client for requests asks the leaders of all of them at once. The library's older call answers only
//! for the kind of records in its client's settings, so each kind would need its own client with threads
//! and connections.

use std::collections::BTreeSet;
use std::ffi::CStr;

use rdkafka::bindings as native;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::Cluster;
use super::admin::{names, unknown};
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::Isolation;
use crate::log::kafka::convert::{list, number_of, offset_of};
use crate::log::kafka::leaders::learn_leaders;
use crate::log::kafka::waits::{ATTEMPT, LOOK, REQUEST_MS};

/// The answer for one partition: its topic and number, and the offset.
struct Told {
    topic: String,
    number: i32,
    offset: Result<i64, Code>,
}

impl Cluster {
    pub(in crate::log::kafka) fn start_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Offset>> {
        self.offsets(
            partitions,
            KafkaOffset::Beginning,
            Isolation::ReadUncommitted,
        )
    }

    pub(in crate::log::kafka) fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<Vec<Offset>> {
        self.offsets(partitions, KafkaOffset::End, isolation)
    }

    /// The first or the last offset of each partition, in their order, with one request to each broker.
    fn offsets(
        &self,
        partitions: &[TopicPartition],
        which: KafkaOffset,
        isolation: Isolation,
    ) -> Result<Vec<Offset>> {
        // Each partition once, or the library refuses.
        let all: BTreeSet<&TopicPartition> = partitions.iter().collect();
        let all: Vec<&TopicPartition> = all.into_iter().collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let asked = list(all.iter().map(|partition| (*partition, which)))?;
        let until_ms = self.env.monotonic_ms() + REQUEST_MS;
        let mut are_checked = false;
        loop {
            let what = || format!("requesting the offsets of {}", names(partitions));
            let found = told_of(&all, ask(self, &asked, isolation))?;
            let late = self.env.monotonic_ms() >= until_ms;
            match found {
                Ok(Some(offsets)) => {
                    let of = |partition| Some(offsets[all.binary_search(&partition).ok()?]);
                    return Ok(partitions.iter().filter_map(of).collect());
                }
                Ok(None) if late => {
                    let message = format!("{}: no response; try again", what());
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                // A leader may be down, or have moved.
                Ok(None) => {}
                Err(cause) if late => return Err(self.not_told(partitions, &what(), cause)),
                Err(cause) => {
                    tracing::debug!(%cause, "requesting offsets again");
                    are_checked &= !unknown(&cause);
                }
            }
            // It subscribes to nothing, so it has no other reason to look.
            let topics = all.iter().map(|one| &*one.topic).collect();
            let is_heard = learn_leaders(self.admin().inner(), &topics, ATTEMPT);
            // A partition that does not exist will not appear by waiting; for one whose topic does not
            // exist, the library only says that nobody has answered.
            if is_heard && !are_checked {
                match self.check_exist(partitions) {
                    Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                    // A leader that is moving will have moved by then.
                    checked => are_checked = checked.is_ok(),
                }
            }
            self.env.sleep(LOOK);
        }
    }
}

/// The offsets in the order of the partitions; `Ok(None)` if one is missing.
fn told_of(
    all: &[&TopicPartition],
    told: Option<Result<Vec<Told>, Code>>,
) -> Result<Result<Option<Vec<Offset>>, KafkaError>> {
    let told = match told {
        Some(Ok(told)) if told.len() == all.len() => told,
        Some(Ok(_)) | None => return Ok(Ok(None)),
        Some(Err(code)) => return Ok(Err(KafkaError::AdminOp(code))),
    };
    let mut offsets = Vec::with_capacity(all.len());
    for (told, partition) in told.into_iter().zip(all) {
        if told.topic != *partition.topic || told.number != number_of(partition)? {
            return Ok(Ok(None));
        }
        match told.offset {
            Ok(offset) => offsets.push(offset_of(KafkaOffset::from_raw(offset))),
            Err(code) => return Ok(Err(KafkaError::AdminOp(code))),
        }
    }
    // If its leader did not answer, it has neither an offset nor an error.
    Ok(Ok(offsets.into_iter().collect()))
}

/// The brokers' answers within [`ATTEMPT`], in the order of the list. The binding has no call for it, so
/// this one goes to the underlying library.
#[expect(
    unsafe_code,
    reason = "the binding has no such call; the proof is beside it"
)]
fn ask(
    cluster: &Cluster,
    asked: &TopicPartitionList,
    isolation: Isolation,
) -> Option<Result<Vec<Told>, Code>> {
    use native::rd_kafka_IsolationLevel_t as Level;
    let client = cluster.admin().inner().native_ptr();
    let wait_ms = i32::try_from(ATTEMPT.as_millis()).unwrap_or(i32::MAX);
    let level = match isolation {
        Isolation::ReadCommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        Isolation::ReadUncommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
    };
    // SAFETY: the client outlives the call, as `cluster` is borrowed, and so does the list, which the
    // library copies. Queue, options and event are made and destroyed here, each once, the event before
    // the queue. The result and everything in it belong to the event and are copied out before it is
    // destroyed; the array has as many elements as the library says, and topics are terminated. An answer
    // that arrives after the wait finds its queue disabled, which the library allows. Where a reason
    // would be written, null is allowed.
    unsafe {
        let queue = native::rd_kafka_queue_new(client);
        let options = native::rd_kafka_AdminOptions_new(
            client,
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
        );
        let none = std::ptr::null_mut();
        // Values within the library's limits are not refused.
        native::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, none, 0);
        let refused = native::rd_kafka_AdminOptions_set_isolation_level(options, level);
        if !refused.is_null() {
            native::rd_kafka_error_destroy(refused);
        }
        native::rd_kafka_ListOffsets(client, asked.ptr(), options, queue);
        native::rd_kafka_AdminOptions_destroy(options);
        // A little longer than the library, so that it can say why there is no answer.
        let event = native::rd_kafka_queue_poll(queue, wait_ms + 200);
        let mut told = None;
        if !event.is_null() {
            let error = native::rd_kafka_event_error(event);
            let result = native::rd_kafka_event_ListOffsets_result(event);
            if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                told = Some(Err(error.into()));
            } else if !result.is_null() {
                let mut count = 0;
                let infos = native::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
                let one = |index| {
                    let info = *infos.add(index);
                    let found = native::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                    let topic = CStr::from_ptr((*found).topic);
                    Told {
                        topic: topic.to_string_lossy().into_owned(),
                        number: (*found).partition,
                        offset: match (*found).err {
                            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                                Ok((*found).offset)
                            }
                            error => Err(error.into()),
                        },
                    }
                };
                told = Some(Ok((0..count).map(one).collect()));
            }
            native::rd_kafka_event_destroy(event);
        }
        native::rd_kafka_queue_destroy(queue);
        told
    }
}
