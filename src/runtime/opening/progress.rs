//! What a snapshot says of tasks that are not running yet.

use crate::base::TaskId;

/// A task that is being opened and restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoringTask {
    /// Its name.
    pub task: TaskId,
    /// The worker that will run it.
    pub worker: String,
    /// How long it has been opening, in milliseconds before now.
    pub for_ms: u64,
    /// Changelog records that are done, counted by their offsets.
    pub records: u64,
    /// How many there are in all; 0 until the log has answered.
    pub records_total: u64,
    /// How long the rest will take at the current pace, in milliseconds; `None` until that is known.
    pub left_ms: Option<u64>,
}

/// A task that could not be opened and will be retried. The worker's other tasks continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTask {
    /// Its name.
    pub task: TaskId,
    /// The worker that will run it.
    pub worker: String,
    /// When it was first tried, in milliseconds before now.
    pub for_ms: u64,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, in milliseconds from now.
    pub next_try_in_ms: u64,
    /// Why the last attempt failed, and what to do.
    pub error: String,
}

/// How long the rest takes if `done` took `taken_ms`.
pub(super) fn left_ms(taken_ms: u64, done: u64, total: u64) -> Option<u64> {
    let left = u128::from(total.saturating_sub(done));
    let left_ms = (u128::from(taken_ms) * left).checked_div(u128::from(done))?;
    u64::try_from(left_ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_goes_at_the_pace_of_what_is_done() {
        assert_eq!(left_ms(2_000, 250, 1_000), Some(6_000));
        assert_eq!(left_ms(2_000, 1_000, 1_000), Some(0));
        assert_eq!(left_ms(2_000, 0, 1_000), None);
    }
}
