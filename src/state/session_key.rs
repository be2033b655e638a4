//! The keys of session rows, on disk and on the changelog.
//!
//! ```text
//! on the disk  segment of the end (8) | key | end (8) | start (8)     numbers big-endian, never negative
//! changelog    key | end (8) | start (8)                              the JVM's layout
//! ```
//!
//! Both types of store use the same layout, so that the sessions of a key are adjacent; an in-memory store sorts
//! its results for several keys.

use super::SessionRules;
use crate::base::{Error, Result};

/// How a store lays out its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLayout {
    interval_ms: i64,
}

/// The parts of a row key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionParts<'a> {
    pub(super) key: &'a [u8],
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl SessionLayout {
    pub(super) fn new(rules: &SessionRules) -> Self {
        Self {
            interval_ms: rules.segment_interval_ms(),
        }
    }

    /// The unit of physical expiry for an end.
    #[inline]
    pub(super) fn segment(&self, end_ms: i64) -> i64 {
        end_ms.div_euclid(self.interval_ms)
    }

    /// The smallest end of a segment.
    pub(super) fn first_end_ms(&self, segment: i64) -> i64 {
        segment.saturating_mul(self.interval_ms)
    }

    /// Writes the key that a row would have in `segment` to `out`: for a session, or a bound of a range.
    #[inline]
    pub(super) fn row_key_in(
        segment: i64,
        key: &[u8],
        (start_ms, end_ms): (i64, i64),
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.extend_from_slice(&segment.to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&end_ms.to_be_bytes());
        out.extend_from_slice(&start_ms.to_be_bytes());
    }

    /// Splits a row key.
    ///
    /// # Errors
    /// `Corrupt` if it is too short.
    #[inline]
    pub(super) fn parts(row_key: &[u8]) -> Result<SessionParts<'_>> {
        let parts = || {
            let (_, rest) = row_key.split_first_chunk::<8>()?;
            let (key, start_ms, end_ms) = from_changelog(rest)?;
            Some(SessionParts {
                key,
                start_ms,
                end_ms,
            })
        };
        parts().ok_or_else(|| too_short(row_key))
    }
}

impl SessionParts<'_> {
    /// Writes the changelog's key to `out`.
    pub(super) fn changelog_key(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.key);
        out.extend_from_slice(&self.end_ms.to_be_bytes());
        out.extend_from_slice(&self.start_ms.to_be_bytes());
    }
}

/// Splits a changelog key: key, start, end. `None` if it is too short.
pub(super) fn from_changelog(key: &[u8]) -> Option<(&[u8], i64, i64)> {
    let (rest, start) = key.split_last_chunk::<8>()?;
    let (key, end) = rest.split_last_chunk::<8>()?;
    Some((key, i64::from_be_bytes(*start), i64::from_be_bytes(*end)))
}

fn too_short(row_key: &[u8]) -> Error {
    Error::corrupt(format!(
        "a row of a session store has a key of {} bytes, too short to hold a session; delete the task's \
         state directory; it will be rebuilt from the changelog",
        row_key.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let rules = SessionRules {
            retention_ms: 240_000,
        };
        let (mut row_key, mut changelog) = (Vec::new(), Vec::new());
        let segment = SessionLayout::new(&rules).segment(250_000);
        assert_eq!(segment, 2);
        SessionLayout::row_key_in(segment, b"key", (70, 250_000), &mut row_key);
        let parts = SessionLayout::parts(&row_key).expect("long enough");
        assert_eq!(
            (parts.key, parts.start_ms, parts.end_ms),
            (&b"key"[..], 70, 250_000)
        );
        parts.changelog_key(&mut changelog);
        let found = from_changelog(&changelog);
        assert_eq!(found, Some((&b"key"[..], 70, 250_000)));
        assert!(SessionLayout::parts(b"too short").is_err());
        assert_eq!(from_changelog(b"short"), None);
    }
}
