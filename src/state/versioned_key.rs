//! The keys of a versioned store's rows.
//!
//! ```text
//! ended    segment of the end (8) | key | end (8)        row: since (8) | value        numbers big-endian
//! current  i64::MAX (8)           | key | i64::MAX (8)
//! ```
//!
//! So versions that ended long ago are removed with their segment, and current ones never are.

use crate::base::{Error, Result};

/// The segment and the end of versions without an end.
pub(super) const CURRENT: i64 = i64::MAX;

/// Writes a row key to `out`.
#[inline]
pub(super) fn row_key(segment: i64, key: &[u8], until_ms: i64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&segment.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&until_ms.to_be_bytes());
}

/// Splits a row key: key, end.
///
/// # Errors
/// `Corrupt` if it is too short.
#[inline]
pub(super) fn parts(row_key: &[u8]) -> Result<(&[u8], i64)> {
    let parts = || {
        let (_, rest) = row_key.split_first_chunk::<8>()?;
        let (key, until) = rest.split_last_chunk::<8>()?;
        Some((key, i64::from_be_bytes(*until)))
    };
    parts().ok_or_else(|| {
        Error::corrupt(format!(
            "a row of a versioned store has a key of {} bytes, too short to hold a time; delete the task's \
             state directory; it will be rebuilt from the changelog",
            row_key.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_and_current_ones_are_last() {
        let (mut ended, mut current) = (Vec::new(), Vec::new());
        row_key(3, b"key", 70, &mut ended);
        row_key(CURRENT, b"", CURRENT, &mut current);
        assert_eq!(parts(&ended).expect("long enough"), (&b"key"[..], 70));
        assert!(ended < current);
        assert!(parts(b"too short").is_err());
    }
}
