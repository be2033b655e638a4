//! Encoding of types as bytes: how a key or a value is represented on a topic and in a store.

mod primitive;
mod own;
mod tuple;
mod nullable;
mod windowed;
mod json;
#[cfg(feature = "bincode")]
mod bincode;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::base::Result;

#[cfg(feature = "bincode")]
pub use bincode::{Bincode, BincodeCodec};
pub use json::{Json, JsonCodec};
pub use nullable::Nullable;
pub use own::{OwnCodec, Serializable};
pub use primitive::{Bool, Bytes, F32, F64, I16, I32, I64, U32, U64, Unit, Utf8};
pub use tuple::Tuple;
pub use windowed::{SessionWindowedCodec, Windowed, WindowedCodec};

/// Whether [`Codec::encode`] wrote bytes or the value was null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// The value is null: nothing was written. In a table and on a compacted topic this deletes the key.
    Null,
    /// The encoding, possibly empty, was appended.
    Bytes,
}

/// Turns values of `T` into bytes and back.
///
/// The law: `decode(encode(x)) == x` for every `x`, and equal values have equal bytes, since keys are
/// compared as bytes in lookups. A codec whose `T` cannot be absent never returns [`Encoded::Null`] and
/// refuses `None`; wrap it in [`Nullable`] to get a codec for `Option<T>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec of `{T}`",
    note = "use `marea::codec::Nullable(codec)` for an `Option`, `Json::new()` for a serde type, or implement `Codec<{T}>`"
)]
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the encoding of `value` to `out`, which may already hold other bytes.
    ///
    /// # Errors
    /// `User` when the value cannot be encoded; `out` is then truncated by the caller.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded>;

    /// Decodes a value from bytes; `None` is null.
    ///
    /// # Errors
    /// `User` when the bytes are not an encoding; the caller adds topic, partition and offset.
    fn decode(&self, bytes: Option<&[u8]>) -> Result<T>;

    /// Whether `value` encodes as null. Operators use this for their null rules.
    fn is_null(&self, value: &T) -> bool {
        let _ = value;
        false
    }

    /// The part of an encoded key that determines its partition: all of it, except for windowed keys,
    /// which go to the partition of the plain key.
    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        encoded
    }

    /// A short stable name of the format, stored with the state written in it; a change is detected.
    fn name(&self) -> String;
}

/// A codec as operators hold it.
pub type SharedCodec<T> = Arc<dyn Codec<T>>;

/// Wraps a codec in the pointer that operators share.
pub fn shared<T: 'static>(codec: impl Codec<T>) -> SharedCodec<T> {
    Arc::new(codec)
}

impl<T: 'static> Codec<T> for SharedCodec<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        (**self).encode(value, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        (**self).decode(bytes)
    }

    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }

    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        (**self).partition_bytes(encoded)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}
