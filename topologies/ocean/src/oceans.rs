//! The monitored oceans, and the usual range of their averages, month by month.
//!
//! The bounds come from `data/`, by a rule that `tests/bounds.rs` applies again and compares:
//!
//! - January to March, the months of the readings: the mean of that month's daily averages, plus and
//!   minus 2.6 (sample) standard deviations, rounded to a hundredth. About one average in a hundred is
//!   outside.
//! - The other months, for which there are no readings: the smallest and the largest single reading.
//!   Seasonal variation then raises no alert; an average beyond anything that a sensor has measured does.
//!   Readings of these months in `data/` would make the bounds narrower, by the first rule.

/// The range for the averages of an ocean. A single reading may be outside; an average may not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lowest and highest average temperature, in degrees Celsius.
    pub temperature: (f64, f64),
    /// Lowest and highest average salinity, in practical salinity units.
    pub salinity: (f64, f64),
    /// Lowest and highest average volume, in the sensors' unit.
    pub volume: (f64, f64),
}

/// An ocean, and the bounds of its averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ocean {
    /// Its name, as readings give it.
    pub name: &'static str,
    /// The bounds in January.
    pub january: Bounds,
    /// The bounds in February.
    pub february: Bounds,
    /// The bounds in March.
    pub march: Bounds,
    /// The bounds in any other month.
    pub otherwise: Bounds,
}

impl Ocean {
    /// The bounds of a window that starts then, in milliseconds since 1970: those of its month, in UTC.
    pub fn bounds(&self, start_ms: i64) -> &Bounds {
        match month(start_ms) {
            1 => &self.january,
            2 => &self.february,
            3 => &self.march,
            _ => &self.otherwise,
        }
    }
}

/// The known ocean of that name.
pub fn ocean(name: &str) -> Option<&'static Ocean> {
    OCEANS.iter().find(|ocean| ocean.name == name)
}

/// The month of a time in milliseconds since 1970, in UTC, from 1: the civil calendar counted in eras of
/// 400 years that begin with March (Hinnant, "days from civil").
fn month(time_ms: i64) -> i64 {
    let days = time_ms.div_euclid(86_400_000) + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    match from_march {
        0..10 => from_march + 3,
        _ => from_march - 9,
    }
}

/// The monitored oceans: each is expected to have readings in every window.
pub const OCEANS: [Ocean; 5] = [
    Ocean {
        name: "Arctic",
        january: Bounds {
            temperature: (0.58, 6.21),
            salinity: (33.56, 35.47),
            volume: (255.45, 369.67),
        },
        february: Bounds {
            temperature: (0.65, 4.69),
            salinity: (33.31, 35.47),
            volume: (268.15, 364.53),
        },
        march: Bounds {
            temperature: (-1.02, 4.67),
            salinity: (33.61, 35.18),
            volume: (249.83, 376.49),
        },
        otherwise: Bounds {
            temperature: (-1.955, 15.4),
            salinity: (29.021, 35.317),
            volume: (222.53, 386.525),
        },
    },
    Ocean {
        name: "Atlantic",
        january: Bounds {
            temperature: (14.15, 19.64),
            salinity: (34.4, 35.92),
            volume: (735.65, 838.25),
        },
        february: Bounds {
            temperature: (14.05, 19.93),
            salinity: (34.31, 36.03),
            volume: (734.27, 841.35),
        },
        march: Bounds {
            temperature: (14.11, 19.9),
            salinity: (34.39, 35.92),
            volume: (734.02, 841.16),
        },
        otherwise: Bounds {
            temperature: (-1.5, 29.617),
            salinity: (4.83, 40.622),
            volume: (418.069, 989.085),
        },
    },
    Ocean {
        name: "Indian",
        january: Bounds {
            temperature: (15.12, 22.42),
            salinity: (34.38, 34.94),
            volume: (761.17, 874.52),
        },
        february: Bounds {
            temperature: (15.83, 22.46),
            salinity: (34.37, 34.96),
            volume: (764.34, 872.49),
        },
        march: Bounds {
            temperature: (15.89, 23.18),
            salinity: (34.36, 35.0),
            volume: (766.03, 880.35),
        },
        otherwise: Bounds {
            temperature: (0.411, 30.275),
            salinity: (29.653, 39.854),
            volume: (509.494, 989.085),
        },
    },
    Ocean {
        name: "Pacific",
        january: Bounds {
            temperature: (18.19, 21.32),
            salinity: (34.3, 34.73),
            volume: (816.22, 867.24),
        },
        february: Bounds {
            temperature: (17.91, 21.63),
            salinity: (34.24, 34.77),
            volume: (806.72, 874.94),
        },
        march: Bounds {
            temperature: (17.25, 22.19),
            salinity: (34.25, 34.76),
            volume: (801.86, 879.49),
        },
        otherwise: Bounds {
            temperature: (-1.904, 29.847),
            salinity: (29.218, 36.504),
            volume: (418.069, 989.085),
        },
    },
    Ocean {
        name: "Southern",
        january: Bounds {
            temperature: (0.0, 0.96),
            salinity: (33.81, 33.95),
            volume: (375.74, 438.3),
        },
        february: Bounds {
            temperature: (0.16, 1.14),
            salinity: (33.8, 33.98),
            volume: (372.27, 433.22),
        },
        march: Bounds {
            temperature: (-0.21, 1.25),
            salinity: (33.79, 33.97),
            volume: (392.8, 440.7),
        },
        otherwise: Bounds {
            temperature: (-2.183, 6.0),
            salinity: (33.245, 34.657),
            volume: (222.53, 479.591),
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        let day = |days: i64| month(days * 86_400_000);
        assert_eq!(
            (day(0), day(30), day(31), day(58), day(59)),
            (1, 1, 2, 2, 3)
        );
        // The last day of 1969, a leap day, and the days around it.
        assert_eq!(
            (day(-1), day(18_320), day(18_321), day(18_322)),
            (12, 2, 2, 3)
        );
        assert_eq!(month(1_577_836_800_000), 1);
        assert_eq!(month(1_577_836_799_999), 12);
        assert_eq!(month(4_102_444_800_000), 1);
        for month_number in 4..=12 {
            // The 15th of each month of 2020.
            let days = [
                18_367, 18_397, 18_428, 18_458, 18_489, 18_520, 18_550, 18_581, 18_611,
            ];
            assert_eq!(day(days[month_number as usize - 4]), month_number);
        }
    }

    #[test]
    fn a_window_has_the_bounds_of_its_month() {
        let arctic = ocean("Arctic").unwrap();
        assert_eq!(arctic.bounds(1_577_836_800_000), &arctic.january);
        assert_eq!(arctic.bounds(1_577_836_799_999), &arctic.otherwise);
        assert_eq!(arctic.bounds(1_582_934_400_000), &arctic.february);
        assert_eq!(arctic.bounds(1_583_020_800_000), &arctic.march);
    }
}
