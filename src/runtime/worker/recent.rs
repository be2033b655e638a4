//! How often something happened lately.

use std::collections::VecDeque;

/// What happened within the last while, by the monotonic clock.
#[derive(Debug)]
pub(super) struct Recent<T> {
    within_ms: u64,
    events: VecDeque<(T, u64)>,
}

impl<T: PartialEq> Recent<T> {
    pub(super) fn new(within_ms: u64) -> Self {
        Self {
            within_ms,
            events: VecDeque::new(),
        }
    }

    /// Notes an event at `now_ms`; returns how often it happened lately, this time included.
    pub(super) fn note(&mut self, event: T, now_ms: u64) -> usize {
        let since_ms = now_ms.saturating_sub(self.within_ms);
        self.events.retain(|(_, at_ms)| *at_ms >= since_ms);
        self.events.push_back((event, now_ms));
        let (event, _) = &self.events[self.events.len() - 1];
        self.events
            .iter()
            .filter(|(known, _)| known == event)
            .count()
    }
}
