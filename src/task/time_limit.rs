//! How far ahead of the wall clock a timestamp may be: one record from the year 2099 would make
//! everything after it late, permanently.

use super::TaskSpec;
use super::origins::Origins;
use crate::base::{Error, NO_TIMESTAMP};
use crate::state::{StoredTime, TaskState};

/// How often the wall clock is stored with the state, in milliseconds.
const NOTE_MS: i64 = 60_000;

/// The limit, and the wall clock at the task's last commit.
pub(super) struct TimeLimit {
    /// How far ahead, in milliseconds; `None` for no limit.
    pub(super) ahead_max_ms: Option<i64>,
    /// The wall clock at about the last commit, stored with the state if there is any.
    noted: Option<StoredTime>,
    /// The latest wall clock that was seen.
    latest_ms: i64,
}

impl TimeLimit {
    pub(super) fn new(spec: &TaskSpec, state: &TaskState) -> Self {
        let noted = spec.is_stateful().then(|| state.time("wall"));
        Self {
            ahead_max_ms: None,
            latest_ms: noted.as_ref().map_or(NO_TIMESTAMP, StoredTime::get),
            noted,
        }
    }

    /// The latest timestamp that is accepted from an input. Only topics of the user's are checked:
    /// records on a repartition topic were checked before. And only against a wall clock that has not
    /// been set back: a device without a battery boots in 1970.
    pub(super) fn latest_ms(&self, origins: &Option<Origins>, wall_ms: i64) -> Option<i64> {
        let ahead_max_ms = self.ahead_max_ms.filter(|_| origins.is_none())?;
        (wall_ms >= self.latest_ms).then(|| wall_ms.saturating_add(ahead_max_ms))
    }

    #[cold]
    pub(super) fn refuse(timestamp_ms: i64, latest_ms: i64) -> Error {
        Error::user(format!(
            "timestamp {timestamp_ms} is {} ms later than any that is taken now; a wrong clock would \
             make late what comes after it. `Settings::timestamp_ahead_max_ms` is the limit, `None` \
             switches it off; `Consumed::accept` refuses such records without an error",
            timestamp_ms.saturating_sub(latest_ms)
        ))
    }

    /// Stores the wall clock of a commit, about once a minute.
    pub(super) fn note(&mut self, wall_ms: i64, state: &TaskState) {
        if self.ahead_max_ms.is_none() || wall_ms <= self.latest_ms {
            return;
        }
        self.latest_ms = wall_ms;
        if let Some(noted) = &self.noted
            && (wall_ms - noted.get() >= NOTE_MS || noted.get() == NO_TIMESTAMP)
            && state.has_new_times()
        {
            noted.set(wall_ms);
        }
    }
}
