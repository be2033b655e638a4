//! How often the rows of a task were rebuilt because they were damaged.

use super::recent::Recent;
use crate::base::TaskId;

/// How often the rows of a task may be found damaged within that time, in milliseconds.
const REBUILDS_MOST: usize = 3;
const WITHIN_MS: u64 = 60 * 60 * 1_000;

/// When the rows of which task were found damaged.
#[derive(Debug)]
pub(super) struct Rebuilds(Recent<TaskId>);

impl Default for Rebuilds {
    fn default() -> Self {
        Self(Recent::new(WITHIN_MS))
    }
}

impl Rebuilds {
    /// Counts a task whose rows are damaged; returns whether they are to be rebuilt. A disk that damages them again
    /// and again is not worked around for ever.
    pub(super) fn may_rebuild(&mut self, task: &TaskId, now_ms: u64) -> bool {
        self.0.note(task.clone(), now_ms) <= REBUILDS_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_damage_of_a_task_within_an_hour_is_not_repaired() {
        let (one, other) = (TaskId::new("counts", 0), TaskId::new("counts", 1));
        let mut rebuilds = Rebuilds::default();
        for at_ms in 0..3 {
            assert!(rebuilds.may_rebuild(&one, at_ms));
            assert!(rebuilds.may_rebuild(&other, at_ms), "each counts alone");
        }
        assert!(!rebuilds.may_rebuild(&one, WITHIN_MS));
        // The first three were more than an hour ago.
        assert!(rebuilds.may_rebuild(&one, WITHIN_MS + 3));
    }
}
