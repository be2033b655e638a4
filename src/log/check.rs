//! What every log refuses, with the same messages.

use super::{Batch, Cleanup, GroupCommit, MemberToken, TopicSpec};
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};

pub(super) fn unknown_partition(partition: &TopicPartition) -> Error {
    let message = format!("partition {partition} does not exist; create the topic first");
    Error::invalid(message)
}

#[cfg(feature = "rocksdb")]
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the log was closed")
}

/// Refuses a specification that no log can fulfil.
pub(super) fn check_spec(spec: &TopicSpec) -> Result<()> {
    if spec.partitions == 0 || spec.name.is_empty() {
        let message = format!(
            "topic {:?} cannot have {} partitions; a topic needs a name and at least one partition",
            spec.name, spec.partitions
        );
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// Refuses an existing topic with other settings.
pub(super) fn check_same(wanted: &TopicSpec, existing: &TopicSpec) -> Result<()> {
    let shape = |spec: &TopicSpec| {
        let cleanup = match spec.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
            Cleanup::CompactDelete => "compact,delete",
        };
        let plural = if spec.partitions == 1 { "" } else { "s" };
        format!(
            "{} partition{plural} and cleanup {cleanup}",
            spec.partitions
        )
    };
    if (wanted.partitions, wanted.cleanup) == (existing.partitions, existing.cleanup) {
        return Ok(());
    }
    let message = format!(
        "topic {} exists with {}, not with {}; use the topic as it is, or delete it first",
        wanted.name,
        shape(existing),
        shape(wanted)
    );
    Err(Error::invalid(message))
}

/// Refuses a batch with a record that is too large for its topic.
pub(super) fn check_sizes(partition: &TopicPartition, batch: &Batch, max: usize) -> Result<()> {
    // No record is larger than its batch, so nearly all batches need not be walked through.
    if batch.as_bytes().len() <= max {
        return Ok(());
    }
    let mut cursor = batch.cursor(0);
    while let Some(record) = cursor.next_record()? {
        let mut size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        for header in record.headers()?.as_slice() {
            size += header.key.len() + header.value.as_ref().map_or(0, Vec::len);
        }
        if size > max {
            let message = format!(
                "a record for {partition} has {size} bytes, but topic {} accepts at most {max}; raise \
                 `max_record_bytes` of that topic, or make the record smaller",
                partition.topic
            );
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

/// The error of a reader whose partition ends before its position.
pub(super) fn beyond_end(partition: &TopicPartition, position: Offset, end: Offset) -> Error {
    Error::corrupt(format!(
        "{partition} ends at {end}, before the next offset to read, {position}: records were lost (an \
         unclean election, a log restored from a copy), or the topic was deleted and recreated. To process \
         the topic from its beginning, delete the group's offsets and the application's internal topics, \
         or use another application id"
    ))
}

/// The error of a reader whose topic is not the one that it started to read.
pub(super) fn made_anew(partition: &TopicPartition) -> Error {
    Error::corrupt(format!(
        "topic {} was deleted and recreated while it was being read: the records read so far are from the \
         old topic. Restart to read the new topic and keep the state built from the old one, or restart \
         under another application id to begin without that state",
        partition.topic
    ))
}

pub(super) fn fenced_writer(id: &str) -> Error {
    let message = format!("writer {id} was reopened elsewhere; stop this one");
    Error::new(ErrorKind::Fenced, message)
}

pub(super) fn fenced_member(group: &str, token: &MemberToken, why: &str) -> Error {
    let message = format!(
        "member {} of group {group}, generation {}: {why}; give up all tasks and rejoin",
        token.member, token.generation
    );
    Error::new(ErrorKind::Fenced, message)
}

/// The partitions whose progress a commit records.
pub(super) fn partitions_of(commit: &GroupCommit) -> impl Iterator<Item = &TopicPartition> {
    commit.offsets.iter().map(|(partition, _)| partition)
}
