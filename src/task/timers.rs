//! The timers of a task's nodes: which are set, and which is due next.
//!
//! Each is stored as two times of the task's state, and so in its changelog: when it is due next, and its
//! interval. This module is an index over them, rebuilt when a record is undone or the task aborts.
//!
//! ```text
//!  timer/<node>/<timer>                     when it is due, in milliseconds by its clock
//!  timer-stream/<node>/<timer>              its interval in milliseconds, by stream time
//!  timer-wall/<node>/<timer>                the same, by the wall clock
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::NodeId;
use crate::base::{Error, NO_TIMESTAMP, Result};
use crate::state::NamedTimes;

/// The clock of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// The largest timestamp that the task has processed: it advances only with records.
    Stream,
    /// The wall clock: it advances without records too.
    Wall,
}

/// Both, in the order of arrays by clock.
const CLOCKS: [Clock; 2] = [Clock::Stream, Clock::Wall];

impl Clock {
    /// Prefixes of the names of intervals.
    fn prefix(self) -> &'static str {
        match self {
            Self::Stream => "timer-stream/",
            Self::Wall => "timer-wall/",
        }
    }
}

/// Prefixes of the names of due times.
const DUE: &str = "timer/";

/// A timer's place in the firing order: when it is due, the position of its node among those with timers,
/// parents first, and its name, `<node>/<timer>`.
pub(super) type Due = (i64, usize, Rc<str>);

#[derive(Debug)]
struct TimedNode {
    id: NodeId,
    name: String,
}

/// All timers of a task.
#[derive(Debug, Default)]
pub(super) struct Timers {
    times: NamedTimes,
    nodes: Vec<TimedNode>,
    /// The clock and interval of each timer that is set, by its name.
    set: BTreeMap<Rc<str>, (Clock, i64)>,
    due: [BTreeSet<Due>; 2],
}

impl Timers {
    /// Those of the nodes with timers, by name, parents first.
    pub(super) fn new(nodes: impl Iterator<Item = (NodeId, String)>, times: NamedTimes) -> Self {
        let nodes = nodes.map(|(id, name)| TimedNode { id, name });
        let mut timers = Self {
            times,
            nodes: nodes.collect(),
            ..Self::default()
        };
        timers.reload();
        timers
    }

    /// Rebuilds the index from the state.
    pub(super) fn reload(&mut self) {
        if self.nodes.is_empty() {
            return;
        }
        self.set.clear();
        self.due.iter_mut().for_each(BTreeSet::clear);
        for clock in CLOCKS {
            for (name, every_ms) in self.times.set_under(clock.prefix()) {
                let due_ms = self.times.slot(&format!("{DUE}{name}")).get();
                // A node that the topology no longer has keeps its timers, but nothing fires them.
                if let Some(position) = self.node_of(&name)
                    && due_ms != NO_TIMESTAMP
                {
                    let name: Rc<str> = name.into();
                    self.set.insert(name.clone(), (clock, every_ms));
                    self.due[clock as usize].insert((due_ms, position, name));
                }
            }
        }
    }

    fn node_of(&self, name: &str) -> Option<usize> {
        let (node, _) = name.split_once('/')?;
        self.nodes.iter().position(|known| known.name == node)
    }

    /// Whether some timer of that clock is due at `now_ms`.
    #[inline]
    pub(super) fn are_due(&self, clock: Clock, now_ms: i64) -> bool {
        let first = self.due[clock as usize].first();
        first.is_some_and(|(due_ms, ..)| *due_ms <= now_ms)
    }

    /// When the next timer of that clock is due.
    pub(super) fn next_ms(&self, clock: Clock) -> Option<i64> {
        let first = self.due[clock as usize].first();
        first.map(|(due_ms, ..)| *due_ms)
    }

    /// Takes the next timer that is due and not in `fired`, and sets it to its next time: the first one
    /// after `now_ms` that is a multiple of its interval away. Returns its node and its own name.
    pub(super) fn take_due(
        &mut self,
        clock: Clock,
        now_ms: i64,
        fired: &mut Vec<Rc<str>>,
    ) -> Option<(NodeId, String)> {
        let due = self.due[clock as usize].iter();
        let mut due = due.take_while(|(due_ms, ..)| *due_ms <= now_ms);
        let (due_ms, position, name) = due.find(|(_, _, name)| !fired.contains(name))?.clone();
        let (_, every_ms) = self.set.get(&name).copied()?;
        let missed = now_ms.saturating_sub(due_ms) / every_ms.max(1);
        let next_ms = missed.saturating_add(1).saturating_mul(every_ms);
        let next_ms = due_ms.saturating_add(next_ms);
        self.put(&name, position, clock, every_ms, next_ms);
        let timer = name.split_once('/').map(|(_, timer)| timer.to_owned());
        fired.push(name);
        Some((self.nodes[position].id, timer?))
    }

    /// Sets a timer that is not set yet.
    fn put(&mut self, name: &Rc<str>, position: usize, clock: Clock, every_ms: i64, due_ms: i64) {
        self.remove(name);
        self.times.slot(&format!("{DUE}{name}")).set(due_ms);
        let every = format!("{}{name}", clock.prefix());
        self.times.slot(&every).set(every_ms);
        self.set.insert(name.clone(), (clock, every_ms));
        self.due[clock as usize].insert((due_ms, position, name.clone()));
    }

    /// Removes a timer; returns whether it was set.
    fn remove(&mut self, name: &str) -> bool {
        let Some((name, (clock, _))) = self.set.remove_entry(name) else {
            return false;
        };
        let due = self.times.slot(&format!("{DUE}{name}"));
        let position = self.node_of(&name).unwrap_or_default();
        self.due[clock as usize].remove(&(due.get(), position, name.clone()));
        due.set(NO_TIMESTAMP);
        let every = format!("{}{name}", clock.prefix());
        self.times.slot(&every).set(NO_TIMESTAMP);
        true
    }

    fn position(&self, node: NodeId) -> Result<usize> {
        let found = self.nodes.iter().position(|known| known.id == node);
        found.ok_or_else(|| {
            Error::user(
                "a timer was set by a node without timers; declare that it has some, and give it a name",
            )
        })
    }

    fn name(&self, position: usize, timer: &str) -> Rc<str> {
        format!("{}/{timer}", self.nodes[position].name).into()
    }

    /// Sets a timer: see [`Context::schedule`](super::Context::schedule).
    pub(super) fn schedule(
        &mut self,
        node: NodeId,
        timer: &str,
        first_ms: Option<i64>,
        every: Duration,
        clock: Clock,
        wall_ms: i64,
    ) -> Result<()> {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        if every_ms < 1 || timer.is_empty() || first_ms.is_some_and(|first_ms| first_ms < 0) {
            return Err(Error::user(format!(
                "timer {timer:?} each {every:?}, first at {first_ms:?}: a timer needs a name, an interval of a \
                 millisecond at least, and a first time that is not negative"
            )));
        }
        let position = self.position(node)?;
        let name = self.name(position, timer);
        let known = self.set.get(&name).copied();
        let kept_ms = known.filter(|(known, _)| *known == clock).map(|_| {
            let due = self.times.slot(&format!("{DUE}{name}"));
            due.get()
        });
        let first_ms = first_ms.unwrap_or(match clock {
            Clock::Stream => 0,
            Clock::Wall => wall_ms.saturating_add(every_ms),
        });
        let due_ms = kept_ms.unwrap_or(first_ms);
        self.put(&name, position, clock, every_ms, due_ms);
        Ok(())
    }

    /// Cancels a timer; returns whether it was set.
    pub(super) fn cancel(&mut self, node: NodeId, timer: &str) -> Result<bool> {
        let position = self.position(node)?;
        let name = self.name(position, timer);
        Ok(self.remove(&name))
    }
}
