//! The formats that Kafka's built-in serialisers write: UTF-8 text, big-endian numbers, plain bytes.

use super::{Codec, Encoded};
use crate::base::{Error, Result};

/// UTF-8 text, as Kafka's `StringSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

/// A signed 64-bit number, eight bytes big-endian, as Kafka's `LongSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct I64;

/// A 64-bit floating-point number, eight bytes big-endian, as Kafka's `DoubleSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct F64;

/// Bytes as they are.
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

impl Codec<i64> for I64 {
    fn encode(&self, value: &i64, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<i64> {
        eight(bytes).map(i64::from_be_bytes)
    }

    fn name(&self) -> String {
        "i64".into()
    }
}

impl Codec<f64> for F64 {
    fn encode(&self, value: &f64, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<f64> {
        eight(bytes).map(f64::from_be_bytes)
    }

    fn name(&self) -> String {
        "f64".into()
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
            "found null where {what} must stand; wrap the codec in `Nullable`"
        ))
    })
}

fn eight(bytes: Option<&[u8]>) -> Result<[u8; 8]> {
    let bytes = present(bytes, "eight bytes")?;
    bytes
        .try_into()
        .map_err(|_| Error::user(format!("expected 8 bytes, found {}", bytes.len())))
}
