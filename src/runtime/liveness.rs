//! Processing is not heartbeat: keeps the members of an application alive while their workers are busy,
//! and reports what they are busy with.
//!
//! ```text
//!  worker  -- keep, at --> Liveness <-- beat, each third of a session -- the liveness thread
//!                             |
//!                             +--> the group: this process lives    +--> Status: expelled, stuck
//! ```
//!
//! A worker that is stuck in a closure cannot send heartbeats. They are sent from here, so that a slow
//! closure costs no worker its place; the group takes the worker's tasks away once it has not polled for
//! `max_poll_interval_ms`, and the next heartbeat reports that.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::snapshot::Stuck;
use crate::base::{ErrorKind, TaskId};
use crate::log::Heartbeat;
use crate::task::{Place, Task, TaskSpec};

/// The time after which a record is shown as slow, in milliseconds.
const STUCK_MS: u64 = 1_000;
/// How often a very slow closure is logged, in milliseconds.
const WARN_MS: u64 = 60_000;
/// The longest and shortest interval between heartbeats.
const BEAT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The heartbeats of an application's members.
#[derive(Default)]
pub(super) struct Liveness {
    hearts: Mutex<BTreeMap<String, Heart>>,
    /// Whether the auxiliary threads must end.
    ended: Mutex<bool>,
    end: Condvar,
}

#[derive(Default)]
struct Heart {
    /// `None` while the worker has no place in the group.
    heartbeat: Option<Box<dyn Heartbeat>>,
    activity: Arc<Activity>,
    warned_at_ms: Option<u64>,
}

/// What a worker is doing, for others to read.
#[derive(Default)]
pub(super) struct Activity(Mutex<Option<Step>>);

struct Step {
    since_ms: u64,
    task: TaskId,
    spec: Arc<TaskSpec>,
    place: Arc<Place>,
}

impl Activity {
    /// A task begins a step.
    pub(super) fn begin(&self, task: &Task, now_ms: u64) {
        *lock(&self.0) = Some(Step {
            since_ms: now_ms,
            task: task.id().clone(),
            spec: Arc::clone(task.spec()),
            place: Arc::clone(task.place()),
        });
    }

    /// The worker has returned to its other duties.
    pub(super) fn end(&self) {
        *lock(&self.0) = None;
    }

    fn stuck(&self, now_ms: u64) -> Option<Stuck> {
        let step = lock(&self.0);
        let step = step.as_ref()?;
        let for_ms = now_ms.saturating_sub(step.since_ms);
        if for_ms < STUCK_MS {
            return None;
        }
        let (partition, offset) = step.place.record(&step.spec)?;
        Some(Stuck {
            for_ms,
            task: step.task.clone(),
            node: step.place.node(&step.spec).unwrap_or_default(),
            partition,
            offset,
        })
    }
}

impl Liveness {
    /// A worker's activity, which the worker keeps up to date.
    pub(super) fn activity(&self, worker: &str) -> Arc<Activity> {
        let mut hearts = lock(&self.hearts);
        Arc::clone(&hearts.entry(worker.to_owned()).or_default().activity)
    }

    /// Sends a member's heartbeats from now on; `None` when it has lost or left its place.
    pub(super) fn keep(&self, worker: &str, heartbeat: Option<Box<dyn Heartbeat>>) {
        let mut hearts = lock(&self.hearts);
        hearts.entry(worker.to_owned()).or_default().heartbeat = heartbeat;
    }

    /// Sends every heartbeat once; returns the workers that have lost their place since the last time.
    pub(super) fn beat(&self, now_ms: u64) -> Vec<String> {
        let mut expelled = Vec::new();
        for (worker, heart) in lock(&self.hearts).iter_mut() {
            let beaten = heart.heartbeat.as_ref().map(|heartbeat| heartbeat.beat());
            let stuck = heart.activity.stuck(now_ms);
            match beaten {
                Some(Err(error)) if error.kind() == ErrorKind::Fenced => {
                    // A worker that is not stuck finds out itself, and reports it next time.
                    heart.heartbeat = None;
                    expelled.push(worker.clone());
                }
                Some(Err(error)) => tracing::debug!(%worker, %error, "a heartbeat"),
                Some(Ok(())) | None => {}
            }
            let Some(stuck) = stuck else {
                heart.warned_at_ms = None;
                continue;
            };
            let warned_at_ms = *heart.warned_at_ms.get_or_insert(now_ms - stuck.for_ms);
            if now_ms >= warned_at_ms.saturating_add(WARN_MS) {
                heart.warned_at_ms = Some(now_ms);
                tracing::warn!(
                    %worker,
                    %stuck,
                    "a worker is stuck; its other tasks wait for at most `max_poll_interval_ms`"
                );
            }
        }
        expelled
    }

    /// The workers that have been busy with one record for long.
    pub(super) fn stuck(&self, now_ms: u64) -> BTreeMap<String, Stuck> {
        let hearts = lock(&self.hearts);
        let one = |(worker, heart): (&String, &Heart)| {
            let stuck = heart.activity.stuck(now_ms)?;
            Some((worker.clone(), stuck))
        };
        hearts.iter().filter_map(one).collect()
    }

    /// The wait of the liveness thread between two heartbeats; `false` once it must end.
    pub(super) fn pause_beating(&self, session_timeout_ms: u64) -> bool {
        let (least, most) = BEAT;
        self.pause(Duration::from_millis(session_timeout_ms / 3).clamp(least, most))
    }

    /// The wait of an auxiliary thread between two checks; `false` once it must end. It uses the
    /// machine's clock, even if the application uses another.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let ended = lock(&self.ended);
        let waited = self.end.wait_timeout_while(ended, pause, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*ended
    }

    /// Ends the auxiliary threads.
    pub(super) fn end(&self) {
        *lock(&self.ended) = true;
        self.end.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
