//! An input for logs that have none: on Kafka, `benches/peers/peer load` creates it.

use std::error::Error;
use std::time::Duration;

use marea::base::TopicPartition;
use marea::codec::{Codec, Json};
use marea::log::{BatchBuilder, Commit, Log};

use crate::readings::{Compact, Fields, Reading};
use crate::topologies::Text;

const OCEANS: [&str; 5] = ["Atlantic", "Pacific", "Indian", "Arctic", "Southern"];

/// What to append.
pub struct Load<'a> {
    pub topic: &'a str,
    pub partitions: u32,
    pub records: u64,
    pub keys: u64,
    pub text: Text,
}

impl Load<'_> {
    /// Appends the input, spread over the partitions, twenty readings per millisecond.
    pub fn append(&self, log: &dyn Log) -> Result<(), Box<dyn Error>> {
        let mut writer = log.writer("loader", 8 << 20)?;
        let mut value = Vec::new();
        let mut at = 0;
        while at < self.records {
            let mut builders: Vec<_> = (0..self.partitions)
                .map(|_| BatchBuilder::default())
                .collect();
            let until = (at + 10_000).min(self.records);
            for number in at..until {
                let key = number.wrapping_mul(0x9e37_79b9) % self.keys;
                let partition = (key % u64::from(self.partitions)) as usize;
                let sensor = format!("sensor-{key:05}");
                let timestamp_ms = (number / 20) as i64;
                value.clear();
                self.encode(&sensor, number, &mut value)?;
                builders[partition].push(Some(sensor.as_bytes()), Some(&value), timestamp_ms, &[]);
            }
            at = until;
            let batches = builders
                .iter_mut()
                .enumerate()
                .filter_map(|(partition, builder)| {
                    let partition = TopicPartition::new(self.topic, partition as u32);
                    Some((partition, builder.seal()?))
                });
            let commit = Commit {
                appends: batches.collect(),
                group: None,
            };
            let asked = writer.submit(commit);
            asked.map_err(|error| error.into_error())?;
            while writer
                .poll(Duration::from_secs(1))
                .map_err(|error| error.into_error())?
                .is_none()
            {}
        }
        Ok(())
    }

    fn encode(&self, sensor: &str, number: u64, out: &mut Vec<u8>) -> marea::Result<()> {
        let (temperature, salinity, volume) = (10.0 + (number % 100) as f64 / 10.0, 35.0, 700.0);
        match self.text {
            Text::Compact => Fields.encode(
                &Compact {
                    temperature,
                    salinity,
                    volume,
                },
                out,
            )?,
            Text::Json => Json::<Reading>::new().encode(
                &Reading {
                    sensor: sensor.to_owned(),
                    ocean: OCEANS[(number % 5) as usize].to_owned(),
                    temperature,
                    salinity,
                    volume,
                    ts: (number / 20) as i64,
                },
                out,
            )?,
        };
        Ok(())
    }
}
