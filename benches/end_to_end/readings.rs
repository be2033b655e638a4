//! The records of the topologies, as bytes: the same as those of Kafka Streams on Kafka's topics, in
//! `benches/peers`.

use std::sync::OnceLock;
use std::time::Instant;

use marea::codec::{Codec, Encoded};
use serde::{Deserialize, Serialize};

/// A sensor's reading, with the fields of `benches/peers`, in the order in which they are written there as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub sensor: String,
    pub ocean: String,
    pub temperature: f64,
    pub salinity: f64,
    pub volume: f64,
    pub ts: i64,
}

/// Sums of readings, 32 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    pub count: i64,
    pub temperature: f64,
    pub salinity: f64,
    pub volume: f64,
}

impl Sums {
    pub fn with(mut self, reading: &impl Measured) -> Self {
        let [temperature, salinity, volume] = reading.fields();
        self.count += 1;
        self.temperature += temperature;
        self.salinity += salinity;
        self.volume += volume;
        self
    }
}

/// A reading in 24 bytes, to measure the engine without the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Compact {
    pub temperature: f64,
    pub salinity: f64,
    pub volume: f64,
}

/// Temperature, salinity, volume.
pub trait Measured {
    fn fields(&self) -> [f64; 3];
}

impl Measured for Reading {
    fn fields(&self) -> [f64; 3] {
        [self.temperature, self.salinity, self.volume]
    }
}

impl Measured for Compact {
    fn fields(&self) -> [f64; 3] {
        [self.temperature, self.salinity, self.volume]
    }
}

/// Numbers one after another, as `ByteBuffer` writes them.
pub struct Fields;

impl Codec<Compact> for Fields {
    fn encode(&self, value: &Compact, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        for field in value.fields() {
            out.extend_from_slice(&field.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<Compact> {
        let bytes = bytes.unwrap_or_default();
        Ok(Compact {
            temperature: field(bytes, 0)?,
            salinity: field(bytes, 1)?,
            volume: field(bytes, 2)?,
        })
    }

    fn name(&self) -> String {
        "reading".into()
    }
}

impl Codec<Sums> for Fields {
    fn encode(&self, value: &Sums, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        out.extend_from_slice(&value.count.to_be_bytes());
        for field in [value.temperature, value.salinity, value.volume] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<Sums> {
        let bytes = bytes.unwrap_or_default();
        Ok(Sums {
            count: field(bytes, 0)?.to_bits() as i64,
            temperature: field(bytes, 1)?,
            salinity: field(bytes, 2)?,
            volume: field(bytes, 3)?,
        })
    }

    fn name(&self) -> String {
        "sums".into()
    }
}

fn field(bytes: &[u8], position: usize) -> marea::Result<f64> {
    let bytes = bytes
        .get(position * 8..position * 8 + 8)
        .and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(f64::from_be_bytes)
        .ok_or_else(|| marea::Error::user("too few bytes"))
}

/// When the first record of the input was decoded.
pub static FIRST: OnceLock<Instant> = OnceLock::new();

/// Starts the clock: a codec of the input's keys.
pub struct Clocked<C>(pub C);

impl<T, C: Codec<T>> Codec<T> for Clocked<C> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        self.0.encode(value, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<T> {
        FIRST.get_or_init(Instant::now);
        self.0.decode(bytes)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}
