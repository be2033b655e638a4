//! bincode, for types that implement serde: smaller and faster than JSON, but readable only from Rust.
//!
//! This is the only file that names the crate; none of marea's own formats uses it.

use std::fmt;
use std::marker::PhantomData;

use super::primitive::present;
use super::{Codec, Encoded, OwnCodec, Serializable, SharedCodec, shared};
use crate::base::{Error, Result};
use ::bincode::config::{self, Configuration, Limit, LittleEndian, Varint};

/// The longest encoding, in bytes. A broker accepts only a fraction of it.
const ENCODED_BYTES_MAX: usize = 32 << 20;

/// bincode charges a number its full width, at most sixteen bytes, though it may take one.
const DECODE_LIMIT: usize = 16 * ENCODED_BYTES_MAX;

/// Without a limit, a corrupt length would request all available memory and abort the process.
const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>> =
    config::standard().with_limit::<DECODE_LIMIT>();

/// A value that is in bincode's format on topics and in stores: for types of other crates, which
/// cannot derive `marea::Bincode`.
///
/// ```
/// use marea::codec::{Bincode, OwnCodec};
/// let codec = Bincode::<(u8, u8)>::codec();
/// let mut out = Vec::new();
/// codec.encode(&Bincode((7, 8)), &mut out)?;
/// assert_eq!(out, [7, 8]);
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bincode<T>(
    /// The value.
    pub T,
);

impl<T> Bincode<T> {
    /// The codec of `T` itself in bincode's format, for places where a codec is required.
    ///
    /// ```
    /// # use marea::codec::{Bincode, Utf8};
    /// # use marea::dsl::Produced;
    /// let produced = Produced::with(Utf8, Bincode::<(u8, u8)>::new());
    /// # drop(produced);
    /// ```
    #[expect(
        clippy::new_ret_no_self,
        reason = "the format is named, not a value of it"
    )]
    pub const fn new() -> BincodeCodec<T> {
        BincodeCodec::new()
    }
}

impl<T> std::ops::Deref for Bincode<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Bincode<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serializable + 'static> OwnCodec for Bincode<T> {
    fn codec() -> SharedCodec<Self> {
        shared(Wrapped(BincodeCodec::<T>::new()))
    }
}

struct Wrapped<T>(BincodeCodec<T>);

impl<T: Serializable + 'static> Codec<Bincode<T>> for Wrapped<T> {
    fn encode(&self, value: &Bincode<T>, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(&value.0, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Bincode<T>> {
        self.0.decode(bytes).map(Bincode)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

/// Values in bincode 2's standard format: little-endian, numbers of variable length, fields in
/// order of declaration and without names.
///
/// Adding, removing or reordering a field changes the format, and the bytes do not show it; use
/// [`JsonCodec`](super::JsonCodec) for topics that outlive a release of your types, or that others read.
///
/// ```
/// use marea::codec::{BincodeCodec, Codec};
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Mean { sum: f64, count: u64 }
///
/// let codec = BincodeCodec::<Mean>::new();
/// let mean = Mean { sum: 40.5, count: 3 };
/// let mut out = Vec::new();
/// codec.encode(&mean, &mut out)?;
/// assert_eq!(out.len(), 9);
/// assert_eq!(codec.decode(Some(&out))?, mean);
/// # Ok::<(), marea::Error>(())
/// ```
///
/// Unordered maps break the law of [`Codec`] that equal values have equal bytes: use a `BTreeMap`. Types
/// that ask serde what comes next (`#[serde(untagged)]`, `flatten`, JSON values) do not work either: the
/// format does not say, and decoding fails.
pub struct BincodeCodec<T>(PhantomData<fn() -> T>);

impl<T> BincodeCodec<T> {
    /// The codec of `T`. It has no settings.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

// Derives would require bounds on `T` that only the marker needs.
impl<T> Clone for BincodeCodec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for BincodeCodec<T> {}

impl<T> Default for BincodeCodec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for BincodeCodec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BincodeCodec")
    }
}

impl<T: Serializable + 'static> Codec<T> for BincodeCodec<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        let written =
            ::bincode::serde::encode_into_std_write(value, out, CONFIG).map_err(|cause| {
                Error::user("the value cannot be encoded as bincode").with_source(cause)
            })?;
        if written > ENCODED_BYTES_MAX {
            return Err(Error::user(format!(
                "the value takes {written} bytes, but a bincode value may take at most \
                 {ENCODED_BYTES_MAX}; split it, or use another codec"
            )));
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        let bytes = present(bytes, "bincode")?;
        let (value, read) =
            ::bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|cause| {
                Error::user("the bytes are not the expected bincode value").with_source(cause)
            })?;
        // Leftover bytes mean that another type wrote them, even if the beginning happens to fit.
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
        assert!(BincodeCodec::<String>::new().decode(Some(&bytes)).is_err());
    }

    #[test]
    fn null_short_and_long_bytes_are_refused() {
        let codec = BincodeCodec::<(u8, u8)>::new();
        assert!(codec.decode(None).is_err());
        assert!(codec.decode(Some(&[1])).is_err());
        assert!(codec.decode(Some(&[1, 2, 3])).is_err());
        assert_eq!(codec.decode(Some(&[1, 2])).expect("two"), (1, 2));
    }

    #[test]
    fn small_numbers_are_not_charged_beyond_the_limit() {
        let codec = BincodeCodec::<Vec<u128>>::new();
        let value = vec![1; 1 << 20];
        let mut out = Vec::new();
        codec.encode(&value, &mut out).expect("one megabyte");
        assert_eq!(codec.decode(Some(&out)).expect("the same"), value);
    }
}
