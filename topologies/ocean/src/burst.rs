//! Bursts of results on plain output: some are printed as they are, the others summed up in one line.

/// Lines that are printed as they are, between two summaries.
const SHOWN: u64 = 5;

/// What arrived since the last summary.
#[derive(Debug, Default)]
pub struct Burst {
    taken: u64,
    /// Of those that were not shown: the earliest and the latest window, in milliseconds since 1970.
    hidden_ms: Option<(i64, i64)>,
}

/// A summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// How many were not shown.
    pub count: u64,
    /// The earliest of their windows, in milliseconds since 1970.
    pub from_ms: i64,
    /// The latest.
    pub to_ms: i64,
}

impl Burst {
    /// Takes a result of the window that starts then; returns whether it should be printed itself.
    pub fn take(&mut self, window_start_ms: i64) -> bool {
        self.taken += 1;
        if self.taken <= SHOWN {
            return true;
        }
        let (from_ms, to_ms) = self.hidden_ms.unwrap_or((i64::MAX, i64::MIN));
        self.hidden_ms = Some((from_ms.min(window_start_ms), to_ms.max(window_start_ms)));
        false
    }

    /// The results not shown since the last call; from here on results are shown again.
    pub fn end(&mut self) -> Option<Hidden> {
        let burst = std::mem::take(self);
        let (from_ms, to_ms) = burst.hidden_ms?;
        Some(Hidden {
            count: burst.taken - SHOWN,
            from_ms,
            to_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_a_few_lines_and_a_summary() {
        let mut burst = Burst::default();
        let shown = (0..882).filter(|window| burst.take(1_000 - window)).count();
        assert_eq!(shown, 5);
        let hidden = Hidden {
            count: 877,
            from_ms: 119,
            to_ms: 995,
        };
        assert_eq!(burst.end(), Some(hidden));
        assert_eq!(burst.end(), None);
        assert!(burst.take(7));
        assert_eq!(burst.end(), None);
    }
}
