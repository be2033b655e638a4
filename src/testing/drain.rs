//! The end of the input.

use super::Driver;
use crate::base::Result;

impl Driver {
    /// Ends the input: open windows close, upstream before downstream, and their results are processed to
    /// the end. Records may follow, but find the windows closed.
    ///
    /// # Errors
    /// As [`Driver::pipe_batch`].
    pub fn drain(&mut self) -> Result<()> {
        self.task.forget_input_ends();
        let steps = self.topology.ends().to_vec();
        for step in steps {
            let application = &self.identity.application;
            let topics = step.iter();
            let topics: Vec<_> = topics.map(|topic| topic.resolve(application)).collect();
            match self.task.drain_topics(&topics, self.wall_ms) {
                Ok(()) => self.commit()?,
                Err(error) => return Err(self.abort(error)?),
            }
            self.run_to_the_end()?;
        }
        Ok(())
    }
}
