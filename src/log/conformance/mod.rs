//! What every log must pass, however it is built.
//!
//! Each case takes a [`Factory`] and panics if the log breaks its promise;
//! [`log_conformance!`](crate::log_conformance) generates a test for each. A case creates its own topics
//! and groups, on a log that has none.
//!
//! [`CASES`] are for every log. [`exact`] has those that only a log in this process can pass: there,
//! effects are visible at once, offsets have no gaps except deleted ones, and the clock is given.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a case fails by panicking"
)]

mod appends;
pub mod exact;
mod handing_over;
mod members;
mod reading;
mod staging;
mod topics;
mod updates;

use std::sync::Arc;
use std::time::Duration;

pub use appends::*;
pub use handing_over::*;
pub use members::*;
pub use reading::*;
pub use staging::*;
pub use topics::*;
pub use updates::*;

use super::{
    Batch, BatchBuilder, Commit, CommitError, Isolation, Log, Reader, Receipt, TopicSpec, Writer,
};
use crate::base::{Env, ErrorKind, ManualEnv, Offset, SystemEnv, TopicPartition};

/// Makes an empty log whose clock is the given one.
pub type Factory<'a> = &'a dyn Fn(Arc<ManualEnv>) -> Arc<dyn Log>;

/// Generates one `#[test]` for each case, for the factory given by name: of a log in this process.
#[macro_export]
macro_rules! log_conformance {
    ($factory:path) => {
        $crate::log_conformance!(
            @each exact, $factory:
            batches_carry_the_wall_clock_of_their_append
            offsets_have_no_gaps
            a_commit_of_two_partitions_is_seen_at_once
            partitions_take_exact_turns
            tasks_are_handed_over_one_by_one
            others_come_and_go_unnoticed
            a_member_is_silent_by_the_given_clock
            a_heartbeat_stands_in_for_polls_up_to_their_interval
        );
        $crate::each_log_case!($crate::log_conformance, $factory:);
    };
    ($factory:path: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::log::conformance::$case(&$factory);
            }
        )*
    };
    (@each exact, $factory:path: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::log::conformance::exact::$case(&$factory);
            }
        )*
    };
}

/// Passes the names of all cases for every log to another macro, after its other arguments.
#[doc(hidden)]
#[macro_export]
macro_rules! each_log_case {
    ($then:path, $($with:tt)*) => {
        $then!(
            $($with)*
            appended_records_are_read_in_order_with_all_they_carry
            a_commit_is_seen_whole_or_not_at_all
            several_batches_of_a_commit_keep_their_order
            a_refused_commit_leaves_nothing
            a_record_larger_than_its_topic_takes_is_refused
            what_is_larger_than_a_clients_memory_passes
            writers_at_once_get_offsets_of_their_own
            a_writer_opened_again_fences_the_first
            what_is_staged_is_seen_when_it_is_submitted
            what_is_abandoned_is_never_seen
            what_a_writer_staged_goes_with_it
            a_refused_commit_takes_along_what_was_staged
            what_a_zombie_staged_is_never_seen
            opening_a_writer_settles_what_its_id_left_open
            the_end_of_a_restore_covers_what_offsets_tell
            topics_are_created_once_and_refused_when_they_differ
            a_deleted_topic_is_gone_with_its_offsets
            records_before_an_offset_are_deleted
            a_group_is_deleted_once_it_has_no_members
            a_groups_members_are_known_by_name
            a_reader_starts_at_its_positions
            a_reader_put_back_reaches_the_end_again
            a_paused_partition_keeps_its_position
            a_pause_ends_with_its_assignment
            an_update_leaves_alone_what_stays
            an_update_puts_the_others_where_it_says
            an_update_that_is_refused_changes_nothing
            partitions_take_turns
            a_waiting_reader_wakes_up_on_an_append
            a_reader_learns_where_partitions_end
            a_reader_is_told_what_was_deleted_before_it_came
            a_position_beyond_the_end_is_an_error
            a_topic_made_anew_under_its_reader_is_an_error
            tasks_are_handed_over_only_when_released
            a_task_has_one_owner_whoever_comes_and_goes
            releasing_what_is_not_held_changes_nothing
            a_zombie_cannot_commit
            a_member_that_goes_on_is_not_fenced_by_others
            a_silent_member_loses_its_tasks
            a_heartbeat_ends_with_its_place
            members_must_agree_on_the_tasks
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_case_table {
    ($($case:ident)*) => {
        /// All cases that every log must pass, by name: for a test program that generates its own tests from
        /// them.
        pub const CASES: &[(&str, Case)] = &[$((stringify!($case), $case)),*];
    };
}

/// A case.
pub type Case = fn(Factory<'_>);

crate::each_log_case!(crate::log_case_table,);

/// The start of the cases' clocks.
const NOW_MS: i64 = 1_700_000_000_000;
/// Longer than any answer takes, of a busy broker or of a disk that is slow to sync.
const LONG: Duration = Duration::from_secs(120);
/// How long to wait before checking again.
const LOOK: Duration = Duration::from_millis(10);

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
    let env = SystemEnv::shared();
    let until_ms = env.monotonic_ms() + LONG.as_millis() as u64;
    loop {
        match writer.poll(LONG) {
            Ok(Some(receipt)) => return Ok(receipt),
            Err(error) if !matches!(error, CommitError::Unknown(_)) => return Err(error),
            // Brokers that are slow have not answered yet, and are asked again.
            unanswered => assert!(env.monotonic_ms() < until_ms, "{unanswered:?}"),
        }
    }
}

fn append(log: &dyn Log, place: &TopicPartition, values: &[&str]) -> Offset {
    let mut writer = log.writer("appender", 1 << 20).expect("a writer");
    let receipt = try_commit(&mut *writer, appends(&[(place, values)])).expect("committed");
    receipt.ends[place]
}

/// Assigns partitions, once brokers that are slow have answered.
fn assign(reader: &mut dyn Reader, positions: &[(TopicPartition, Offset)]) {
    once_available(|| reader.assign(positions));
}

/// The same for [`Reader::update`].
fn update(reader: &mut dyn Reader, positions: &[(TopicPartition, Offset)]) {
    once_available(|| reader.update(positions));
}

fn once_available(mut call: impl FnMut() -> crate::base::Result<()>) {
    eventually("the log is available", || match call() {
        Err(error) if error.kind() == ErrorKind::Unavailable => false,
        done => {
            done.expect("assigned");
            true
        }
    });
}

/// Reads what is there, until the reader is at the end of the given partitions: partition, offset, value.
fn drain(
    log: &dyn Log,
    reader: &mut dyn Reader,
    places: &[&TopicPartition],
) -> Vec<(u32, Offset, String)> {
    let ends = places
        .iter()
        .map(|place| log.end_offset(place, Isolation::ReadUncommitted));
    let ends: Vec<Offset> = ends
        .collect::<crate::base::Result<_>>()
        .expect("they exist");
    let mut records = Vec::new();
    let behind = |reader: &dyn Reader| {
        let mut both = places.iter().zip(&ends);
        both.any(|(place, end)| reader.position(place).expect("assigned") < *end)
    };
    let env = SystemEnv::shared();
    let until_ms = env.monotonic_ms() + LONG.as_millis() as u64;
    while behind(reader) {
        assert!(
            env.monotonic_ms() < until_ms,
            "{places:?} up to {ends:?}: {records:?}"
        );
        for fetched in reader.poll(1 << 20, LOOK).expect("readable") {
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
    records
}

/// Offsets and values of a partition from `position` on.
fn read(log: &dyn Log, place: &TopicPartition, position: Offset) -> Vec<(Offset, String)> {
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(place.clone(), position)]);
    drain(log, &mut *reader, &[place])
        .into_iter()
        .map(|(_, offset, value)| (offset, value))
        .collect()
}

/// The values of a whole partition.
fn values(log: &dyn Log, place: &TopicPartition) -> Vec<String> {
    let start = log.start_offset(place).expect("it exists");
    let records = read(log, place, start);
    assert!(records.is_sorted_by_key(|(offset, _)| *offset));
    records.into_iter().map(|(_, value)| value).collect()
}

fn end(log: &dyn Log, place: &TopicPartition) -> Offset {
    log.end_offset(place, Isolation::ReadCommitted)
        .expect("it exists")
}

/// Waits for a condition that may take a moment.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let env = SystemEnv::shared();
    let until_ms = env.monotonic_ms() + LONG.as_millis() as u64;
    while !is_so() {
        assert!(env.monotonic_ms() < until_ms, "{what}");
        env.sleep(LOOK);
    }
}
