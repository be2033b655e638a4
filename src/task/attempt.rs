//! A part of the graph that runs as a whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Context, Policy, Stage};
use crate::base::{Error, ErrorKind, Result, panic_message};

impl Context {
    /// Runs a part of the graph that begins at a source; see [`Context::guarded`].
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

    /// Runs a part of the graph. If it fails and the policies call for it, nothing of what it did
    /// remains; a panic is an error of the user's closure.
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

    /// What becomes of what failed.
    pub(super) fn policy_of(&self, stage: Stage, error: &Error) -> Policy {
        // Only an error of the record itself can be skipped: a store that fails fails for all.
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

/// Runs what may call closures of the user's: a panic of theirs is an error of theirs.
fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(Error::user(format!("a closure panicked: {said}")))
    })
}
