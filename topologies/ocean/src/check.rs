//! Which readings are valid.

use crate::model::{LARGEST, Reading};

/// Parses a reading, and says what is wrong with an invalid one. `None` is a record without a value; `latest_ms`
/// is the latest timestamp that is accepted, in milliseconds since 1970.
///
/// # Errors
/// The reason, as a sentence.
pub fn check(raw: Option<&[u8]>, latest_ms: i64) -> Result<Reading, String> {
    let raw = raw.ok_or("the record has no value")?;
    let text = std::str::from_utf8(raw).map_err(|cause| format!("not UTF-8: {cause}"))?;
    let reading: Reading =
        serde_json::from_str(text).map_err(|cause| format!("not a reading: {cause}"))?;
    for (name, text) in [("sensor", &reading.sensor), ("ocean", &reading.ocean)] {
        if text.is_empty() {
            return Err(format!("{name} is empty"));
        }
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
    Ok(reading)
}
