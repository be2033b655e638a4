//! Encoding of readings: JSON, checked. Encoding within the pipeline: big-endian integers, in the order of the fields.

use marea::base::{Error, Result};
use marea::codec::{Codec, Encoded};

use crate::check::check;
use crate::model::{Measurement, Reading, Sums};

/// [`Reading`] as JSON. What is not a valid reading ([`check`]) is refused with the reason, so that the pipeline's
/// policy for such records applies: it sends them to the dead letters as they came.
#[derive(Clone, Copy, Debug)]
pub struct ReadingCodec {
    /// The latest timestamp that is accepted, in milliseconds since 1970.
    pub latest_ms: i64,
}

impl Codec<Reading> for ReadingCodec {
    fn encode(&self, value: &Reading, out: &mut Vec<u8>) -> Result<Encoded> {
        let written = serde_json::to_writer(out, value);
        let written = written.map_err(|cause| Error::user("a reading as JSON").with_source(cause));
        written.map(|()| Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Reading> {
        check(bytes, self.latest_ms).map_err(Error::user)
    }

    fn name(&self) -> String {
        "ocean-reading".into()
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

fn refuse(what: &str, bytes: Option<&[u8]>) -> Error {
    let found = bytes.map_or("null".to_owned(), |bytes| format!("{} bytes", bytes.len()));
    Error::user(format!("{found} cannot be decoded as {what}"))
}

/// [`Measurement`] in 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeasurementCodec;

impl Codec<Measurement> for MeasurementCodec {
    fn encode(&self, value: &Measurement, out: &mut Vec<u8>) -> Result<Encoded> {
        for part in [value.temperature, value.salinity, value.volume] {
            out.extend_from_slice(&part.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Measurement> {
        let decode = |mut rest: &[u8]| {
            let measurement = Measurement {
                temperature: i64::from_be_bytes(take(&mut rest)?),
                salinity: i64::from_be_bytes(take(&mut rest)?),
                volume: i64::from_be_bytes(take(&mut rest)?),
            };
            rest.is_empty().then_some(measurement)
        };
        bytes
            .and_then(decode)
            .ok_or_else(|| refuse("a measurement", bytes))
    }

    fn name(&self) -> String {
        "ocean-measurement".into()
    }
}

/// [`Sums`] in 56 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SumsCodec;

impl Codec<Sums> for SumsCodec {
    fn encode(&self, value: &Sums, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(&value.count.to_be_bytes());
        for part in [value.temperature, value.salinity, value.volume] {
            out.extend_from_slice(&part.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Sums> {
        let decode = |mut rest: &[u8]| {
            let sums = Sums {
                count: i64::from_be_bytes(take(&mut rest)?),
                temperature: i128::from_be_bytes(take(&mut rest)?),
                salinity: i128::from_be_bytes(take(&mut rest)?),
                volume: i128::from_be_bytes(take(&mut rest)?),
            };
            rest.is_empty().then_some(sums)
        };
        bytes.and_then(decode).ok_or_else(|| refuse("sums", bytes))
    }

    fn name(&self) -> String {
        "ocean-sums".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(count: i64, a: i128, b: i128, c: i64) {
            let sums = Sums { count, temperature: a, salinity: b, volume: i128::from(c) };
            let measurement = Measurement { temperature: count, salinity: c, volume: -1 };
            let mut bytes = Vec::new();
            SumsCodec.encode(&sums, &mut bytes).unwrap();
            prop_assert_eq!(SumsCodec.decode(Some(&bytes)).unwrap(), sums);
            prop_assert!(SumsCodec.decode(Some(&bytes[1..])).is_err());
            prop_assert!(MeasurementCodec.decode(Some(&bytes)).is_err());
            bytes.clear();
            MeasurementCodec.encode(&measurement, &mut bytes).unwrap();
            prop_assert_eq!(MeasurementCodec.decode(Some(&bytes)).unwrap(), measurement);
        }
    }

    #[test]
    fn null_is_refused() {
        assert!(SumsCodec.decode(None).is_err());
        assert!(MeasurementCodec.decode(None).is_err());
    }
}
