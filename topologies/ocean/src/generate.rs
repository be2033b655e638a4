//! Simulated sensor readings: seeded, so that a run can be reproduced.

use marea::base::{Error, Result};
use marea::log::CommittedOffset;

use crate::feed::{Next, Source};
use crate::model::{OCEANS, Reading};

/// Sensors in each ocean.
const SENSORS: u64 = 40;
/// The maximum age of a reading relative to the one before it, in milliseconds.
const LATE_MS: i64 = 400;
/// One in this many readings is broken.
const BROKEN: u64 = 997;
/// The interval, by the readings' clock, in which each kind of episode occurs once, in milliseconds.
const CYCLE_MS: i64 = 8_000;

/// The settings of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Another seed gives other readings.
    pub seed: u64,
    /// Total number of readings.
    pub readings: u64,
    /// Readings per second of the caller's clock.
    pub per_second: u64,
    /// How many times faster the readings' clock runs.
    pub speed: u64,
    /// The time of the first reading, in milliseconds since 1970.
    pub start_ms: i64,
    /// A run begins this long after the end of the previous run, by the readings' clock, in milliseconds:
    /// the windows of that run have closed.
    pub pause_ms: i64,
}

/// Generated readings. Its position is `generator|seed|last`, the last timestamp in milliseconds.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    /// Number of readings in earlier runs.
    before: u64,
    given: u64,
    last_ms: i64,
}

impl Generator {
    /// Continues after what `committed` says was fed before.
    ///
    /// # Errors
    /// `Invalid` if that was a file.
    pub fn new(settings: Settings, committed: Option<&CommittedOffset>) -> Result<Self> {
        let mut generator = Self {
            settings,
            before: 0,
            given: 0,
            last_ms: settings.start_ms,
        };
        if let Some(committed) = committed {
            let last_ms = last_ms(&committed.metadata).ok_or_else(|| {
                Error::invalid(format!(
                    "this data directory was fed with {}; continue with the same --input, or choose \
                     another --data-dir",
                    committed.metadata
                ))
            })?;
            generator.before = u64::try_from(committed.offset).unwrap_or_default();
            let earliest_ms = last_ms + settings.pause_ms;
            generator.settings.start_ms = settings.start_ms.max(earliest_ms);
            generator.last_ms = last_ms;
        }
        Ok(generator)
    }

    fn reading(&self, number: u64) -> Reading {
        let settings = &self.settings;
        let mut chance = Chance(settings.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let since = u128::from(number.saturating_sub(self.before));
        let per_second = u128::from(settings.per_second.max(1));
        let elapsed_ms = (since * 1_000 * u128::from(settings.speed) / per_second) as i64;
        let time_ms = settings.start_ms + elapsed_ms;
        let phase = time_ms.rem_euclid(CYCLE_MS);
        let silent = phase < CYCLE_MS * 3 / 8;
        let warm = phase >= CYCLE_MS / 2;
        // The Arctic is silent for a while; the next ocean takes its place.
        let mut place = chance.below(OCEANS.len() as u64) as usize;
        if silent && OCEANS[place].name == "Arctic" {
            place += 1;
        }
        let ocean = &OCEANS[place];
        // Values that are usual in one month are within the bounds of all others.
        let usual = &ocean.january;
        let mut within = |(low, high): (f64, f64)| {
            let share = 0.3 + 0.4 * chance.share();
            round(low + (high - low) * share)
        };
        let mut temperature = within(usual.temperature);
        if warm && ocean.name == "Pacific" {
            temperature = round(temperature.max(ocean.bounds(time_ms).temperature.1 + 4.0));
        }
        let (salinity, volume) = (within(usual.salinity), within(usual.volume));
        Reading {
            sensor: format!("{}-{:02}", ocean.name.to_lowercase(), chance.below(SENSORS)),
            ocean: ocean.name.to_owned(),
            temperature,
            salinity,
            volume,
            timestamp_ms: (time_ms - chance.below(LATE_MS as u64) as i64).max(0),
        }
    }
}

impl Source for Generator {
    fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<Next> {
        if self.given == self.settings.readings {
            return Ok(Next::End);
        }
        let number = self.before + self.given;
        let reading = self.reading(number);
        line.clear();
        serde_json::to_writer(&mut *line, &reading).map_err(|cause| {
            Error::internal("a reading cannot be encoded as JSON").with_source(cause)
        })?;
        if number % BROKEN == BROKEN - 1 {
            line.truncate(line.len() / 2);
        }
        line.truncate(limit);
        self.last_ms = self.last_ms.max(reading.timestamp_ms);
        self.given += 1;
        Ok(Next::Line)
    }

    fn position(&self) -> CommittedOffset {
        CommittedOffset {
            offset: (self.before + self.given) as i64,
            metadata: format!("generator|{}|{}", self.settings.seed, self.last_ms),
        }
    }

    fn done(&self) -> f64 {
        match self.settings.readings {
            0 => 1.0,
            all => self.given as f64 / all as f64,
        }
    }
}

fn last_ms(metadata: &str) -> Option<i64> {
    let (_seed, last_ms) = metadata.strip_prefix("generator|")?.split_once('|')?;
    last_ms.parse().ok()
}

/// Rounded to a thousandth, as sensors do.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(seed: u64) -> Settings {
        Settings {
            seed,
            readings: 20_000,
            per_second: 1_000,
            speed: 1,
            start_ms: 1_700_000_000_000,
            pause_ms: 4_000,
        }
    }

    fn all(mut generator: Generator) -> (Vec<String>, CommittedOffset) {
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while generator.next(&mut line, 1 << 20).unwrap() == Next::Line {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(generator.done(), 1.0);
        (lines, generator.position())
    }

    fn times(lines: &[String]) -> Vec<i64> {
        let valid = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Reading>(line).ok());
        valid.map(|reading| reading.timestamp_ms).collect()
    }

    #[test]
    fn a_seed_can_be_had_again() {
        let one = all(Generator::new(settings(1), None).unwrap());
        assert_eq!(one, all(Generator::new(settings(1), None).unwrap()));
        assert_ne!(one, all(Generator::new(settings(2), None).unwrap()));
    }

    #[test]
    fn what_comes_is_as_late_as_it_says_and_some_of_it_is_broken() {
        let (lines, _) = all(Generator::new(settings(1), None).unwrap());
        assert_eq!(lines.len(), 20_000);
        let times = times(&lines);
        assert_eq!(lines.len() - times.len(), 20);
        let mut latest = 0;
        for time in times {
            latest = latest.max(time);
            assert!(latest - time <= LATE_MS, "{time} is {} late", latest - time);
        }
    }

    #[test]
    fn a_second_run_goes_on_after_the_windows_of_the_first() {
        let (first, position) = all(Generator::new(settings(1), None).unwrap());
        let (second, next) = all(Generator::new(settings(1), Some(&position)).unwrap());
        assert_eq!(next.offset, 40_000);
        let last = times(&first).into_iter().max().unwrap();
        let first = times(&second).into_iter().min().unwrap();
        assert!(first >= last + settings(1).pause_ms - LATE_MS);
    }

    #[test]
    fn what_was_fed_with_a_file_is_not_fed_with_this() {
        let position = CommittedOffset {
            offset: 3,
            metadata: "/tmp/file|00000000|3".into(),
        };
        let error = Generator::new(settings(1), Some(&position)).unwrap_err();
        assert!(error.message().contains("/tmp/file"), "{error}");
    }
}
