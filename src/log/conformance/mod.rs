//! What every log must pass, whatever it is made of.
//!
//! Each case takes a [`Factory`] and panics when the log breaks its promise; [`log_conformance!`](crate::log_conformance)
//! makes a test of each. A case makes topics and groups of its own, on a log that has none.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a case fails by panicking"
)]

mod appends;
mod members;
mod reading;
mod topics;

use std::sync::Arc;
use std::time::Duration;

pub use appends::*;
pub use members::*;
pub use reading::*;
pub use topics::*;

use super::{
    Batch, BatchBuilder, Commit, CommitError, Isolation, Log, Reader, Receipt, TopicSpec, Writer,
};
use crate::base::{ManualEnv, Offset, TopicPartition};

/// Makes an empty log whose clock is the given one.
pub type Factory<'a> = &'a dyn Fn(Arc<ManualEnv>) -> Arc<dyn Log>;

/// Makes one `#[test]` of each case, for the factory given by name.
#[macro_export]
macro_rules! log_conformance {
    ($factory:path) => {
        $crate::log_conformance!(
            @each $factory:
            appended_records_are_read_in_order_with_all_they_carry
            a_commit_is_seen_whole_or_not_at_all
            several_batches_of_a_commit_keep_their_order
            a_refused_commit_leaves_nothing
            a_record_larger_than_its_topic_takes_is_refused
            writers_at_once_get_offsets_of_their_own
            a_writer_opened_again_fences_the_first
            topics_are_created_once_and_refused_when_they_differ
            a_deleted_topic_is_gone_with_its_offsets
            records_before_an_offset_are_deleted
            a_group_is_deleted_once_it_has_no_members
            a_reader_starts_at_its_positions
            a_paused_partition_keeps_its_position
            partitions_take_turns
            a_waiting_reader_wakes_up_on_an_append
            tasks_are_handed_over_only_when_released
            a_zombie_cannot_commit
            a_member_that_goes_on_is_not_fenced_by_others
            a_silent_member_loses_its_tasks
            members_must_agree_on_the_tasks
        );
    };
    (@each $factory:path: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::log::conformance::$case(&$factory);
            }
        )*
    };
}

/// When the clocks of the cases begin.
const NOW_MS: i64 = 1_700_000_000_000;
/// Longer than any answer should take.
const LONG: Duration = Duration::from_secs(20);

fn start(factory: Factory<'_>) -> (Arc<ManualEnv>, Arc<dyn Log>) {
    let env = ManualEnv::new(NOW_MS, 7);
    let log = factory(Arc::clone(&env));
    (env, log)
}

fn start_with(factory: Factory<'_>, topic: &str, partitions: u32) -> Arc<dyn Log> {
    let (_, log) = start(factory);
    log.create_topics(&[TopicSpec::new(topic, partitions)])
        .expect("created");
    log
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// A batch of records with these values, without keys, timestamp 1.
fn batch(values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.push(None, Some(value.as_bytes()), 1, &[]);
    }
    builder.seal().expect("records")
}

fn appends(appends: &[(&TopicPartition, &[&str])]) -> Commit {
    let appends = appends
        .iter()
        .map(|(place, values)| ((*place).clone(), batch(values)));
    Commit {
        appends: appends.collect(),
        group: None,
    }
}

fn try_commit(writer: &mut dyn Writer, commit: Commit) -> Result<Receipt, CommitError> {
    writer.submit(commit)?;
    Ok(writer.poll(LONG)?.expect("an answer in time"))
}

fn append(log: &dyn Log, place: &TopicPartition, values: &[&str]) -> Offset {
    let mut writer = log.writer("appender").expect("a writer");
    let receipt = try_commit(&mut *writer, appends(&[(place, values)])).expect("committed");
    receipt.ends[place]
}

/// Takes what is there from the reader, without waiting: partition, offset, value.
fn drain(reader: &mut dyn Reader) -> Vec<(u32, Offset, String)> {
    let mut records = Vec::new();
    loop {
        let fetched = reader.poll(1 << 20, Duration::ZERO).expect("readable");
        if fetched.is_empty() {
            return records;
        }
        for fetched in fetched {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                if record.offset >= fetched.position {
                    let value = String::from_utf8_lossy(record.value.unwrap_or(b"null"));
                    records.push((
                        fetched.partition.partition,
                        record.offset,
                        value.into_owned(),
                    ));
                }
            }
        }
    }
}

/// Offsets and values of a partition from `position` on.
fn read(log: &dyn Log, place: &TopicPartition, position: Offset) -> Vec<(Offset, String)> {
    let mut reader = log.reader().expect("a reader");
    reader
        .assign(&[(place.clone(), position)])
        .expect("it exists");
    drain(&mut *reader)
        .into_iter()
        .map(|(_, offset, value)| (offset, value))
        .collect()
}

fn end(log: &dyn Log, place: &TopicPartition) -> Offset {
    log.end_offset(place, Isolation::ReadCommitted)
        .expect("it exists")
}
