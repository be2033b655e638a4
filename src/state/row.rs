//! How a row holds a value: the only place that defines the layout.
//!
//! ```text
//! plain         value
//! timestamped   timestamp i64 BE | value
//! with headers  timestamp i64 BE | headers | value
//! headers       count u32 BE, then for each: length u32 BE, name, length + 1 u32 BE (0 null), value
//! ```
//!
//! The changelog holds only the value: timestamp and headers are those of the record, as on the JVM.

use crate::base::{Error, Header, Headers, Result};

/// Length of a timestamp before a value, in bytes.
pub(super) const TIMESTAMP_BYTES: usize = 8;

/// What a row holds besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RowForm {
    /// Nothing.
    #[default]
    Plain,
    /// The timestamp.
    Timestamped,
    /// The timestamp and the headers of the record that it came from.
    TimestampedWithHeaders,
}

/// The parts of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowParts<'a> {
    /// The timestamp, if the form has one, in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The headers, if the form has them.
    pub headers: Headers,
    /// The value's bytes.
    pub value: &'a [u8],
}

impl RowForm {
    /// Splits a row of this form into its parts.
    ///
    /// # Errors
    /// `Corrupt` if the row is too short for its form.
    #[inline]
    pub fn parts(self, row: &[u8]) -> Result<RowParts<'_>> {
        let plain = |timestamp_ms, value| RowParts {
            timestamp_ms,
            headers: Headers::default(),
            value,
        };
        match self {
            Self::Plain => Ok(plain(None, row)),
            Self::Timestamped => {
                let (timestamp_ms, value) = split(row)?;
                Ok(plain(Some(timestamp_ms), value))
            }
            Self::TimestampedWithHeaders => {
                let (timestamp_ms, headers, value) = split_with_headers(row)?;
                Ok(RowParts {
                    timestamp_ms: Some(timestamp_ms),
                    headers,
                    value,
                })
            }
        }
    }

    /// Writes everything before the value to `out`, replacing its content.
    pub fn begin(self, timestamp_ms: i64, headers: &Headers, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Plain => {}
            Self::Timestamped => begin(timestamp_ms, out),
            Self::TimestampedWithHeaders => begin_with_headers(timestamp_ms, headers, out),
        }
    }

    /// The minimum size of what precedes a value, in bytes.
    pub(super) fn least_before_value(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Timestamped => TIMESTAMP_BYTES,
            Self::TimestampedWithHeaders => TIMESTAMP_BYTES + 4,
        }
    }

    /// Its text in a descriptor. Changing the first two would break existing descriptors.
    pub(super) fn descriptor(self) -> &'static str {
        match self {
            Self::Plain => "timestamped=false",
            Self::Timestamped => "timestamped=true",
            Self::TimestampedWithHeaders => "timestamped=true headers=true",
        }
    }
}

/// Writes the beginning of a timestamped row to `out`, replacing its content; the value's bytes follow
/// it.
#[inline]
pub fn begin(timestamp_ms: i64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&timestamp_ms.to_be_bytes());
}

/// As [`begin`], for a row with headers.
pub fn begin_with_headers(timestamp_ms: i64, headers: &Headers, out: &mut Vec<u8>) {
    begin(timestamp_ms, out);
    put_headers(headers, out);
}

/// Appends headers.
///
/// ```text
/// count u32 BE, then for each: length u32 BE, name, length + 1 u32 BE (0 null), value
/// ```
pub fn put_headers(headers: &Headers, out: &mut Vec<u8>) {
    let put_len = |out: &mut Vec<u8>, len: usize| out.extend((len as u32).to_be_bytes());
    put_len(out, headers.as_slice().len());
    for Header { key, value } in headers.as_slice() {
        put_len(out, key.len());
        out.extend_from_slice(key.as_bytes());
        put_len(out, value.as_ref().map_or(0, |value| value.len() + 1));
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

/// Splits a timestamped row: timestamp, value.
///
/// # Errors
/// `Corrupt` if it is too short.
#[inline]
pub fn split(row: &[u8]) -> Result<(i64, &[u8])> {
    match row.split_first_chunk::<TIMESTAMP_BYTES>() {
        Some((timestamp, value)) => Ok((i64::from_be_bytes(*timestamp), value)),
        None => Err(too_short(row, "timestamp")),
    }
}

/// Splits a row with headers: timestamp, headers, value.
///
/// # Errors
/// `Corrupt` if it is too short, or a header's name is not UTF-8.
pub fn split_with_headers(row: &[u8]) -> Result<(i64, Headers, &[u8])> {
    let (timestamp_ms, mut rest) = split(row)?;
    let headers = take_headers(&mut rest).ok_or_else(|| too_short(row, "headers"))?;
    Ok((timestamp_ms, headers, rest))
}

/// Takes headers off the front; `None` if the bytes end early, or a name is not UTF-8.
pub fn take_headers(rest: &mut &[u8]) -> Option<Headers> {
    let take_len = |rest: &mut &[u8]| {
        let (len, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        Some(u32::from_be_bytes(*len) as usize)
    };
    let count = take_len(rest)?;
    let mut headers = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let len = take_len(rest)?;
        let (key, after) = rest.split_at_checked(len)?;
        *rest = after;
        let len = take_len(rest)?;
        let (value, after) = rest.split_at_checked(len.saturating_sub(1))?;
        *rest = after;
        let key = String::from_utf8(key.to_vec()).ok()?;
        headers.push(Header {
            key,
            value: (len > 0).then(|| value.to_vec()),
        });
    }
    Some(Headers::from_vec(headers))
}

#[cold]
fn too_short(row: &[u8], what: &str) -> Error {
    Error::corrupt(format!(
        "a row of {} bytes has no {what}; delete the task's state directory; it will be rebuilt from the \
         changelog",
        row.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_apart_as_they_were_put_together() {
        let mut headers = Headers::default();
        headers.add("a", None);
        headers.add("b", Some(Vec::new()));
        headers.add("c", Some(b"salt".to_vec()));
        let mut row = b"left over".to_vec();
        for form in [
            RowForm::Plain,
            RowForm::Timestamped,
            RowForm::TimestampedWithHeaders,
        ] {
            form.begin(-7, &headers, &mut row);
            assert!(row.len() >= form.least_before_value());
            row.extend_from_slice(b"value");
            let parts = form.parts(&row).expect("intact");
            assert_eq!(parts.value, b"value", "{form:?}");
            let timestamped = form != RowForm::Plain;
            assert_eq!(parts.timestamp_ms, timestamped.then_some(-7));
            let headed = form == RowForm::TimestampedWithHeaders;
            assert_eq!(parts.headers == headers, headed);
            assert_eq!(form.parts(&row[..row.len().min(7)]).is_err(), timestamped);
        }
        assert!(split_with_headers(&row[..14]).is_err());
    }
}
