//! Records for one partition that become several batches: readers, disks and budgets handle a batch as a
//! whole, so none should be much larger than the others.

use super::{Batch, BatchBuilder, BatchMark, HEADER_LEN};
use crate::base::Header;

/// A batch is closed before it grows beyond this, in bytes. A single record may be larger.
pub const BATCH_BYTES: usize = 512 << 10;
/// The maximum overhead of a record besides key, value and headers: five varints and the length of a
/// mark.
const FRAME_BYTES: usize = 64;

/// Something that accepts one record after another.
pub trait Records {
    /// Appends a record.
    fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    );

    /// Number of records so far.
    fn count(&self) -> usize;
}

impl Records for BatchBuilder {
    fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    ) {
        Self::push(self, key, value, timestamp_ms, headers);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// Records being encoded, in batches of at most [`BATCH_BYTES`] or one record.
#[derive(Debug, Default)]
pub struct BatchesBuilder {
    closed: Vec<Batch>,
    closed_bytes: usize,
    closed_records: usize,
    open: BatchBuilder,
}

/// A point in a [`BatchesBuilder`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchesMark {
    closed: usize,
    open: BatchMark,
}

impl BatchesBuilder {
    /// As [`BatchBuilder::push_marked`], if there is a mark. Returns by how much
    /// [`BatchesBuilder::byte_len`] has grown.
    pub fn push_marked(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
        mark: Option<(&str, &[u8])>,
    ) -> usize {
        let mut size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + FRAME_BYTES;
        for header in headers {
            size += header.key.len() + header.value.as_ref().map_or(0, Vec::len) + FRAME_BYTES;
        }
        size += mark.map_or(0, |(name, value)| name.len() + value.len());
        if size > self.open.room(BATCH_BYTES) {
            self.make_room(size);
        }
        // Closing a batch moves its bytes, but does not change their number.
        let before = self.open.byte_len();
        self.open
            .push_maybe_marked(key, value, timestamp_ms, headers, mark);
        self.open.byte_len() - before
    }

    #[cold]
    fn make_room(&mut self, size: usize) {
        if self.open.byte_len() + size > BATCH_BYTES {
            self.close();
        }
        self.open.reserve(size, BATCH_BYTES);
    }

    fn close(&mut self) {
        if let Some(batch) = self.open.seal() {
            self.closed_bytes += batch.as_bytes().len();
            self.closed_records += batch.record_count() as usize;
            self.closed.push(batch);
        }
    }

    /// Bytes used so far, including the headers of batches.
    pub fn byte_len(&self) -> usize {
        self.closed_bytes + self.open.byte_len()
    }

    /// Returns the current point.
    pub fn mark(&self) -> BatchesMark {
        BatchesMark {
            closed: self.closed.len(),
            open: self.open.mark(),
        }
    }

    /// Discards all records pushed since `mark`.
    pub fn truncate(&mut self, mark: BatchesMark) {
        if self.closed.len() > mark.closed {
            for batch in self.closed.drain(mark.closed + 1..) {
                self.closed_bytes -= batch.as_bytes().len();
                self.closed_records -= batch.record_count() as usize;
            }
            // The batch that was open at the mark has been closed since.
            if let Some(batch) = self.closed.pop() {
                self.closed_bytes -= batch.as_bytes().len();
                self.closed_records -= batch.record_count() as usize;
                self.open = BatchBuilder::reopened(batch);
            }
        }
        self.open.truncate(mark.open);
    }

    /// Finishes the batches, leaving the builder empty.
    pub fn seal(&mut self) -> Vec<Batch> {
        self.close();
        self.closed_bytes = 0;
        self.closed_records = 0;
        std::mem::take(&mut self.closed)
    }
}

impl Records for BatchesBuilder {
    fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    ) {
        self.push_marked(key, value, timestamp_ms, headers, None);
    }

    fn count(&self) -> usize {
        self.closed_records + self.open.len()
    }
}

const _: () = assert!(FRAME_BYTES > 5 * 10 && BATCH_BYTES > HEADER_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    fn records(batches: &[Batch]) -> Vec<(Vec<u8>, i64)> {
        let mut found = Vec::new();
        for batch in batches {
            let stored = batch.clone().stamp(1).as_bytes().to_vec();
            let mut cursor = Batch::from_bytes(stored).expect("intact").cursor(0);
            while let Some(record) = cursor.next_record().expect("intact") {
                found.push((
                    record.value.unwrap_or_default().to_vec(),
                    record.timestamp_ms,
                ));
            }
        }
        found
    }

    fn value(number: usize) -> Vec<u8> {
        vec![number as u8; 1 + number * 7_919 % 150_000]
    }

    #[test]
    fn no_batch_is_larger_than_the_limit_but_for_a_single_record() {
        let mut builder = BatchesBuilder::default();
        let sizes = [
            10,
            BATCH_BYTES * 3,
            20,
            30,
            BATCH_BYTES / 2,
            BATCH_BYTES / 2,
            0,
        ];
        for (number, size) in sizes.iter().enumerate() {
            let value = vec![0; *size];
            Records::push(&mut builder, None, Some(&value), number as i64, &[]);
        }
        assert_eq!(builder.count(), sizes.len());
        let bytes = builder.byte_len();
        let batches = builder.seal();
        assert_eq!(
            batches.iter().map(|b| b.as_bytes().len()).sum::<usize>(),
            bytes
        );
        let times = records(&batches).into_iter().map(|(_, time)| time);
        assert!(times.eq(0..sizes.len() as i64));
        for batch in &batches {
            assert!(batch.as_bytes().len() <= BATCH_BYTES || batch.record_count() == 1);
        }
        assert_eq!((builder.byte_len(), builder.count()), (0, 0));
        assert!(builder.seal().is_empty());
    }

    #[test]
    fn what_came_after_a_mark_goes_however_many_batches_it_filled() {
        for kept in [0, 1, 5, 40] {
            for more in [0, 1, 7, 60] {
                let (mut builder, mut plain) = Default::default();
                let push = |builder: &mut BatchesBuilder, from: usize, to: usize| {
                    for number in from..to {
                        let time = 1_000 - number as i64;
                        Records::push(builder, Some(b"k"), Some(&value(number)), time, &[]);
                    }
                };
                push(&mut builder, 0, kept);
                let mark = builder.mark();
                push(&mut builder, 500, 500 + more);
                builder.truncate(mark);
                push(&mut builder, kept, kept + 10);
                push(&mut plain, 0, kept + 10);
                assert_eq!(builder.count(), plain.count());
                assert_eq!(builder.byte_len(), plain.byte_len(), "{kept} and {more}");
                assert!(records(&builder.seal()) == records(&plain.seal()));
            }
        }
    }
}
