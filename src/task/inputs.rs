//! The input queues of a task, and which record is next: the one with the smallest timestamp.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::origins::Origins;
use super::{InputFigures, InputSpec, Source};
use crate::base::{Error, NO_TIMESTAMP, Offset, Result, TopicPartition};
use crate::batch::{Cursor, Fetched, RecordRef};

/// A task's position in one of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProgress {
    /// The input.
    pub partition: TopicPartition,
    /// The next offset to be processed.
    pub position: Offset,
    /// Bytes fetched but not processed yet.
    pub buffered_bytes: usize,
    /// The largest timestamp read from it, in milliseconds.
    pub partition_time_ms: i64,
}

/// All queues of a task.
pub struct Inputs {
    pub(super) queues: Vec<Queue>,
}

pub(super) struct Queue {
    pub(super) partition: TopicPartition,
    pub(super) source: Rc<dyn Source>,
    pub(super) origins: Option<Origins>,

    /// The batch that holds the next record, and its bytes.
    head: Option<(Cursor, usize)>,
    /// The batches after it.
    fetched: VecDeque<(Cursor, usize)>,
    head_timestamp_ms: Option<i64>,
    /// Whether the source determines times that differ from the topic's.
    pub(super) extracts: bool,
    /// The time of the head, if the source has determined one that differs from the topic's.
    pub(super) extracted_ms: Option<i64>,
    buffered_bytes: usize,
    pub(super) position: Offset,
    pub(super) time_ms: i64,
    /// Records that its source has accepted.
    pub(super) accepted: u64,
    pub(super) figures: InputFigures,
    /// The end of the partition at the last request.
    end: Offset,
}

impl Queue {
    pub(super) fn new(spec: &InputSpec, source: Rc<dyn Source>, origins: Option<Origins>) -> Self {
        let extracts = source.extracts_timestamps();
        Self {
            partition: TopicPartition::new(spec.topic.clone(), spec.partition),
            source,
            origins,
            head: None,
            fetched: VecDeque::new(),
            head_timestamp_ms: None,
            extracts,
            extracted_ms: None,
            buffered_bytes: 0,
            position: 0,
            time_ms: NO_TIMESTAMP,
            accepted: 0,
            figures: InputFigures::default(),
            end: Offset::MAX,
        }
    }

    fn add(&mut self, fetched: &Fetched) -> Result<()> {
        let mut cursor = fetched.batch.cursor(fetched.base_offset);
        while cursor
            .peek_record()?
            .is_some_and(|record| record.offset < fetched.position)
        {
            cursor.next_record()?;
        }
        if cursor.remaining() > 0 {
            // Once these are read, the log must be asked again whether there is more.
            self.end = Offset::MAX;
            let bytes = fetched.batch.as_bytes().len();
            self.buffered_bytes += bytes;
            match &self.head {
                Some(_) => self.fetched.push_back((cursor, bytes)),
                None => self.head = Some((cursor, bytes)),
            }
            if self.head_timestamp_ms.is_none() {
                self.find_head()?;
            }
        }
        Ok(())
    }

    /// Takes the batch whose next record is the head of the queue, until it is given back: the record
    /// borrows from it while the rest of the queue changes.
    #[inline]
    pub(super) fn lend(&mut self) -> Option<(Cursor, usize)> {
        self.head.take()
    }

    /// Puts back what [`Queue::lend`] took.
    #[inline]
    pub(super) fn give_back(&mut self, lent: (Cursor, usize)) {
        self.head = Some(lent);
    }

    /// A cursor at the record of that offset, or the first one fetched after it.
    pub(super) fn cursor_at(&self, offset: Offset) -> Result<Option<Cursor>> {
        for (cursor, _) in self.head.iter().chain(&self.fetched) {
            if cursor.last_offset() >= offset {
                return Ok(Some(cursor.clone()));
            }
        }
        Ok(None)
    }

    /// Drops batches that have been read and looks at the next record.
    #[inline]
    pub(super) fn find_head(&mut self) -> Result<()> {
        while let Some((cursor, bytes)) = &self.head {
            if let Some(timestamp_ms) = cursor.peek_timestamp_ms()? {
                self.head_timestamp_ms = Some(timestamp_ms);
                if self.extracts
                    && let Some(record) = cursor.peek_record()?
                {
                    self.extracted_ms = self.extract(&record);
                    self.head_timestamp_ms = self.extracted_ms.or(self.head_timestamp_ms);
                }
                return Ok(());
            }
            self.buffered_bytes -= bytes;
            self.head = self.fetched.pop_front();
        }
        self.head_timestamp_ms = None;
        Ok(())
    }

    pub(super) fn has_records(&self) -> bool {
        self.head_timestamp_ms.is_some()
    }

    /// The time that the source determines for a record. An error here occurs again, and is reported,
    /// when the record is taken.
    fn extract(&self, record: &RecordRef<'_>) -> Option<i64> {
        let extract = || self.source.timestamp_ms(record, self.time_ms);
        let extracted = catch_unwind(AssertUnwindSafe(extract));
        extracted.ok()?.ok()?
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.head_timestamp_ms.is_none() && self.position >= self.end
    }

    /// How far the input has advanced: its slowest origin's promise; for a topic without clocks, the
    /// largest timestamp read.
    pub(super) fn reached_ms(&self) -> i64 {
        match &self.origins {
            Some(origins) if origins.are_several() || origins.were_heard() => origins.floor_ms(),
            _ => self.time_ms,
        }
    }
}

impl Inputs {
    pub(super) fn new(queues: Vec<Queue>) -> Self {
        Self { queues }
    }

    /// Adds a fetched batch.
    ///
    /// # Errors
    /// `Internal` if the task does not read that partition, `Corrupt` if the batch is damaged.
    pub fn add(&mut self, fetched: &Fetched) -> Result<()> {
        self.queue(&fetched.partition)?.add(fetched)
    }

    /// Sets the position of an input before anything is fetched.
    ///
    /// # Errors
    /// `Internal` if the task does not read that partition.
    pub fn seek(&mut self, partition: &TopicPartition, position: Offset) -> Result<()> {
        let queue = self.queue(partition)?;
        queue.head = None;
        queue.fetched.clear();
        queue.buffered_bytes = 0;
        queue.head_timestamp_ms = None;
        queue.position = position;
        Ok(())
    }

    /// Sets where the partition ends now, and how far the reader has come: it skips gaps without records.
    /// A task with several inputs waits for one that is empty but not at its end.
    ///
    /// # Errors
    /// `Internal` if the task does not read that partition.
    pub fn set_end(
        &mut self,
        partition: &TopicPartition,
        end: Offset,
        reader_position: Offset,
    ) -> Result<()> {
        self.queue(partition)?.end = end;
        self.follow(partition, reader_position)
    }

    /// Sets how far the reader of an input has come. If no record is left in between, the task advances
    /// just as far: past offsets without records.
    ///
    /// # Errors
    /// `Internal` if the task does not read that partition.
    pub fn follow(&mut self, partition: &TopicPartition, reader_position: Offset) -> Result<()> {
        let queue = self.queue(partition)?;
        if queue.head_timestamp_ms.is_none() {
            queue.position = queue.position.max(reader_position);
        }
        Ok(())
    }

    /// Whether every input is empty and at its end, as far as set by [`Inputs::set_end`].
    pub fn are_at_end(&self) -> bool {
        self.queues.iter().all(Queue::is_at_end)
    }

    /// Whether some input holds records while another is empty: ask for the end of the empty ones before
    /// the next step, since what was at its end may have more by now.
    pub fn is_waiting(&self) -> bool {
        let holds = |queue: &Queue| queue.head_timestamp_ms.is_some();
        self.queues.len() > 1 && self.queues.iter().any(holds) && !self.queues.iter().all(holds)
    }

    /// The inputs that are empty while others wait for them: their ends must be requested.
    pub fn starved(&self) -> impl Iterator<Item = &TopicPartition> {
        let empty = self
            .queues
            .iter()
            .filter(|queue| queue.head_timestamp_ms.is_none());
        empty.map(|queue| &queue.partition)
    }

    /// Whether some input holds a record.
    pub fn has_records(&self) -> bool {
        self.queues
            .iter()
            .any(|queue| queue.head_timestamp_ms.is_some())
    }

    /// The queue whose head has the smallest timestamp, the first one among equals; `None` while
    /// there is no record, or another input is empty and not known to be at its end.
    pub(super) fn choose(&self) -> Option<usize> {
        let mut chosen: Option<(i64, usize)> = None;
        for (position, queue) in self.queues.iter().enumerate() {
            match queue.head_timestamp_ms {
                Some(head) if chosen.is_none_or(|(least, _)| head < least) => {
                    chosen = Some((head, position));
                }
                Some(_) => {}
                None if queue.is_at_end() => {}
                None => return None,
            }
        }
        chosen.map(|(_, position)| position)
    }

    /// The task's position in each input.
    pub fn progress(&self) -> impl Iterator<Item = InputProgress> + '_ {
        self.queues.iter().map(|queue| InputProgress {
            partition: queue.partition.clone(),
            position: queue.position,
            buffered_bytes: queue.buffered_bytes,
            partition_time_ms: queue.time_ms,
        })
    }

    /// Bytes fetched but not processed yet, over all inputs.
    pub fn buffered_bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.buffered_bytes).sum()
    }

    fn queue(&mut self, partition: &TopicPartition) -> Result<&mut Queue> {
        let found = self
            .queues
            .iter_mut()
            .find(|queue| queue.partition == *partition);
        found.ok_or_else(|| Error::internal(format!("the task does not read {partition}")))
    }
}
