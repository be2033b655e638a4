//! How time advances in a task: what it promises downstream, what its origins tell it, and its end.

use std::rc::Rc;

use super::inputs::Queue;
use super::origins::{CLOCK_HEADER, Carrier, ClockMark, HEADER_MAX};
use super::{NodeId, Source, Stage, Task, Tick};
use crate::base::{NO_TIMESTAMP, Result};
use crate::state::TASK_TIME;

impl Task {
    /// Ends the input: closes what is open, once every input is at its end and every origin has reported
    /// that it ended. Returns whether the task has ended.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn drain(&mut self, wall_ms: i64) -> Result<bool> {
        if self.ended {
            return Ok(true);
        }
        let spec = &self.spec;
        let origins_ended = |(position, queue): (usize, &Queue)| {
            let Some(origins) = &queue.origins else {
                return true;
            };
            // If there never was a record, no origin reports anything.
            let unused = spec.inputs[position].clocks == super::ClocksTo::Used
                && queue.time_ms == NO_TIMESTAMP
                && !origins.were_heard();
            origins.have_ended() || unused
        };
        if spec.in_loop {
            let queues = self.inputs.queues.iter().enumerate();
            let ready = queues.filter(|(position, queue)| {
                queue.is_at_end()
                    && !self.context.ends.has_come(*position)
                    && origins_ended((*position, queue))
            });
            let ready: Vec<usize> = ready.map(|(position, _)| position).collect();
            self.end_inputs(&ready, wall_ms)?;
            self.ended = self.context.ends.have_all_come();
            return Ok(self.ended);
        }
        let mut queues = self.inputs.queues.iter().enumerate();
        if !self.inputs.are_at_end() || !queues.all(origins_ended) {
            return Ok(false);
        }
        self.end_sources(|_| true, wall_ms)?;
        self.ended = true;
        Ok(true)
    }

    /// Ends some of the inputs: for a task that is a whole topology, whose parts must end in order.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub(crate) fn drain_topics(&mut self, topics: &[String], wall_ms: i64) -> Result<()> {
        let queues = self.inputs.queues.iter().enumerate();
        let ends = queues.filter(|(_, queue)| {
            let topic = &*queue.partition.topic;
            topics.iter().any(|name| name == topic)
        });
        let ends: Vec<usize> = ends.map(|(position, _)| position).collect();
        self.end_inputs(&ends, wall_ms)
    }

    /// Ends those sources whose inputs have now all ended.
    fn end_inputs(&mut self, ended: &[usize], wall_ms: i64) -> Result<()> {
        if ended.is_empty() {
            return Ok(());
        }
        self.context.ends.come(ended);
        let spec = self.spec.clone();
        let sources: Vec<NodeId> = ended.iter().map(|at| spec.inputs[*at].source).collect();
        let ends = &self.context.ends;
        let has_ended = |source: NodeId| sources.contains(&source) && ends.have_come_to(source);
        let inputs = spec.inputs.iter().filter(|input| has_ended(input.source));
        let topics: Vec<_> = inputs.map(|input| input.topic.clone()).collect();
        self.end_sources(|topic| topics.iter().any(|name| **name == *topic), wall_ms)
    }

    fn end_sources(&mut self, ends: impl Fn(&str) -> bool, wall_ms: i64) -> Result<()> {
        self.begin(wall_ms)?;
        self.flush_caches()?;
        let queues = self.inputs.queues.iter();
        let sources = distinct_sources(queues.filter(|queue| ends(&queue.partition.topic)));
        self.tick(sources, Tick::Ended, "at the end of the input")
    }

    fn tick(&mut self, sources: Vec<Rc<dyn Source>>, tick: Tick, when: &str) -> Result<()> {
        self.context.forget_clocks();
        sources.into_iter().try_for_each(|source| {
            self.context
                .attempt(Stage::Process, |context| source.tick(tick, context))
                .or_else(|error| self.time_failed(error.context(when)))
        })
    }

    /// Tells the operators that time has advanced, if it has and no record would tell them: whatever is
    /// due is sent. Called at the end of a step and before a commit.
    pub(super) fn settle_time(&mut self) -> Result<()> {
        let moved = std::mem::take(&mut self.context.moved) && self.context.has_several_origins;
        if !moved && self.context.knows_holds() {
            return Ok(());
        }
        let sources = distinct_sources(self.inputs.queues.iter());
        self.tick(sources, Tick::Moved, "as time moved")
    }

    /// Assumes that all inputs continue, for a task that is a whole topology.
    pub(crate) fn forget_input_ends(&mut self) {
        self.context.ends.forget_all();
    }

    /// Forgets that inputs have ended, here and downstream: the application is restarting and more may
    /// arrive. Origins count again with their previous clocks.
    pub fn forget_ends(&mut self) {
        for (position, queue) in self.inputs.queues.iter_mut().enumerate() {
            if let Some(origins) = &mut queue.origins {
                origins.forget_ends();
            }
            self.context.reached[position].time_ms = queue.reached_ms();
        }
        for sink in &self.sinks {
            sink.time.forget_end();
            self.context.effects.forget_clocks(sink.output);
        }
        self.context.ends.forget_all();
        self.ended = false;
    }

    /// Lets the next commit send its clocks to the readers of its repartition topics once more: those
    /// that moved to another instance may have started over.
    pub fn repeat_clocks(&mut self) {
        for sink in &self.sinks {
            self.context.effects.forget_clocks(sink.output);
        }
    }

    /// Sets which of the inputs, by position, are silent: read to their end, according to an answer of
    /// the log that is newer than the silence. To be called about once a second while there are any: each
    /// call renews the lease by which time advances without them.
    pub fn renew_silence(&mut self, silent: &[bool]) {
        let is_silent = |input: usize| silent.get(input).copied().unwrap_or(false);
        let reached = &mut self.context.reached;
        for position in 0..reached.len() {
            if !is_silent(position) {
                reached[position].end_lease();
                continue;
            }
            let others = reached.iter().enumerate();
            let others = others.filter(|(other, _)| *other != position);
            let others = others.map(|(_, other)| other.counted_ms());
            let ahead_ms = others.filter(|ms| *ms != i64::MAX).max();
            reached[position].renew_lease(ahead_ms.unwrap_or(NO_TIMESTAMP));
            self.context.moved = true;
        }
        for sink in &mut self.sinks {
            sink.silent = sink.bound.inputs().all(is_silent);
        }
    }

    /// Whether [`Task::drain`] has ended the task and no record came since.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether [`Task::drain`] has ended some of its inputs, and others continue: see
    /// [`TaskSpec::in_loop`].
    ///
    /// [`TaskSpec::in_loop`]: super::TaskSpec::in_loop
    pub fn has_ended_partly(&self) -> bool {
        self.context.ends.has_any_come() && !self.ended
    }

    /// Sets the wall clock, in milliseconds since 1970, for a task that is not stepped: it still has
    /// clocks to send.
    pub fn set_wall_ms(&mut self, wall_ms: i64) {
        self.context.wall_ms = wall_ms;
    }

    /// Completes the effects before they are taken for a commit: sends what is held until then and what
    /// is due, then promises the task's clock on each repartition topic, to the partitions that did not
    /// get it with a record; and stores the times of partitions in the state.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn before_commit(&mut self) -> Result<()> {
        self.flush_caches()?;
        self.settle_time()?;
        for sink in &mut self.sinks {
            if !sink
                .bound
                .inputs()
                .all(|input| self.context.ends.may_have_come(input))
            {
                // The end of one input arrived directly, and another input continues.
                sink.time.forget_end();
            }
            let is_silent = std::mem::take(&mut sink.silent);
            let spec = self.context.effects.output(sink.output);
            if spec.clocked {
                sink.time.advance(self.context.floor_ms(&sink.bound));
            }
            let clock_ms = sink.time.clock_ms();
            // An origin that has reported its end need not keep reporting that it is silent.
            let silent = is_silent && clock_ms != i64::MAX;
            let carrier = match silent {
                true => Carrier::Silent,
                false => Carrier::Alone,
            };
            let news = clock_ms != NO_TIMESTAMP || carrier == Carrier::Silent;
            if !news || (!spec.clocked && clock_ms != i64::MAX) {
                continue;
            }
            let mark = ClockMark::alone(carrier, self.spec.partition, clock_ms);
            let mut bytes = [0; HEADER_MAX];
            let mark = (CLOCK_HEADER, mark.encode(&mut bytes));
            let (wall_ms, effects) = (self.context.wall_ms, &mut self.context.effects);
            effects.send_clock(sink.output, mark, clock_ms, silent, wall_ms);
        }
        if self.spec.is_stateful() {
            let task_time = self.state.time(TASK_TIME);
            task_time.raise(self.context.stream_time_ms);
        }
        for (slot, queue) in self.partition_times.iter().zip(&self.inputs.queues) {
            slot.raise(queue.time_ms);
        }
        self.time_limit.note(self.context.wall_ms, &self.state);
        Ok(())
    }
}

/// Each source once, though it may read several topics.
fn distinct_sources<'a>(queues: impl Iterator<Item = &'a Queue>) -> Vec<Rc<dyn Source>> {
    let mut sources: Vec<Rc<dyn Source>> = Vec::new();
    for queue in queues {
        if !sources.iter().any(|known| Rc::ptr_eq(known, &queue.source)) {
            sources.push(queue.source.clone());
        }
    }
    sources
}
