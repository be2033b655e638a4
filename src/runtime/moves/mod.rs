//! Times move with their owners.
//!
//! The times of operators and timers are in the changelog of their task. A task is named after its sub-topology,
//! and that after its smallest store: a store with a smaller name renames it. So a compacted topic,
//! `<application>-topology`, records for each store, node with timers, source and repartition topic which task
//! changelog has its times. Before an instance opens its first task it compares this with its topology
//! ([ADR 0028](../../../docs/adr/0028-times-move-with-their-nodes.md)):
//!
//! ```text
//!  New
//!   |  1  open the record's writer: this fences the writer before it, and settles its open transaction
//!   |  2  read the record                         does it match the topology? --> Settled
//!   |  3  read the task changelogs of what moves, up to the last commits of the earlier tasks
//!   |  4  one commit: times in their new changelogs, deletions in the old ones, the record
//!   v
//!  Settled       after any failure: New again, and the job that met it is retried
//! ```
//!
//! - *Two at once*: the one that opens the writer later fences the other, whose commit then has no effect; that
//!   one starts over and finds the record up to date. So it happens once.
//! - *A crash*: the commit happened or it did not, and the next instance sees which.
//! - *An instance that hangs before step 4 and continues when others run another topology*: they have opened the
//!   writer since then, whatever the record said, so it is fenced.
//! - *Tasks of the previous topology*: none of them is running, since a group refuses members with other tasks. An
//!   expelled one may have a commit in flight: step 3 asks for the group's offsets first, and what it reads
//!   afterwards includes everything that those offsets cover.

mod plan;
mod settling;
mod unread;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use plan::Plan;

use self::settling::{Settling, Step};
use super::context::Context;
use super::record::{Homes, Record, Wanted};
use crate::base::Result;
use crate::log::Log;

/// How far an instance has got.
#[derive(Default)]
pub(super) struct Moves {
    stage: Mutex<Stage>,
    /// Whether it was settled once: then what the start leaves behind is noted, once.
    is_noted: AtomicBool,
}

#[derive(Default)]
enum Stage {
    #[default]
    New,
    Working(Box<Settling>),
    Settled(Arc<Homes>),
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Done,
    More,
    /// The log returned nothing.
    Waits,
}

impl Moves {
    /// Does one step, whoever calls; others wait for it. Does nothing once all is settled.
    ///
    /// # Errors
    /// `Invalid` for what cannot move, `Corrupt` for a record that cannot be read; `Unavailable` for temporary
    /// failures, for instance if another instance is doing the same: then it starts over.
    pub(super) fn step(&self, context: &Context, wait: Duration) -> Result<Moved> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Settled(_) = &*stage {
            return Ok(Moved::Done);
        }
        if !context.layout.keeps_record {
            *stage = Stage::Settled(Arc::default());
            return Ok(Moved::Done);
        }
        if context.shutdown.is_requested() {
            return Ok(Moved::Waits);
        }
        // After a failure it stays new.
        let mut settling = match std::mem::take(&mut *stage) {
            Stage::Working(settling) => settling,
            Stage::New | Stage::Settled(_) => {
                let notes = &context.layout.notes;
                let notes = match self.is_noted.load(Ordering::Acquire) {
                    true => notes.later(),
                    false => notes.clone(),
                };
                Box::new(Settling::begin(context, notes)?)
            }
        };
        let (next, moved) = match settling.step(context, wait)? {
            Step::Done(homes) => {
                self.is_noted.store(true, Ordering::Release);
                (Stage::Settled(Arc::new(homes)), Moved::Done)
            }
            Step::More => (Stage::Working(settling), Moved::More),
            Step::Waits => (Stage::Working(settling), Moved::Waits),
        };
        *stage = next;
        Ok(moved)
    }

    /// Where times are; `None` until that is settled.
    #[cfg_attr(
        not(feature = "rocksdb"),
        allow(
            dead_code,
            reason = "there are no directories that could have other names"
        )
    )]
    pub(super) fn homes(&self) -> Option<Arc<Homes>> {
        match &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Settled(homes) => Some(Arc::clone(homes)),
            Stage::New | Stage::Working(_) => None,
        }
    }

    /// A place in the group was lost: others may have run another topology since then.
    pub(super) fn forget(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Settled(_) = &*stage {
            *stage = Stage::New;
        }
    }
}

/// Refuses a topology whose times could not move, or that would leave unread records in repartition topics, before
/// anything is created for it. `is_judged` selects the repartition topics that the settings have decided on.
///
/// # Errors
/// `Invalid` for what cannot move and for unread records; those of the log.
pub(super) fn check(
    record: &Record,
    log: &dyn Log,
    application: &str,
    wanted: &Wanted,
    is_judged: impl Fn(&str) -> bool,
) -> Result<()> {
    Plan::between(&record.homes, wanted).check(log, application, wanted)?;
    unread::check(log, application, &record.homes, wanted, is_judged)
}
