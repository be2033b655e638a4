//! The step machine: takes the next record, runs it through the graph, keeps the effects.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::inputs::Queue;
use super::origins::{CLOCK_HEADER, ClockMark, HEADER_MAX, Origins, SinkTime};
use super::{
    Context, DropReason, Drops, Effects, ErrorPolicies, Inputs, NodeId, OutputId, OutputSpec,
    Policy, Source, Stage, TaskSpec, Wiring,
};
use crate::base::{Error, NO_TIMESTAMP, Result, TaskId};
use crate::log::RecordRef;
use crate::state::{TASK_TIME, TaskState, TimeSlot};

/// What [`Task::process`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records taken from the inputs.
    pub records: usize,
    /// Whether there is a record that could be taken next.
    pub more: bool,
}

/// One partition of one sub-topology at work.
pub struct Task {
    id: TaskId,
    spec: Arc<TaskSpec>,
    policies: ErrorPolicies,
    /// The state; the runtime drives its commits and restores.
    pub state: TaskState,
    /// The queues in front of it; the runtime fills them.
    pub inputs: Inputs,
    context: Context,
    sinks: Vec<(OutputId, SinkTime)>,
    partition_times: Vec<TimeSlot>,
    ended: bool,
}

impl Task {
    /// Wires a task over its state.
    ///
    /// # Errors
    /// `Internal` when the topology is not consistent.
    pub fn new(
        id: TaskId,
        spec: Arc<TaskSpec>,
        mut state: TaskState,
        policies: ErrorPolicies,
    ) -> Result<Self> {
        state.set_changelog_limits(&spec.changelog_limits);
        let (context, inputs) = build(&spec, &state, policies)?;
        let clocked = spec
            .outputs
            .iter()
            .enumerate()
            .filter(|(_, output)| output.origins.is_some());
        let sink = |(position, output)| (OutputId(position), sink_time(&state, output));
        let sinks = clocked.map(sink).collect();
        let partition_times = partition_times(&spec, &state);
        Ok(Self {
            id,
            spec,
            policies,
            state,
            inputs,
            context,
            sinks,
            partition_times,
            ended: false,
        })
    }

    /// Its name.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// What it is made of.
    pub fn spec(&self) -> &Arc<TaskSpec> {
        &self.spec
    }

    /// Forgets everything since the last commit: effects, queues, overlays, and the graph, which is
    /// built anew from committed rows. The caller seeks the inputs.
    ///
    /// # Errors
    /// As [`Task::new`], and what the store reports.
    pub fn abort(&mut self) -> Result<()> {
        self.state.rollback()?;
        let drops = self.context.drops;
        let (mut context, inputs) = build(&self.spec, &self.state, self.policies)?;
        context.drops = drops;
        self.context = context;
        self.inputs = inputs;
        self.ended = false;
        Ok(())
    }

    /// Records dropped since the task was made, by reason.
    pub fn drops(&self) -> &Drops {
        &self.context.drops
    }

    /// The largest timestamp taken from any input, in milliseconds.
    pub fn stream_time_ms(&self) -> i64 {
        self.context.stream_time_ms
    }

    /// The records to be written.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.context.effects
    }

    /// Takes up to `max_records` records from the inputs, one after another by timestamp, and runs
    /// each through the graph.
    ///
    /// # Errors
    /// An error of a record whose policy is to fail, naming topic, partition and offset; or an error
    /// of a store. The task must then be aborted or dropped.
    pub fn process(&mut self, max_records: usize, wall_ms: i64) -> Result<Progress> {
        self.context.wall_ms = wall_ms;
        let mut records = 0;
        while let Some(position) = self.inputs.choose() {
            if records == max_records {
                return Ok(Progress {
                    records,
                    more: true,
                });
            }
            self.take(position)?;
            records += 1;
        }
        Ok(Progress {
            records,
            more: false,
        })
    }

    /// Ends the input: closes what is open, once every input is at its end and every origin has said
    /// that it ended (decision D10). Returns whether the task has ended.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn drain(&mut self, wall_ms: i64) -> Result<bool> {
        if self.ended {
            return Ok(true);
        }
        let origins_ended = |queue: &Queue| queue.origins.as_ref().is_none_or(Origins::have_ended);
        if !self.inputs.are_at_end() || !self.inputs.queues.iter().all(origins_ended) {
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
        self.end_sources(|topic| topics.iter().any(|name| name == topic), wall_ms)
    }

    fn end_sources(&mut self, ends: impl Fn(&str) -> bool, wall_ms: i64) -> Result<()> {
        self.context.wall_ms = wall_ms;
        self.context.forget_clocks();
        let mut sources: Vec<Rc<dyn Source>> = Vec::new();
        for queue in &self.inputs.queues {
            let known = |source| Rc::ptr_eq(source, &queue.source);
            if ends(&queue.partition.topic) && !sources.iter().any(known) {
                sources.push(queue.source.clone());
            }
        }
        let mut sources = sources.into_iter();
        sources.try_for_each(|source| {
            self.attempt(Stage::Process, |context| source.tick(i64::MAX, context))
                .or_else(|error| self.time_failed(error.context("at the end of the input")))
        })
    }

    /// Forgets that inputs have ended, here and downstream: the application starts anew and more may
    /// come. Origins count again with the clocks that they had.
    pub fn forget_ends(&mut self) {
        for (position, queue) in self.inputs.queues.iter().enumerate() {
            if let Some(origins) = &queue.origins {
                origins.forget_ends();
                self.context.floors[position] = origins.floor_ms();
            }
        }
        for (output, time) in &self.sinks {
            time.forget_end();
            self.context.effects.forget_clocks(*output);
        }
        self.ended = false;
    }

    /// Lets the next commit tell the readers of its repartition topics its clocks once more: those that
    /// moved to another instance may have begun anew.
    pub fn say_end_again(&mut self) {
        for (output, _) in &self.sinks {
            self.context.effects.forget_clocks(*output);
        }
    }

    /// Lets the readers of its repartition topics no longer wait for this task, until its next record
    /// (decision D10). Nothing is closed here.
    pub fn fall_silent(&mut self) {
        for (_, time) in &self.sinks {
            time.tick(i64::MAX, |_| i64::MAX);
        }
    }

    /// Whether [`Task::drain`] has ended the task and no record came since.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Completes the effects before they are taken for a commit: an origin that was silent on a
    /// partition sends its clock there, and the times of partitions go to the state.
    pub fn before_commit(&mut self) {
        for (output, time) in &self.sinks {
            let clock_ms = time.clock_ms();
            let clocked = self.context.effects.output(*output).clocked;
            if clock_ms == NO_TIMESTAMP || (!clocked && clock_ms != i64::MAX) {
                continue;
            }
            let mark = ClockMark::alone(self.spec.partition, clock_ms);
            let mut bytes = [0; HEADER_MAX];
            let effects = &mut self.context.effects;
            effects.send_clock(*output, CLOCK_HEADER, mark.encode(&mut bytes), clock_ms);
        }
        if self.spec.is_stateful() {
            let task_time = self.state.time(TASK_TIME);
            if self.context.stream_time_ms > task_time.get() {
                task_time.set(self.context.stream_time_ms);
            }
        }
        for (slot, queue) in self.partition_times.iter().zip(&self.inputs.queues) {
            if queue.time_ms > slot.get() {
                slot.set(queue.time_ms);
            }
        }
    }

    fn take(&mut self, position: usize) -> Result<()> {
        let Some(mut cursor) = self.inputs.queues[position].lend() else {
            return Ok(());
        };
        let taken = match cursor.next_record() {
            Ok(Some(raw)) => self.take_record(position, &raw),
            Ok(None) => Ok(()),
            Err(damage) => Err(damage),
        };
        let queue = &mut self.inputs.queues[position];
        queue.give_back(cursor);
        let found = queue.find_head();
        taken.and(found)
    }

    fn take_record(&mut self, position: usize, raw: &RecordRef<'_>) -> Result<()> {
        let Self {
            inputs, context, ..
        } = self;
        let queue = &mut inputs.queues[position];
        queue.position = raw.offset + 1;
        context.offset = raw.offset;
        if !Arc::ptr_eq(&context.topic, &queue.partition.topic) {
            context.topic = queue.partition.topic.clone();
        }
        context.forget_clocks();
        let mut moved_ms = None;
        if let Some(origins) = &mut queue.origins
            && let Some(mark) = ClockMark::of(raw)?
        {
            let before_ms = origins.time_ms();
            let clock_ms = origins.observe(mark)?;
            context.floors[position] = origins.floor_ms();
            let time_ms = origins.time_ms();
            moved_ms = (time_ms != before_ms && time_ms > NO_TIMESTAMP).then_some(time_ms);
            if mark.alone {
                return self.tick(position, moved_ms);
            }
            context.origin_clock_ms = Some(clock_ms);
            context.late_clock_ms = origins.are_several().then_some(clock_ms);
        }
        self.ended = false;
        self.handle(position, raw)?;
        self.tick(position, moved_ms)
    }

    /// Passes on that the time of an input has moved. Its end is left to [`Task::drain`], which waits
    /// for the other inputs too.
    fn tick(&mut self, position: usize, moved_ms: Option<i64>) -> Result<()> {
        let Some(time_ms) = moved_ms else {
            return Ok(());
        };
        self.context.forget_clocks();
        let source = self.inputs.queues[position].source.clone();
        let ticked = self.attempt(Stage::Process, |context| source.tick(time_ms, context));
        ticked.or_else(|error| {
            let place = &self.inputs.queues[position].partition;
            let error = error.context(format!("{place}, as time reached {time_ms} ms"));
            self.time_failed(error)
        })
    }

    /// Runs a record through the graph and applies the policies.
    fn handle(&mut self, position: usize, raw: &RecordRef<'_>) -> Result<()> {
        let source = self.inputs.queues[position].source.clone();
        let outcome = self.attempt(Stage::Decode, |context| {
            refuse_timestamp(raw.timestamp_ms)?;
            source.record(raw, context)
        });
        match outcome {
            Ok(()) => {
                let queue = &mut self.inputs.queues[position];
                queue.time_ms = queue.time_ms.max(raw.timestamp_ms);
                self.context.stream_time_ms = self.context.stream_time_ms.max(raw.timestamp_ms);
                Ok(())
            }
            Err(error) => self.failed(position, raw, error),
        }
    }

    /// Runs a part of the graph; if it fails and the policies call for it, nothing of what it did
    /// remains.
    fn attempt(
        &mut self,
        stage: Stage,
        run: impl FnOnce(&mut Context) -> Result<()>,
    ) -> Result<()> {
        let context = &mut self.context;
        let clocks = (context.late_clock_ms, context.origin_clock_ms);
        context.stage = stage;
        let outcome = context.guarded(run);
        if outcome.is_err() {
            (context.late_clock_ms, context.origin_clock_ms) = clocks;
        }
        outcome
    }

    /// What becomes of an error while only time moved: there is no record to be sent anywhere, so that
    /// both other policies count it and go on.
    fn time_failed(&mut self, error: Error) -> Result<()> {
        match self.context.policy_of(self.context.stage, &error) {
            Policy::Fail => Err(error),
            Policy::Skip | Policy::DeadLetter => {
                tracing::warn!(task = %self.id, %error, "passed over while time moved");
                self.context.drop_record(DropReason::Skipped);
                Ok(())
            }
        }
    }

    fn failed(&mut self, position: usize, raw: &RecordRef<'_>, error: Error) -> Result<()> {
        let stage = self.context.stage;
        let place = &self.inputs.queues[position].partition;
        match self.context.policy_of(stage, &error) {
            Policy::Skip => {
                tracing::warn!(%place, offset = raw.offset, stage = stage.name(), %error, "record skipped");
                self.context.drop_record(DropReason::Skipped);
                Ok(())
            }
            Policy::DeadLetter => {
                tracing::warn!(%place, offset = raw.offset, stage = stage.name(), %error, "dead letter");
                let headers = raw.headers_without(CLOCK_HEADER)?.as_slice().to_vec();
                let record = (raw.key, raw.value);
                let message = error.to_string();
                self.context
                    .dead_letter(record, raw.timestamp_ms, headers, stage, message)
                    .map_err(|error| error.context(format!("{place} at offset {}", raw.offset)))
            }
            Policy::Fail => Err(error.context(format!(
                "{place} at offset {}, {}",
                raw.offset,
                stage.name()
            ))),
        }
    }
}

fn build(spec: &TaskSpec, state: &TaskState, policies: ErrorPolicies) -> Result<(Context, Inputs)> {
    let effects = Effects::new(&spec.outputs);
    let sources = Wiring::wire(spec, state, &effects)?;
    let mut context = Context::new(effects, spec, state.marks().clone(), policies);
    let queues = queues(spec, state, &sources)?;
    for (position, queue) in queues.iter().enumerate() {
        if let Some(origins) = &queue.origins {
            context.floors[position] = origins.floor_ms();
        }
        context.stream_time_ms = context.stream_time_ms.max(queue.time_ms);
    }
    Ok((context, Inputs::new(queues)))
}

fn queues(
    spec: &TaskSpec,
    state: &TaskState,
    sources: &HashMap<NodeId, Rc<dyn Source>>,
) -> Result<Vec<Queue>> {
    let mut queues = Vec::with_capacity(spec.inputs.len());
    for input in &spec.inputs {
        let source = sources.get(&input.source).ok_or_else(|| {
            Error::internal(format!("no source was wired for topic {}", input.topic))
        })?;
        let origins = input.origins.map(|count| {
            let slot = |what: &str, origin| state.time(&format!("{what}/{}/{origin}", input.topic));
            Origins::new(
                (0..count).map(|origin| slot("origin", origin)).collect(),
                (0..count)
                    .map(|origin| slot("origin-ended", origin))
                    .collect(),
            )
        });
        queues.push(Queue::new(input, source.clone(), origins));
    }
    for (queue, slot) in queues.iter_mut().zip(partition_times(spec, state)) {
        queue.time_ms = slot.get();
    }
    Ok(queues)
}

/// The times of partitions are kept only where there is state that they belong to.
fn partition_times(spec: &TaskSpec, state: &TaskState) -> Vec<TimeSlot> {
    if !spec.is_stateful() {
        return Vec::new();
    }
    let inputs = spec.inputs.iter();
    inputs
        .map(|input| state.time(&format!("partition/{}", input.topic)))
        .collect()
}

/// The clock that a task sends on a topic, kept with the state.
pub(super) fn sink_time(state: &TaskState, output: &OutputSpec) -> SinkTime {
    let topic = &output.topic;
    SinkTime::new(
        state.time(&format!("sent/{topic}")),
        state.time(&format!("sent-end/{topic}")),
    )
}

/// A time before 1970 is in no window; the largest number stands for the end of time.
fn refuse_timestamp(timestamp_ms: i64) -> Result<()> {
    match timestamp_ms {
        ..0 => Err(Error::user(format!("negative timestamp {timestamp_ms}"))),
        i64::MAX => Err(Error::user(format!(
            "timestamp {timestamp_ms} is the end of time"
        ))),
        _ => Ok(()),
    }
}
