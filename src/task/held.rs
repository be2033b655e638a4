//! Rows that an operator holds until time passes, and what happens to one that cannot be passed on.
//!
//! Such a row would fail every record that advances time past it, now and later. So unless the policy is
//! to fail, the row is given up, not the record: each row is passed on under its own mark, and only what
//! a failing one did is undone.

use std::fmt;

use super::dead_letters::error_header;
use super::{Context, DropReason, Policy, Stage};
use crate::base::{Headers, Result};

/// A held row whose time has come.
#[derive(Clone, Copy, Debug)]
pub struct HeldRow<'a> {
    /// The store that holds it.
    pub store: &'a str,
    /// The bytes of its windowed key.
    pub key: &'a [u8],
    /// The bytes of its value.
    pub value: &'a [u8],
    /// The end of its window, in milliseconds.
    pub end_ms: i64,
    /// Its record's timestamp, in milliseconds.
    pub timestamp_ms: i64,
}

impl fmt::Display for HeldRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store, key, end_ms, ..
        } = self;
        let key = key.escape_ascii();
        write!(
            f,
            "the row that store {store} holds for the window that ends at {end_ms} and the windowed key {key}"
        )
    }
}

impl Context {
    /// Makes a record that is older than the one being handled, and for which the node has promised
    /// nothing more: it must not count as late by a clock that is ahead of it, as the clock of the
    /// current record may be.
    ///
    /// # Errors
    /// Those of `push`.
    pub fn push_older(
        &mut self,
        timestamp_ms: i64,
        push: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let clocks = self.clocks();
        let (late_ms, origin_ms, was_silent) = clocks;
        let no_later = |clock_ms: i64| clock_ms.min(timestamp_ms);
        self.set_clocks((late_ms.map(no_later), origin_ms.map(no_later), was_silent));
        let outcome = push(self);
        self.set_clocks(clocks);
        outcome
    }

    /// Passes on a row that was held until time passed. Its record has no origin: records sent because
    /// time passed have their own order, whichever record made it pass. An error, or a panic, is
    /// attributed to the row: unless the policy is to fail, everything the row did is undone, it is
    /// counted or sent to the dead letters, and the record that advanced time continues.
    ///
    /// # Errors
    /// Those of `push`, naming the row, if the policy is to fail.
    pub fn release(
        &mut self,
        row: HeldRow<'_>,
        headers: &Headers,
        push: impl FnOnce(&mut Self, Headers) -> Result<()>,
    ) -> Result<()> {
        let clocks = self.clocks();
        self.forget_clocks();
        let outer = self.enter(Stage::Process);
        let headers_out = headers.clone();
        let outcome = self.guarded(|context| push(context, headers_out));
        self.set_clocks(clocks);
        let stage = self.enter(outer);
        let Err(error) = outcome else {
            return Ok(());
        };
        let error = error.context(row);
        match self.policy_of(stage, &error) {
            Policy::Fail => {
                self.enter(stage);
                Err(error)
            }
            Policy::Skip | Policy::Continue => {
                tracing::warn!(stage = stage.name(), %error, "held row skipped");
                self.drops.count_failure(stage);
                self.drop_record(DropReason::Skipped);
                Ok(())
            }
            Policy::DeadLetter => {
                tracing::warn!(stage = stage.name(), %error, "held row sent to the dead letters");
                self.drops.count_failure(stage);
                let mut headers = headers.as_slice().to_vec();
                headers.push(error_header("store", row.store.to_owned()));
                let record = (Some(row.key), Some(row.value));
                let message = error.to_string();
                self.dead_letter(record, row.timestamp_ms, headers, stage, message)
            }
        }
    }
}
