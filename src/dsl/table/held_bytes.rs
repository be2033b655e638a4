//! How an operator encodes the records that it holds, except for headers, whose layout is in `state::row`.
//!
//! ```text
//! option:   length + 1 u32 BE (0 none), bytes
//! ```

/// Appends optional bytes.
pub(in crate::dsl) fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_len(out, bytes.map_or(0, |bytes| bytes.len() + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Takes optional bytes off the front; `None` if the input ends early.
pub(in crate::dsl) fn take_option<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = take_len(rest)?;
    let (bytes, after) = rest.split_at_checked(len.saturating_sub(1))?;
    *rest = after;
    Some((len > 0).then_some(bytes))
}

/// Takes a time off the front.
pub(in crate::dsl) fn take_time(rest: &mut &[u8]) -> Option<i64> {
    let (time, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(i64::from_be_bytes(*time))
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn take_len(rest: &mut &[u8]) -> Option<usize> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*len) as usize)
}
