//! Calls from a task to its nodes besides records: at the start, when a timer is due, and before a commit
//! ([ADR 0024](../../docs/adr/0024-nodes-that-can-be-reached.md)).

use super::port::CalledNode;
use super::{Calls, Clock, NodeId, Stage, Task};
use crate::base::Result;

impl Task {
    /// Initializes the nodes that need it, once after the task was made and after each abort, and sets
    /// the wall clock, in milliseconds since 1970. A step does this by itself; call it earlier if timers
    /// must be set at a certain time.
    ///
    /// # Errors
    /// Any error of a node's initialization, whatever the policies: there is no record that could be
    /// skipped.
    pub fn begin(&mut self, wall_ms: i64) -> Result<()> {
        self.context.wall_ms = wall_ms;
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        for CalledNode { id, node } in self.called_for(|calls| calls.begins) {
            self.context.forget_clocks();
            let begun = self
                .context
                .attempt(Stage::Process, |context| node.init(context));
            begun.map_err(|error| error.context(format!("{} begins", self.node_name(id))))?;
        }
        Ok(())
    }

    /// When the next timer by the wall clock is due, in milliseconds since 1970.
    pub fn next_wall_timer_ms(&self) -> Option<i64> {
        self.context.timers.next_ms(Clock::Wall)
    }

    /// Fires the timers that are due by the wall clock, in milliseconds since 1970, each once. Not after
    /// the task has ended: everything downstream has closed.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn fire_wall_timers(&mut self, wall_ms: i64) -> Result<()> {
        self.begin(wall_ms)?;
        if self.ended || !self.context.timers.are_due(Clock::Wall, wall_ms) {
            return Ok(());
        }
        self.fire(Clock::Wall, wall_ms)
    }

    /// Fires the timers that are due by a clock, each once, in the order of the times for which they were
    /// set. A timer that fails and is skipped does not fire again before its next time.
    pub(super) fn fire(&mut self, clock: Clock, now_ms: i64) -> Result<()> {
        let mut fired = Vec::new();
        while let Some((id, timer)) = self.context.timers.take_due(clock, now_ms, &mut fired) {
            let Some(called) = self.called.iter().find(|called| called.id == id) else {
                continue;
            };
            let node = called.node.clone();
            self.context.forget_clocks();
            self.context
                .attempt(Stage::Process, |context| {
                    node.punctuate(&timer, now_ms, context)
                })
                .or_else(|error| {
                    let what = format!("timer {timer:?} of {}", self.node_name(id));
                    self.time_failed(error.context(what))
                })?;
        }
        Ok(())
    }

    /// Lets the nodes that hold something until a commit send it, parents before their children.
    pub(super) fn flush_caches(&mut self) -> Result<()> {
        for CalledNode { id, node } in self.called_for(|calls| calls.flushes) {
            self.context.forget_clocks();
            self.context.moved |= self.context.has_several_origins;
            self.context
                .attempt(Stage::Process, |context| node.flush(context))
                .or_else(|error| {
                    let what = format!("{} before a commit", self.node_name(id));
                    self.time_failed(error.context(what))
                })?;
        }
        Ok(())
    }

    fn called_for(&self, wants: impl Fn(Calls) -> bool) -> Vec<CalledNode> {
        let called = self.called.iter();
        let called = called.filter(|called| wants(self.spec.nodes[called.id.0].calls));
        called.cloned().collect()
    }

    fn node_name(&self, id: NodeId) -> String {
        let node = &self.spec.nodes[id.0];
        match &node.name {
            Some(name) => format!("{} {name}", node.operator),
            None => node.operator.to_owned(),
        }
    }
}
