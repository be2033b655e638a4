//! How far time has advanced at a node: the minimum over the inputs that can cause a record there, and no
//! more than what an operator in between still holds or may emit (ADR 0010).

use crate::base::NO_TIMESTAMP;

/// What determines the time at a node; see [`Context::floor_ms`](super::Context::floor_ms).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeBound {
    pub(super) terms: Vec<Term>,
    pub(super) several_origins: bool,
}

/// One of the things that time waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// An input of the task, by position.
    Input(usize),
    /// An operator that holds records back.
    Held {
        hold: HoldId,
        /// What determines the time at that operator.
        upstream: TimeBound,
    },
}

/// An operator of the task that holds records back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldId(pub(super) usize);

/// What an operator holds back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// How far behind the time that has reached the operator a later record of it may be.
    pub(super) behind_ms: i64,
    /// The oldest timestamp that it holds, `i64::MAX` if none; `None` until it has checked.
    pub(super) oldest_ms: Option<i64>,
    /// The number of undone records at that check: if it differs, the check is repeated.
    pub(super) undone: u64,
}

impl Hold {
    pub(super) fn new(behind_ms: i64) -> Self {
        Self {
            behind_ms,
            oldest_ms: None,
            undone: 0,
        }
    }

    /// What is promised downstream of the operator when time upstream has reached `reached_ms`.
    pub(super) fn promise_ms(&self, reached_ms: i64, undone: u64) -> i64 {
        match self.oldest_ms.filter(|_| self.undone == undone) {
            Some(oldest_ms) if reached_ms == i64::MAX => oldest_ms,
            Some(oldest_ms) => oldest_ms.min(reached_ms.saturating_sub(self.behind_ms)),
            None => NO_TIMESTAMP,
        }
    }
}

impl TimeBound {
    /// Whether records of several upstream tasks can reach the node: time then waits for the slowest.
    /// Otherwise the rule is Kafka Streams': the largest timestamp seen.
    #[inline]
    pub fn has_several_origins(&self) -> bool {
        self.several_origins
    }

    /// The inputs that reach the node, by position; one may occur twice.
    pub(super) fn inputs(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        Box::new(self.terms.iter().flat_map(|term| match term {
            Term::Input(input) => Box::new(std::iter::once(*input)) as Box<dyn Iterator<Item = _>>,
            Term::Held { upstream, .. } => upstream.inputs(),
        }))
    }

    /// The minimum over everything that time waits for; `i64::MAX` if there is nothing.
    #[inline]
    pub(super) fn least(
        &self,
        input_ms: &impl Fn(usize) -> i64,
        held_ms: &impl Fn(HoldId, i64) -> i64,
    ) -> i64 {
        let mut least_ms = i64::MAX;
        for term in &self.terms {
            let term_ms = match term {
                Term::Input(input) => input_ms(*input),
                Term::Held { hold, upstream } => held_ms(*hold, upstream.least(input_ms, held_ms)),
            };
            least_ms = least_ms.min(term_ms);
        }
        least_ms
    }
}

/// How far an input of the task has advanced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// The promise of the slowest of its origins or, for a user's topic, the largest timestamp read;
    /// `i64::MAX` once all origins have ended.
    pub(super) time_ms: i64,
    /// A user's topic that is silent holds nothing back up to this time (see [`Reached::renew_lease`]).
    lease_ms: i64,
    /// What the lease will be at the next renewal.
    offered_ms: Option<i64>,
    /// Whether records advance it: not if time waits for several origins, which report it.
    pub(super) by_records: bool,
}

impl Reached {
    pub(super) fn new(time_ms: i64, by_records: bool) -> Self {
        Self {
            by_records,
            time_ms,
            lease_ms: NO_TIMESTAMP,
            offered_ms: None,
        }
    }

    /// How far it has advanced, or may be assumed to have advanced while it is silent.
    #[inline]
    pub(super) fn counted_ms(&self) -> i64 {
        self.time_ms.max(self.lease_ms)
    }

    /// The input is still silent: it no longer holds anything back up to what the other inputs had at the
    /// previous renewal.
    pub(super) fn renew_lease(&mut self, others_ms: i64) {
        if let Some(offered_ms) = self.offered_ms.replace(others_ms) {
            self.lease_ms = self.lease_ms.max(offered_ms);
        }
    }

    /// The input is no longer silent.
    pub(super) fn end_lease(&mut self) {
        self.lease_ms = NO_TIMESTAMP;
        self.offered_ms = None;
    }
}
