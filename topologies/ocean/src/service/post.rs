//! A body of readings: which lines are accepted, and what is wrong with the others.

use serde::{Deserialize, Serialize};

use crate::check::check;
use crate::topology::LATEST_MS;

/// Largest body, in bytes.
pub const BODY_BYTES: usize = 1 << 20;
/// Largest line, in bytes.
pub const LINE_BYTES: usize = 16 << 10;
/// Maximum number of lines in a body.
pub const LINES: usize = 10_000;
/// As `Settings::timestamp_ahead_max_ms` of the pipeline: later readings would be refused there.
const AHEAD_MS: i64 = 86_400_000;
/// Number of refused lines whose reasons an answer gives.
const REASONS: usize = 100;
/// Maximum length of a reason; a parser's message may quote the line.
const REASON_LETTERS: usize = 200;

/// A reading to be appended, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The record's key, which determines its partition.
    pub sensor: String,
    /// When it was taken, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The line.
    pub line: Vec<u8>,
}

/// A refused line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its number in the body, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The answer to a post: an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many readings are in the log.
    pub taken: usize,
    /// Which lines they are: first and last of each run, from 1.
    pub taken_lines: Vec<(usize, usize)>,
    /// Number of refused lines.
    pub refused: usize,
    /// The first hundred of them, with reasons.
    pub reasons: Vec<Refused>,
}

impl Report {
    /// The corresponding status: 200 if all lines are accepted, 207 if some are, 422 if none is.
    pub fn status(&self) -> u16 {
        match (self.taken, self.refused) {
            (_, 0) => 200,
            (0, _) => 422,
            _ => 207,
        }
    }
}

/// A checked body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The readings to append.
    pub taken: Vec<Taken>,
    /// The answer once they are appended.
    pub report: Report,
}

/// What happens to a body with an invalid line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// The other lines are accepted.
    Lenient,
    /// Nothing is accepted.
    Strict,
}

/// Checks each line; empty ones count as lines, but are skipped. `now_ms` is the wall clock, in
/// milliseconds since 1970.
///
/// # Errors
/// A sentence, if nothing of the body can be accepted, whatever its lines say.
pub fn look(body: &[u8], handling: Handling, now_ms: i64) -> Result<Checked, String> {
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    let count = lines.clone().filter(|(_, line)| !is_blank(line)).count();
    match count {
        0 => return Err("no readings; send one JSON object per line".to_owned()),
        count if count > LINES => {
            return Err(format!("{count} lines; send at most {LINES} at a time"));
        }
        _ => {}
    }
    let latest_ms = LATEST_MS.min(now_ms.saturating_add(AHEAD_MS));
    let mut checked = Checked::default();
    // A body with a single object may span several lines, as people write it.
    if let Ok(reading) = read(body.trim_ascii(), latest_ms) {
        let last = 1 + body
            .trim_ascii_end()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let first = last
            - body
                .trim_ascii()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
        checked.report.taken = 1;
        checked.report.taken_lines.push((first, last));
        checked.taken.push(reading);
        return Ok(checked);
    }
    lines.by_ref().for_each(|(number, line)| {
        if !is_blank(line) {
            checked.line(number + 1, read(line.trim_ascii(), latest_ms));
        }
    });
    if handling == Handling::Strict && checked.report.refused > 0 {
        checked.taken.clear();
        checked.report.refused += std::mem::take(&mut checked.report.taken);
        checked.report.taken_lines.clear();
    }
    Ok(checked)
}

impl Checked {
    fn line(&mut self, number: usize, outcome: Result<Taken, String>) {
        let report = &mut self.report;
        match outcome {
            Ok(taken) => {
                self.taken.push(taken);
                report.taken += 1;
                match report.taken_lines.last_mut() {
                    Some((_, last)) if *last + 1 == number => *last = number,
                    _ => report.taken_lines.push((number, number)),
                }
            }
            Err(reason) => {
                report.refused += 1;
                if report.reasons.len() < REASONS {
                    let reason = reason.chars().take(REASON_LETTERS).collect();
                    report.reasons.push(Refused {
                        line: number,
                        reason,
                    });
                }
            }
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// The record of a valid line. It is checked with the same function as in the pipeline: nothing that is
/// acknowledged becomes a dead letter.
fn read(line: &[u8], latest_ms: i64) -> Result<Taken, String> {
    if line.len() > LINE_BYTES {
        let bytes = line.len();
        return Err(format!(
            "{bytes} bytes; a line may have at most {LINE_BYTES}"
        ));
    }
    let reading = check(Some(line), latest_ms)?;
    Ok(Taken {
        sensor: reading.sensor,
        timestamp_ms: reading.timestamp_ms,
        line: line.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn reading(sensor: &str, timestamp_ms: i64) -> String {
        format!(
            r#"{{"sensor":"{sensor}","ocean":"Arctic","temperature":1.5,"salinity":34.0,"volume":300.0,"timestamp_ms":{timestamp_ms}}}"#
        )
    }

    fn lenient(body: &str) -> Checked {
        look(body.as_bytes(), Handling::Lenient, NOW_MS).unwrap()
    }

    #[test]
    fn each_line_is_taken_or_refused_with_its_number() {
        let body = format!(
            "{}\n\n{}\r\nnonsense\n{}\n{}\n",
            reading("a", 5),
            reading("b", 6),
            reading("c", NOW_MS + AHEAD_MS + 1),
            reading("d", 7),
        );
        let Checked { taken, report } = lenient(&body);
        let sensors: Vec<_> = taken.iter().map(|taken| &*taken.sensor).collect();
        assert_eq!(sensors, ["a", "b", "d"]);
        assert_eq!(taken[1].timestamp_ms, 6);
        assert_eq!(taken[1].line, reading("b", 6).into_bytes());
        assert_eq!(report.taken_lines, [(1, 1), (3, 3), (6, 6)]);
        assert_eq!((report.taken, report.refused, report.status()), (3, 2, 207));
        assert_eq!(report.reasons[0].line, 4);
        assert!(report.reasons[0].reason.contains("not a reading"));
        assert_eq!(report.reasons[1].line, 5);
        assert!(report.reasons[1].reason.contains("latest accepted"));
        let body = body.into_bytes();
        let strict = look(&body, Handling::Strict, NOW_MS).unwrap();
        assert_eq!(strict.taken, []);
        assert_eq!((strict.report.taken, strict.report.refused), (0, 5));
        assert_eq!(strict.report.status(), 422);
    }

    #[test]
    fn neighbours_are_one_run_and_an_object_may_have_several_lines() {
        let body = format!("{}\n{}", reading("a", 5), reading("b", 6));
        assert_eq!(lenient(&body).report.taken_lines, [(1, 2)]);
        assert_eq!(lenient(&body).report.status(), 200);
        let wide = format!("\n{}\n", reading("a", 5).replace(',', ",\n"));
        let checked = lenient(&wide);
        assert_eq!(checked.taken.len(), 1);
        assert_eq!(checked.report.taken_lines, [(2, 7)]);
    }

    #[test]
    fn what_is_no_text_or_too_long_is_refused() {
        let mut body = reading("a", 5).into_bytes();
        body.extend_from_slice(b"\n\"\xff\"\n");
        body.extend(std::iter::repeat_n(b' ', 3));
        body.extend(format!("{{\"sensor\":\"{}\"}}", "x".repeat(LINE_BYTES)).bytes());
        let checked = look(&body, Handling::Lenient, NOW_MS).unwrap();
        let reasons = &checked.report.reasons;
        assert!(reasons[0].reason.contains("not UTF-8"), "{reasons:?}");
        assert!(reasons[1].reason.contains("at most 16384"), "{reasons:?}");
        assert!(look(b" \n\n", Handling::Lenient, NOW_MS).is_err());
        let many = "1\n".repeat(LINES + 1);
        assert!(look(many.as_bytes(), Handling::Lenient, NOW_MS).is_err());
        let one_less = "1\n".repeat(LINES);
        let report = lenient(&one_less).report;
        assert_eq!((report.refused, report.reasons.len()), (LINES, REASONS));
    }

    #[test]
    fn a_reason_does_not_grow_with_the_line() {
        let body = format!("\"{}\"", "x".repeat(10_000));
        let report = lenient(&body).report;
        assert!(report.reasons[0].reason.chars().count() <= REASON_LETTERS);
    }
}
