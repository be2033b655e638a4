//! The time of a store whose rows expire, and the segments of its rows.
//!
//! A store has its own time: the largest time of a row ever put. The operator may hold it back with a
//! floor, the smallest clock over the origins of its input; the smaller of the two decides what is
//! readable and what is refused.

use std::cell::{Cell, RefCell};

use super::NO_TIME;
use super::kind::SegmentMap;
use super::times::{StoredTime, Times};

/// The time of a store, and how long a row lives by it.
#[derive(Debug)]
pub(super) struct StoreClock {
    observed: StoredTime,
    floor: StoredTime,
    retention_ms: i64,
}

/// The encoding of a floor in a slot: the value of an empty slot is also a valid floor.
fn floor_to_slot(floor_ms: i64) -> i64 {
    match floor_ms {
        i64::MAX => NO_TIME,
        floor_ms => floor_ms.max(NO_TIME) - i64::from(floor_ms < 0),
    }
}

fn floor_from_slot(slot: i64) -> i64 {
    match slot {
        NO_TIME => i64::MAX,
        slot => slot.max(NO_TIME),
    }
}

impl StoreClock {
    /// The clock of the store of that name.
    pub(super) fn new(name: &str, times: &Times, retention_ms: i64) -> Self {
        Self {
            observed: times.slot(&format!("store/{name}/observed")),
            floor: times.slot(&format!("store/{name}/floor")),
            retention_ms,
        }
    }

    /// The slot of the largest time.
    pub(super) fn observed(&self) -> &StoredTime {
        &self.observed
    }

    /// The largest time put; [`NO_TIME`] at first.
    pub(super) fn observed_ms(&self) -> i64 {
        self.observed.get()
    }

    #[inline]
    pub(super) fn observe(&self, time_ms: i64) {
        if time_ms > self.observed.get() {
            self.observed.set(time_ms);
        }
    }

    /// Holds back the time to `floor_ms`; `i64::MAX`, the default, does not. The time never goes back: a
    /// floor below it, or below the last one, changes nothing.
    pub(super) fn set_floor_ms(&self, floor_ms: i64) {
        let least_ms = match floor_from_slot(self.floor.get()) {
            i64::MAX => self.observed.get(),
            last_ms => last_ms,
        };
        self.floor.set(floor_to_slot(floor_ms.max(least_ms)));
    }

    /// A row is live if its time is larger than this.
    #[inline]
    pub(super) fn dead_until_ms(&self) -> i64 {
        let floor_ms = floor_from_slot(self.floor.get());
        let time_ms = self.observed.get().min(floor_ms);
        time_ms.saturating_sub(self.retention_ms)
    }

    /// The same, according to the times being committed.
    pub(super) fn dead_until_sealed_ms(&self) -> i64 {
        let floor_ms = floor_from_slot(self.floor.sealed());
        let time_ms = self.observed.sealed().min(floor_ms);
        time_ms.saturating_sub(self.retention_ms)
    }
}

/// The segments of a store.
#[derive(Debug)]
pub(super) struct Segments {
    map: RefCell<SegmentMap>,
    last: Cell<i64>,
}

impl Segments {
    pub(super) fn new(map: SegmentMap) -> Self {
        Self {
            map: RefCell::new(map),
            last: Cell::new(i64::MIN),
        }
    }

    pub(super) fn map(&self) -> &RefCell<SegmentMap> {
        &self.map
    }

    /// Whether the last row went to a segment other than this.
    #[inline]
    pub(super) fn is_other(&self, segment: i64) -> bool {
        self.last.get() != segment
    }

    /// A row is added to this segment. If it is the first one there, `before` is called with the existing
    /// segments.
    #[cold]
    pub(super) fn enter(&self, segment: i64, before: impl FnOnce(&SegmentMap)) {
        self.last.set(segment);
        let mut map = self.map.borrow_mut();
        if !map.contains_key(&segment) {
            before(&map);
            map.insert(segment, None);
        }
    }

    /// Removes the segments below `first_live` and returns them.
    pub(super) fn drop_below(&self, first_live: i64) -> Vec<i64> {
        let mut map = self.map.borrow_mut();
        let live = map.split_off(&first_live);
        let dead = std::mem::replace(&mut *map, live);
        self.last.set(i64::MIN);
        dead.into_keys().collect()
    }
}
