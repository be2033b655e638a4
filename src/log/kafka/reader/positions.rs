//! A reader's position: past what is never returned, and what happens if a position is not in its
//! partition.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{KafkaReader, STALLED_MS, Slot};
use crate::base::{ErrorKind, Offset, Result, TopicPartition};
use crate::log::kafka::cluster::questions::Which;
use crate::log::kafka::convert::offset_of;
use crate::log::kafka::error::failed;
use crate::log::{Isolation, Reader, check};

impl KafkaReader {
    /// The client's position, which is past what it does not return. Returns whether it has moved.
    pub(super) fn follow_positions(&mut self) -> Result<bool> {
        let mut moved = false;
        let positions = self.consumer()?.position();
        let positions = positions.map_err(|cause| failed("requesting positions", cause))?;
        for element in positions.elements() {
            let place = (element.topic().to_owned(), element.partition());
            if let Some(index) = self.places.get(&place) {
                moved |= self.slots[*index].follow(offset_of(element.offset()));
            }
        }
        Ok(moved)
    }

    /// A partition may have been deleted up to its end while it was read: no record says so.
    /// Whether that is news.
    pub(super) fn follow_starts(&mut self, now_ms: u64) -> Result<bool> {
        let mut moved = false;
        if let Some(asked) = &mut self.starts {
            let answer = match asked.look(Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.starts = None;
                    return Ok(false);
                }
                answer => answer?,
            };
            let Some((_, starts)) = answer else {
                return Ok(false);
            };
            for (slot, start) in self.slots.iter_mut().zip(starts) {
                if slot.builder.is_empty() && *start > slot.position {
                    self.skipped.push(slot.skip_to(*start));
                    moved = true;
                }
            }
            self.starts = None;
        } else if !self.slots.is_empty() && now_ms > self.moved_ms + STALLED_MS {
            self.moved_ms = now_ms;
            self.starts = Some(self.cluster.ask(Which::Starts, self.partitions())?);
        }
        Ok(moved)
    }

    /// Finds out why a position is not in its partition, and continues at the start if the requested
    /// records have been deleted.
    ///
    /// # Errors
    /// `Corrupt` if a partition ends before its position.
    pub(super) fn find_way(&mut self) -> Result<()> {
        let partitions = self.partitions();
        let found = self.cluster.start_offsets(&partitions).and_then(|starts| {
            let uncommitted = Isolation::ReadUncommitted;
            let ends = self.cluster.end_offsets(&partitions, uncommitted)?;
            Ok((starts, ends))
        });
        let (starts, ends) = match found {
            // The next poll checks again.
            Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(()),
            found => found?,
        };
        for ((slot, start), end) in self.slots.iter_mut().zip(starts).zip(ends) {
            if slot.position > end {
                return Err(check::beyond_end(&slot.partition, slot.position, end));
            }
            if slot.position < start {
                self.skipped.push(slot.skip_to(start));
            }
        }
        let positions = self.slots.iter();
        let positions: Vec<_> = positions
            .map(|slot| (slot.partition.clone(), slot.position))
            .collect();
        let paused = self.slots.iter().filter(|slot| slot.paused);
        let paused: Vec<_> = paused.map(|slot| slot.partition.clone()).collect();
        let skipped = std::mem::take(&mut self.skipped);
        self.assign(&positions)?;
        for partition in paused {
            self.pause(&partition, true);
        }
        self.skipped.splice(0..0, skipped);
        Ok(())
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        let partitions = self.slots.iter().map(|slot| slot.partition.clone());
        partitions.collect()
    }
}

impl Slot {
    /// Follows the client's position, or the client has taken nothing since it was assigned. Returns
    /// whether it has moved.
    fn follow(&mut self, stands: Option<Offset>) -> bool {
        let Some(offset) = stands else {
            self.is_stale = false;
            return false;
        };
        if self.is_stale || !self.builder.is_empty() || offset <= self.position {
            return false;
        }
        self.position = offset;
        true
    }
}

/// Whether the client wants to read records that do not exist: they were deleted, cut off, or belong to
/// an older topic.
pub(super) fn is_astray(cause: &KafkaError) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::BatchBuilder;

    /// A reader that seeks back to 5 after it has read to 9, with the marker of a transaction at 8.
    fn put_back() -> Slot {
        Slot {
            partition: TopicPartition::new("t", 0),
            number: 0,
            position: 5,
            is_stale: true,
            paused: false,
            stopped: false,
            base_offset: 0,
            builder: BatchBuilder::default(),
        }
    }

    #[test]
    fn where_an_older_assignment_ended_is_not_followed() {
        let mut slot = put_back();
        assert!(!slot.follow(Some(9)));
        assert_eq!(slot.position, 5);
    }

    #[test]
    fn the_same_place_is_followed_when_it_is_reached_again() {
        let mut slot = put_back();
        assert!(!slot.follow(None));
        assert!(slot.follow(Some(9)));
        assert_eq!(slot.position, 9);
        assert!(!slot.follow(Some(9)));
    }
}
