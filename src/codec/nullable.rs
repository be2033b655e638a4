//! Options of values of any codec.

use super::{Codec, Encoded};
use crate::base::Result;

/// A codec of `Option<T>` over a codec of `T`: `None` is null.
///
/// ```
/// use marea::codec::{Codec, Encoded, Nullable, Utf8};
/// let codec = Nullable(Utf8);
/// let mut out = Vec::new();
/// assert_eq!(codec.encode(&None, &mut out)?, Encoded::Null);
/// assert_eq!(codec.decode(Some(b"salt"))?, Some("salt".to_owned()));
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Nullable<C>(
    /// The codec for values that are present.
    pub C,
);

impl<T, C: Codec<T>> Codec<Option<T>> for Nullable<C> {
    fn encode(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<Encoded> {
        match value {
            Some(value) => self.0.encode(value, out),
            None => Ok(Encoded::Null),
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<T>> {
        match bytes {
            Some(_) => self.0.decode(bytes).map(Some),
            None => Ok(None),
        }
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.0.partition_bytes(encoded)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}
