//! Which readings are valid, and what happens to the others.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::model::{LARGEST, Measurement, Reading};

/// How many characters of an input that is not text are shown as text in a dead letter.
const SHOWN: usize = 200;

/// A reading in the form that the pipeline processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    /// The ocean's name.
    pub ocean: String,
    /// The measured values.
    pub measurement: Measurement,
}

/// An invalid reading: an object on the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The reason, as a sentence.
    pub reason: String,
    /// The whole input; bytes that are not UTF-8 are replaced.
    pub raw: String,
    /// The input in hexadecimal digits, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_hex: Option<String>,
}

impl DeadLetter {
    /// A dead letter for an input; `None` is a record without a value.
    pub fn new(reason: impl Into<String>, raw: Option<&[u8]>) -> Self {
        let raw = raw.unwrap_or_default();
        let (text, raw_hex) = match std::str::from_utf8(raw) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => {
                let text = String::from_utf8_lossy(raw);
                let mut digits = String::with_capacity(2 * raw.len());
                for byte in raw {
                    // Writing to a string cannot fail.
                    let _ = write!(digits, "{byte:02x}");
                }
                (text.chars().take(SHOWN).collect(), Some(digits))
            }
        };
        Self {
            reason: reason.into(),
            raw: text,
            raw_hex,
        }
    }
}

/// Parses a reading, and says what is wrong with an invalid one. `latest_ms` is the latest timestamp that
/// is accepted, in milliseconds since 1970.
pub fn check(raw: Option<&[u8]>, latest_ms: i64) -> Result<Valid, DeadLetter> {
    read(raw, latest_ms).map_err(|reason| DeadLetter::new(reason, raw))
}

fn read(raw: Option<&[u8]>, latest_ms: i64) -> Result<Valid, String> {
    let raw = raw.ok_or("the record has no value")?;
    let text = std::str::from_utf8(raw).map_err(|cause| format!("not UTF-8: {cause}"))?;
    let reading: Reading =
        serde_json::from_str(text).map_err(|cause| format!("not a reading: {cause}"))?;
    if reading.ocean.is_empty() {
        return Err("ocean is empty".to_owned());
    }
    match reading.timestamp_ms {
        ..0 => {
            return Err(format!(
                "timestamp_ms {} is before 1970",
                reading.timestamp_ms
            ));
        }
        time if time > latest_ms => {
            return Err(format!(
                "timestamp_ms {time} is after {latest_ms}, the latest accepted"
            ));
        }
        _ => {}
    }
    let quantities = [
        ("temperature", reading.temperature),
        ("salinity", reading.salinity),
        ("volume", reading.volume),
    ];
    for (name, value) in quantities {
        if !value.is_finite() || value.abs() > LARGEST {
            return Err(format!("{name} {value} is beyond {LARGEST}"));
        }
    }
    Ok(Valid {
        measurement: Measurement::of(&reading),
        ocean: reading.ocean,
    })
}
