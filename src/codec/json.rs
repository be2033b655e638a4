//! JSON, for types that implement serde.

use std::fmt;
use std::marker::PhantomData;

use super::primitive::present;
use super::{Codec, Encoded, OwnCodec, Serializable, SharedCodec, shared};
use crate::base::{Error, Result};

/// A value that is JSON on topics and in stores: for types of other crates, which cannot derive
/// `marea::Json`.
///
/// ```
/// use marea::codec::{Json, OwnCodec};
/// let codec = Json::<Vec<u32>>::codec();
/// let mut out = Vec::new();
/// codec.encode(&Json(vec![7, 8]), &mut out)?;
/// assert_eq!(out, b"[7,8]");
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T> Json<T> {
    /// The codec of `T` itself as JSON, for places where a codec is required.
    ///
    /// ```
    /// # use marea::codec::{Json, Utf8};
    /// # use marea::dsl::Produced;
    /// let produced = Produced::with(Utf8, Json::<Vec<u32>>::new());
    /// # drop(produced);
    /// ```
    #[expect(
        clippy::new_ret_no_self,
        reason = "the format is named, not a value of it"
    )]
    pub const fn new() -> JsonCodec<T> {
        JsonCodec::new()
    }
}

impl<T> std::ops::Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serializable + 'static> OwnCodec for Json<T> {
    fn codec() -> SharedCodec<Self> {
        shared(Wrapped(JsonCodec::<T>::new()))
    }
}

struct Wrapped<T>(JsonCodec<T>);

impl<T: Serializable + 'static> Codec<Json<T>> for Wrapped<T> {
    fn encode(&self, value: &Json<T>, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(&value.0, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Json<T>> {
        self.0.decode(bytes).map(Json)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

/// Values as JSON text, without spaces, as serde writes them.
///
/// ```
/// use marea::codec::{Codec, JsonCodec};
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Reading { ocean: String, celsius: i32 }
///
/// let codec = JsonCodec::<Reading>::new();
/// let reading = Reading { ocean: "Arctic".into(), celsius: -1 };
/// let mut out = Vec::new();
/// codec.encode(&reading, &mut out)?;
/// assert_eq!(out, br#"{"ocean":"Arctic","celsius":-1}"#);
/// assert_eq!(codec.decode(Some(&out))?, reading);
/// # Ok::<(), marea::Error>(())
/// ```
///
/// It is then up to the type to keep the law of [`Codec`]. Three kinds of types break it: unordered maps
/// (use a `BTreeMap`), because equal values have unequal bytes; numbers that JSON lacks (a NaN becomes
/// `null`); and, in a key, `f64`, whose last bit may change. A `None` becomes the text `null`, which
/// deletes nothing: wrap the codec in [`Nullable`](super::Nullable) if absence must be a null.
pub struct JsonCodec<T>(PhantomData<fn() -> T>);

impl<T> JsonCodec<T> {
    /// The codec of `T`. It has no settings.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

// Derives would require bounds on `T` that only the marker needs.
impl<T> Clone for JsonCodec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for JsonCodec<T> {}

impl<T> Default for JsonCodec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonCodec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonCodec")
    }
}

impl<T: Serializable + 'static> Codec<T> for JsonCodec<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        serde_json::to_writer(out, value).map_err(|cause| {
            Error::user("the value cannot be encoded as JSON").with_source(cause)
        })?;
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        serde_json::from_slice(present(bytes, "JSON")?)
            .map_err(|cause| Error::user("the bytes are not the expected JSON").with_source(cause))
    }

    fn name(&self) -> String {
        "json".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    #[test]
    fn what_is_not_the_json_expected_is_refused() {
        let codec = JsonCodec::<u8>::new();
        for bytes in [None, Some(&b"256"[..]), Some(b"1 2"), Some(b"")] {
            let error = codec.decode(bytes).expect_err("no u8");
            assert_eq!(error.kind(), ErrorKind::User);
        }
    }

    #[test]
    fn a_value_without_a_json_form_is_an_error() {
        let codec = JsonCodec::<std::collections::BTreeMap<Vec<u8>, u8>>::new();
        let value = [(vec![1], 2)].into();
        assert!(codec.encode(&value, &mut Vec::new()).is_err());
    }
}
