//! The reader of a restorer: it reads one changelog after another.

use std::time::Duration;

use crate::base::{Offset, Result, TopicPartition};
use crate::log::{Isolation, Reader};
use crate::runtime::context::Context;

/// How long a reader with nothing to read is kept, in milliseconds.
const IDLE_MS: u64 = 10_000;

/// It is kept from job to job, since creating one takes a while on some logs, and for a while after the last job: on
/// such logs a reader has threads and connections.
#[derive(Default)]
pub(super) struct KeptReader {
    reader: Option<Box<dyn Reader>>,
    /// What it reads: the number of the job, and which of its stores.
    reads: Option<(u64, usize)>,
    /// When there last was a job, and whether the reader has been told since then that there is none.
    worked_at_ms: u64,
    is_at_rest: bool,
}

impl KeptReader {
    /// The reader of a partition from this offset on, unless it is reading that already: store `reads.1` of job
    /// `reads.0`.
    pub(super) fn read(
        &mut self,
        context: &Context,
        reads: (u64, usize),
        partition: &TopicPartition,
        next: Offset,
    ) -> Result<&mut dyn Reader> {
        let reader = opened(&mut self.reader, context)?;
        if self.reads != Some(reads) {
            reader.assign(&[(partition.clone(), next)])?;
            self.reads = Some(reads);
        }
        Ok(&mut **reader)
    }

    /// Whether a partition has any committed record. A moved end does not prove it: in some logs aborted records
    /// leave a gap. `None` if it was stopped before that was known.
    pub(super) fn holds_records(
        &mut self,
        context: &Context,
        partition: &TopicPartition,
        wait: Duration,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<bool>> {
        let log = &context.log;
        let end = log.end_offset(partition, Isolation::ReadCommitted)?;
        if end <= log.start_offset(partition)? {
            // Purged or not, it once had records if it has an end.
            return Ok(Some(end > 0));
        }
        self.reads = None;
        let reader = opened(&mut self.reader, context)?;
        reader.assign(&[(partition.clone(), 0)])?;
        while reader
            .position(partition)
            .is_some_and(|position| position < end)
        {
            if !reader.poll(1, wait)?.is_empty() {
                return Ok(Some(true));
            }
            if stopped() {
                return Ok(None);
            }
        }
        Ok(Some(false))
    }

    /// What it reads is restored.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.reads.take().is_some()
            && let Some(reader) = &mut self.reader
        {
            // It would fetch what the task writes from now on.
            reader.assign(&[])?;
        }
        Ok(())
    }

    /// Something failed, perhaps the reader.
    pub(super) fn forget(&mut self) {
        self.reader = None;
        self.reads = None;
    }

    /// There is a job.
    pub(super) fn works(&mut self, now_ms: u64) {
        self.worked_at_ms = now_ms;
        self.is_at_rest = false;
    }

    /// There is no job. The reader must not continue with the last job's partitions while its task writes there.
    pub(super) fn rests(&mut self, now_ms: u64) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let is_over = now_ms >= self.worked_at_ms + IDLE_MS;
        let has_begun = self.is_at_rest || reader.assign(&[]).is_ok();
        self.is_at_rest = true;
        self.reads = None;
        if is_over || !has_begun {
            self.reader = None;
        }
    }
}

fn opened<'a>(
    kept: &'a mut Option<Box<dyn Reader>>,
    context: &Context,
) -> Result<&'a mut Box<dyn Reader>> {
    match kept {
        Some(reader) => Ok(reader),
        none => {
            let bytes = context.settings.restore_part_bytes();
            Ok(none.insert(context.log.reader(bytes)?))
        }
    }
}
