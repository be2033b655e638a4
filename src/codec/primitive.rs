//! The formats that Kafka's built-in serialisers write: UTF-8 text, big-endian numbers, plain bytes.

use super::{Codec, Encoded};
use crate::base::{Error, Result};

/// UTF-8 text, as Kafka's `StringSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

/// Raw bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Codec<String> for Utf8 {
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<String> {
        let text = std::str::from_utf8(present(bytes, "text")?)
            .map_err(|cause| Error::user("the bytes are not UTF-8").with_source(cause))?;
        Ok(text.to_owned())
    }

    fn name(&self) -> String {
        "utf8".into()
    }
}

/// Fixed-length big-endian numbers.
macro_rules! numbers {
    ($($(#[$about:meta])* $codec:ident of $type:ty, $name:literal;)*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $codec;

        impl Codec<$type> for $codec {
            fn encode(&self, value: &$type, out: &mut Vec<u8>) -> Result<Encoded> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(Encoded::Bytes)
            }

            fn decode(&self, bytes: Option<&[u8]>) -> Result<$type> {
                fixed(bytes).map(<$type>::from_be_bytes)
            }

            fn name(&self) -> String {
                $name.into()
            }
        }
    )*};
}

numbers! {
    /// A signed 16-bit number, two bytes big-endian, as Kafka's `ShortSerializer`.
    I16 of i16, "i16";
    /// A signed 32-bit number, four bytes big-endian, as Kafka's `IntegerSerializer`.
    I32 of i32, "i32";
    /// A signed 64-bit number, eight bytes big-endian, as Kafka's `LongSerializer`.
    I64 of i64, "i64";
    /// An unsigned 32-bit number, four bytes big-endian. Kafka has no serialiser for it; its
    /// `IntegerDeserializer` reads numbers below 2^31.
    U32 of u32, "u32";
    /// An unsigned 64-bit number, eight bytes big-endian. Kafka has no serialiser for it; its
    /// `LongDeserializer` reads numbers below 2^63.
    U64 of u64, "u64";
    /// A 32-bit floating-point number, four bytes big-endian, as Kafka's `FloatSerializer`.
    F32 of f32, "f32";
    /// A 64-bit floating-point number, eight bytes big-endian, as Kafka's `DoubleSerializer`.
    F64 of f64, "f64";
}

/// A boolean, one byte, 0 or 1, as Kafka's `BooleanSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bool;

impl Codec<bool> for Bool {
    fn encode(&self, value: &bool, out: &mut Vec<u8>) -> Result<Encoded> {
        out.push(u8::from(*value));
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<bool> {
        match present(bytes, "a boolean")? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(Error::user(format!(
                "expected one byte, 0 or 1, found {} bytes: {other:?}",
                other.len()
            ))),
        }
    }

    fn name(&self) -> String {
        "bool".into()
    }
}

/// Nothing: always null, as Kafka's `VoidSerializer`. Operators treat it like any null, so a stream of
/// such values cannot be aggregated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unit;

impl Codec<()> for Unit {
    fn encode(&self, (): &(), _out: &mut Vec<u8>) -> Result<Encoded> {
        Ok(Encoded::Null)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            None => Ok(()),
            Some(bytes) => Err(Error::user(format!(
                "found {} bytes where only null is allowed",
                bytes.len()
            ))),
        }
    }

    fn is_null(&self, (): &()) -> bool {
        true
    }

    fn name(&self) -> String {
        "unit".into()
    }
}

impl Codec<Vec<u8>> for Bytes {
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>> {
        present(bytes, "bytes").map(<[u8]>::to_vec)
    }

    fn name(&self) -> String {
        "bytes".into()
    }
}

/// Refuses null on behalf of a codec whose type cannot be absent.
pub(crate) fn present<'a>(bytes: Option<&'a [u8]>, what: &str) -> Result<&'a [u8]> {
    bytes.ok_or_else(|| {
        Error::user(format!(
            "found null instead of {what}; use the type `Option`, or wrap the codec in `Nullable`"
        ))
    })
}

fn fixed<const LEN: usize>(bytes: Option<&[u8]>) -> Result<[u8; LEN]> {
    let bytes = present(bytes, "a number")?;
    bytes
        .try_into()
        .map_err(|_| Error::user(format!("expected {LEN} bytes, found {}", bytes.len())))
}
