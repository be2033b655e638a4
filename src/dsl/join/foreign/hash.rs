//! MurmurHash3 (x64, 128 bits) with the seed that Kafka Streams uses: it shows whether an answer still
//! belongs to the left row that asked.

/// The hash of a row's bytes, as two big-endian numbers.
pub(super) type RowHash = [u8; 16];

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of these bytes.
pub(super) fn hash(bytes: &[u8]) -> RowHash {
    let (mut low, mut high) = (SEED, SEED);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        low = (low ^ mix_low(number(&block[..8]))).rotate_left(27);
        low = low.wrapping_add(high).wrapping_mul(5);
        low = low.wrapping_add(0x52dc_e729);
        high = (high ^ mix_high(number(&block[8..]))).rotate_left(31);
        high = high.wrapping_add(low).wrapping_mul(5);
        high = high.wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    let (first, second) = tail.split_at(tail.len().min(8));
    // For an empty tail both are 0, which changes nothing.
    high ^= mix_high(number(second));
    low ^= mix_low(number(first));
    low ^= bytes.len() as u64;
    high ^= bytes.len() as u64;
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    (low, high) = (finish(low), finish(high));
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&low.to_be_bytes());
    hash[8..].copy_from_slice(&high.to_be_bytes());
    hash
}

/// Up to eight bytes as a number, the lowest first.
fn number(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn mix_low(block: u64) -> u64 {
    block.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_high(block: u64) -> u64 {
    block.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}
