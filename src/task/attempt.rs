//! Part of the graph that runs completely or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Context, DropReason, Policy, Stage};
use crate::base::{Error, ErrorKind, Result, panic_message};

impl Context {
    /// Runs part of the graph starting at a source; see [`Context::guarded`].
    #[inline]
    pub(super) fn attempt(
        &mut self,
        stage: Stage,
        run: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let clocks = self.clocks();
        self.stage = stage;
        let outcome = self.guarded(run);
        if outcome.is_err() {
            self.set_clocks(clocks);
        }
        outcome
    }

    /// Runs part of the graph. If it fails and the policies require it, everything it did is undone; a
    /// panic is an error of the user's closure.
    #[inline]
    pub(super) fn guarded(&mut self, run: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let drops = self.policies.needs_marks().then(|| {
            self.marks.set();
            self.effects.mark();
            self.drops
        });
        let overtaken = self.overtaken;
        let outcome = caught(|| run(self));
        self.overtaken = overtaken;
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::TooLarge
        {
            self.stage = Stage::Encode;
        }
        match (drops, &outcome) {
            (None, _) => {}
            (Some(_), Ok(())) => {
                self.marks.clear();
                self.effects.clear_mark();
            }
            (Some(drops), Err(_)) => {
                self.marks.undo()?;
                self.effects.undo_to_mark();
                self.drops = drops;
                self.undone += 1;
                self.timers.reload();
            }
        }
        outcome
    }

    /// Runs a node and those behind it. An error of an operator is counted and ends here, and what was done
    /// before it stays.
    pub(super) fn continuing(&mut self, run: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let (clocks, overtaken) = (self.clocks(), self.overtaken);
        let error = match caught(|| run(self)) {
            Err(error) if error.kind() == ErrorKind::User && self.stage == Stage::Process => error,
            outcome => return outcome,
        };
        self.set_clocks(clocks);
        self.overtaken = overtaken;
        tracing::warn!(topic = %self.topic, offset = self.offset, %error, "record dropped by an operator");
        self.drops.count_failure(Stage::Process);
        self.drop_record(DropReason::Skipped);
        Ok(())
    }

    /// What happens after a failure.
    pub(super) fn policy_of(&self, stage: Stage, error: &Error) -> Policy {
        // Only an error of the record itself can be skipped: a store that fails, fails for all records.
        let policy = match error.kind() {
            ErrorKind::User | ErrorKind::TooLarge => self.policies.of(stage),
            _ => Policy::Fail,
        };
        match (policy, self.dead_letters) {
            (Policy::DeadLetter, None) => Policy::Fail,
            _ => policy,
        }
    }
}

/// Runs code that may call user closures: a panic in one becomes its error.
fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(Error::user(format!("a closure panicked: {said}")))
    })
}
