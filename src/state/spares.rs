//! Buffers of dropped rows, for new rows: in the steady state nothing is allocated.

/// How many are kept, and how much memory.
const COUNT_MAX: usize = 4096;
const BYTES_MAX: usize = 256 << 10;
/// A buffer is not used for a row that would leave this many bytes of it unused: they would not be counted.
const WASTE_MAX: usize = 64;

/// Buffers for reuse.
#[derive(Debug, Default)]
pub(super) struct Spares {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spares {
    /// An empty buffer with room for `needed` bytes, and hardly more.
    pub(super) fn take(&mut self, needed: usize) -> Vec<u8> {
        if let Some(mut buffer) = self.buffers.pop() {
            self.bytes -= buffer.capacity();
            if buffer.capacity() <= 2 * needed + WASTE_MAX {
                buffer.clear();
                buffer.reserve_exact(needed);
                return buffer;
            }
        }
        Vec::with_capacity(needed)
    }

    /// Keeps a buffer, if there is room for it.
    pub(super) fn give(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if self.buffers.len() < COUNT_MAX && self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_does_not_go_to_a_small_row() {
        let mut spares = Spares::default();
        spares.give(Vec::with_capacity(4_000));
        assert!(spares.take(20).capacity() < 100);
        spares.give(Vec::with_capacity(4_000));
        assert_eq!(spares.take(3_000).capacity(), 4_000);
        for _ in 0..COUNT_MAX {
            spares.give(Vec::with_capacity(4_000));
        }
        assert!(spares.bytes <= BYTES_MAX && spares.buffers.len() > 60);
    }
}
