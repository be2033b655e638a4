//! An outage of the log is waited out, for as long as it lasts.
//!
//! ```text
//!  the log is unreachable        Outage      ask again, at growing intervals
//!  commits are aborted           GoingBack   the same, from what is committed
//!  a commit is not answered      in flight   ask for the answer, at growing intervals
//! ```
//! All three are waited out; an error that cannot be recovered from ends the worker.

use std::time::Duration;

use super::{Phase, Turn, Worker};
use crate::base::{Error, ErrorKind, Result};
use crate::log::{Reader, Writer};
use crate::runtime::context::Context;
use crate::runtime::shared::Shared;

/// The first pause after the log gave no answer, in milliseconds; it doubles up to the largest.
const BACKOFF_MS: u64 = 20;
const BACKOFF_MS_MAX: u64 = 1_000;

/// The pause after this many refusals in a row.
pub(super) fn backoff_ms(times: u32) -> u64 {
    (BACKOFF_MS << times.min(10)).min(BACKOFF_MS_MAX)
}

/// Why a turn was not completed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The log is unreachable now. The work can be done later.
    Outage(Error),
    /// An error that cannot be recovered from.
    Final(Error),
}

/// Operations that may have to wait for the log.
pub(super) type Attempt<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The error of a request to the log. In other contexts an error of the same kind means something that a
/// retry does not fix.
pub(super) fn of_log(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => Failure::Outage(error),
        _ => Failure::Final(error),
    }
}

/// The log has not answered, or has refused something that it may accept later.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since_ms: u64,
    /// How often.
    pub(super) times: u32,
    pub(super) reason: String,
}

impl Outage {
    /// Counts one more refusal.
    pub(super) fn note(outage: &mut Option<Self>, now_ms: u64, error: &Error) -> u32 {
        let noted = outage.get_or_insert_with(|| Self {
            since_ms: now_ms,
            times: 0,
            reason: String::new(),
        });
        noted.times += 1;
        noted.reason = error.to_string();
        noted.times
    }
}

/// A worker's connections to the log.
pub(in crate::runtime) struct Ends {
    pub(super) reader: Box<dyn Reader>,
    pub(super) writer: Box<dyn Writer>,
}

impl Ends {
    /// Opens them for the worker of that name.
    ///
    /// # Errors
    /// As those of the log.
    pub(in crate::runtime) fn open(context: &Context, name: &str) -> Result<Self> {
        let id = format!("{}-{name}", context.layout.application);
        Ok(Self {
            reader: context.log.reader(context.settings.reader_bytes())?,
            writer: context
                .log
                .writer(&id, context.settings.uncommitted_bytes())?,
        })
    }

    /// The same, but waits out an outage of the log; `None` if the application stops in the meantime.
    ///
    /// # Errors
    /// As [`Ends::open`], and the outage once it has lasted longer than the settings allow.
    pub(in crate::runtime) fn open_patiently(shared: &Shared, name: &str) -> Result<Option<Self>> {
        let context = &shared.context;
        let since_ms = context.env.monotonic_ms();
        let mut times = 0;
        loop {
            let error = match Self::open(context, name) {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                opened => return opened.map(Some),
            };
            if context.shutdown.is_requested() {
                return Ok(None);
            }
            if context.env.monotonic_ms() - since_ms > context.settings.commit_retry_ms {
                return Err(error);
            }
            times += 1;
            tracing::debug!(worker = name, %error, "waiting for the log");
            shared.status.begins_late(name, since_ms, &error);
            context.env.sleep(Duration::from_millis(backoff_ms(times)));
        }
    }
}

impl Worker {
    /// The log was unreachable; the turn is repeated later.
    pub(super) fn note_outage(&mut self, error: &Error) -> Turn {
        let now_ms = self.context.env.monotonic_ms();
        let times = Outage::note(&mut self.outage, now_ms, error);
        if times == 1 {
            tracing::warn!(worker = %self.name, %error, "the log does not answer; waiting for it");
        }
        Turn::Wait {
            until_ms: now_ms + backoff_ms(times),
        }
    }

    pub(super) fn outage_is_over(&mut self) {
        if let Some(outage) = self.outage.take() {
            let waited_ms = self.context.env.monotonic_ms() - outage.since_ms;
            tracing::info!(worker = %self.name, waited_ms, "the log answers again");
        }
    }

    /// The longest outage so far.
    pub(super) fn longest_outage(&self) -> Option<&Outage> {
        let all = [&self.outage, &self.aborts, &self.unanswered];
        let all = all.into_iter().flatten();
        all.min_by_key(|outage| outage.since_ms)
    }

    /// Gives up if the settings or the end of the application require it.
    pub(super) fn check_patience(&self) -> Result<()> {
        let Some(outage) = self.longest_outage() else {
            return Ok(());
        };
        let now_ms = self.context.env.monotonic_ms();
        let waited_ms = now_ms - outage.since_ms;
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        let too_long = waited_ms > self.context.settings.commit_retry_ms;
        let too_late = stopping && now_ms >= self.context.shutdown.give_up_at_ms();
        if !(too_long || too_late) {
            return Ok(());
        }
        let Outage { times, reason, .. } = outage;
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the log has not answered for {waited_ms} ms, {times} times; restart to continue from the \
                 committed state: {reason}"
            ),
        ))
    }
}
