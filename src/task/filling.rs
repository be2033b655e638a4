//! The work of a task of global stores: it fills them and commits nowhere.

use super::{StepLimits, Task};
use crate::base::Result;

/// How many records are processed before their rows are published.
const RECORDS_A_WRITE: usize = 1_000;

impl Task {
    /// Processes all records of the inputs: the work of a task of global stores, whose backend publishes the rows
    /// that it is given ([`GlobalBackend`](crate::state::GlobalBackend)). It commits nowhere.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn fill(&mut self, wall_ms: i64) -> Result<()> {
        let ends = vec![None; self.state.specs().len() + 1];
        loop {
            self.begin(wall_ms)?;
            let more = self
                .process(StepLimits::records(RECORDS_A_WRITE), wall_ms)?
                .more;
            self.state.seal()?;
            self.state.applied(&ends)?;
            if !more {
                return Ok(());
            }
        }
    }
}
