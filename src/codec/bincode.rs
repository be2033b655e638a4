//! bincode, for types that serde knows: smaller and quicker than JSON, and readable by Rust alone.
//!
//! This is the one file that names the crate; none of marea's own formats uses it.

use std::fmt;
use std::marker::PhantomData;

use ::bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::primitive::present;
use super::{Codec, Encoded};
use crate::base::{Error, Result};

/// The longest encoding, in bytes. A broker takes a fraction of it.
const ENCODED_BYTES_MAX: usize = 32 << 20;

/// bincode charges a number its full width, sixteen bytes at most, though it may take one.
const DECODE_LIMIT: usize = 16 * ENCODED_BYTES_MAX;

/// Without a limit a corrupt length would ask for all the memory there is, and abort the process.
const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>> =
    config::standard().with_limit::<DECODE_LIMIT>();

/// Values in bincode 2's standard format: little-endian, numbers of variable length, fields in
/// order of declaration and without names.
///
/// Adding, removing or reordering a field changes the format, and nothing in the bytes tells; use
/// [`Json`](super::Json) for topics that outlive a release of your types, or that others read.
///
/// ```
/// use marea::codec::{Bincode, Codec};
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Mean { sum: f64, count: u64 }
///
/// let codec = Bincode::<Mean>::new();
/// let mean = Mean { sum: 40.5, count: 3 };
/// let mut out = Vec::new();
/// codec.encode(&mean, &mut out)?;
/// assert_eq!(out.len(), 9);
/// assert_eq!(codec.decode(Some(&out))?, mean);
/// # Ok::<(), marea::Error>(())
/// ```
///
/// Maps without an order break the law of [`Codec`] that equal values have equal bytes: use a
/// `BTreeMap`. So do types that ask serde what comes next (`#[serde(untagged)]`, `flatten`, JSON values): the
/// format does not say, and decoding fails.
pub struct Bincode<T>(PhantomData<fn() -> T>);

impl<T> Bincode<T> {
    /// The codec of `T`. It has no settings.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

// Derives would ask `T` for what only the marker needs.
impl<T> Clone for Bincode<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Bincode<T> {}

impl<T> Default for Bincode<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Bincode<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bincode")
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Bincode<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        let written = ::bincode::serde::encode_into_std_write(value, out, CONFIG)
            .map_err(|cause| Error::user("the value has no bincode form").with_source(cause))?;
        if written > ENCODED_BYTES_MAX {
            return Err(Error::user(format!(
                "the value takes {written} bytes, and a bincode value at most {ENCODED_BYTES_MAX}; \
                 split it, or use another codec"
            )));
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        let bytes = present(bytes, "bincode")?;
        let (value, read) =
            ::bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|cause| {
                Error::user("the bytes are not the bincode value expected").with_source(cause)
            })?;
        // Bytes left over mean another type wrote them, even where the beginning happens to fit.
        if read != bytes.len() {
            return Err(Error::user(format!(
                "the bincode value ends after {read} of {} bytes; another type was written here",
                bytes.len()
            )));
        }
        Ok(value)
    }

    fn name(&self) -> String {
        "bincode".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrupt_length_is_an_error_and_no_allocation() {
        // 253 announces a length of eight bytes.
        let bytes = [&[253u8][..], &[0xff; 8]].concat();
        assert!(Bincode::<String>::new().decode(Some(&bytes)).is_err());
    }

    #[test]
    fn null_short_and_long_bytes_are_refused() {
        let codec = Bincode::<(u8, u8)>::new();
        assert!(codec.decode(None).is_err());
        assert!(codec.decode(Some(&[1])).is_err());
        assert!(codec.decode(Some(&[1, 2, 3])).is_err());
        assert_eq!(codec.decode(Some(&[1, 2])).expect("two"), (1, 2));
    }

    #[test]
    fn small_numbers_are_not_charged_beyond_the_limit() {
        let codec = Bincode::<Vec<u128>>::new();
        let value = vec![1; 1 << 20];
        let mut out = Vec::new();
        codec.encode(&value, &mut out).expect("one megabyte");
        assert_eq!(codec.decode(Some(&out)).expect("the same"), value);
    }
}
