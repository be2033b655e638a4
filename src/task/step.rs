//! The step machine: takes the next record, runs it through the graph, collects the effects.

use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::ahead::KeysAhead;
use super::input_ends::InputEnds;
use super::inputs::Queue;
use super::limits::{Pace, Step};
use super::origins::{CLOCK_HEADER, Carrier, ClockMark, Origins};
use super::port::CalledNode;
use super::sink_time::ClockedSink;
use super::time_bound::Reached;
use super::time_limit::TimeLimit;
use super::timers::Timers;
use super::{
    Clock, Context, DropReason, Drops, Effects, ErrorPolicies, Inputs, NodeId, OutputId, Place,
    Policy, Progress, Source, Stage, StepLimits, TaskSpec, Wiring,
};
use crate::base::{Error, Result, TaskId};
use crate::batch::RecordRef;
use crate::state::{ReadAhead, StoredTime, TaskState};

/// One partition of one sub-topology at work.
pub struct Task {
    id: TaskId,
    pub(super) spec: Arc<TaskSpec>,
    policies: ErrorPolicies,
    /// The state; the runtime drives its commits and restores.
    pub state: TaskState,
    /// Its input queues; the runtime fills them.
    pub inputs: Inputs,
    pub(super) context: Context,
    pub(super) sinks: Vec<ClockedSink>,
    pub(super) partition_times: Vec<StoredTime>,
    pub(super) ended: bool,
    pub(super) time_limit: TimeLimit,
    pace: Pace,
    ahead: Vec<KeysAhead>,
    reader: Option<Sender<Arc<ReadAhead>>>,
    /// The nodes that are called for reasons besides records, parents before their children.
    pub(super) called: Vec<CalledNode>,
    /// Whether they have been initialized.
    pub(super) begun: bool,
}

impl Task {
    /// Wires a task over its state.
    ///
    /// # Errors
    /// `Internal` if the topology is not consistent.
    pub fn new(
        id: TaskId,
        spec: Arc<TaskSpec>,
        mut state: TaskState,
        policies: ErrorPolicies,
    ) -> Result<Self> {
        state.set_changelog_limits(&spec.changelog_limits);
        let Built {
            context,
            inputs,
            sinks,
            called,
        } = build(&spec, &state, policies)?;
        let partition_times = partition_times(&spec, &state);
        let time_limit = TimeLimit::new(&spec, &state);
        let ahead = KeysAhead::of(&spec, &state);
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
            time_limit,
            pace: Pace::default(),
            ahead,
            reader: None,
            called,
            begun: false,
        })
    }

    /// Its name.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Opens one of its stores by name, with the types that it was declared with, to be downcast.
    ///
    /// # Errors
    /// `Invalid` if there is no typed store of that name.
    pub fn open_store(&self, name: &str) -> Result<Box<dyn Any>> {
        Wiring::open_store(&self.spec, &self.state, &self.context.effects, name)
    }

    /// What it is made of.
    pub fn spec(&self) -> &Arc<TaskSpec> {
        &self.spec
    }

    /// Discards everything since the last commit: effects, queues, overlays, and the graph, which is
    /// rebuilt from committed rows. The caller seeks the inputs.
    ///
    /// # Errors
    /// As [`Task::new`], and errors of the store.
    pub fn abort(&mut self) -> Result<()> {
        self.state.rollback()?;
        let drops = self.context.drops;
        let queues = self.inputs.queues.iter();
        let figures: Vec<_> = queues.map(|queue| queue.figures).collect();
        let place = Arc::clone(&self.context.place);
        let Built {
            mut context,
            inputs,
            sinks,
            called,
        } = build(&self.spec, &self.state, self.policies)?;
        context.drops = drops;
        context.place = place;
        self.context = context;
        self.inputs = inputs;
        for (queue, figures) in self.inputs.queues.iter_mut().zip(figures) {
            queue.figures = figures;
        }
        self.sinks = sinks;
        self.called = called;
        self.begun = false;
        self.ahead = KeysAhead::of(&self.spec, &self.state);
        self.ended = false;
        Ok(())
    }

    /// Uses another thread to read rows that waiting records will need; without one, it reads them
    /// itself, in bulk.
    pub(crate) fn set_reader(&mut self, reader: Option<Sender<Arc<ReadAhead>>>) {
        self.reader = reader;
    }

    /// Accepts no timestamp from a user's topic that is further ahead of the wall clock than this, in
    /// milliseconds: such a record fails at the decode stage. `None`, the default, accepts all.
    pub fn set_timestamp_ahead_max_ms(&mut self, ahead_max_ms: Option<i64>) {
        self.time_limit.ahead_max_ms = ahead_max_ms;
    }

    /// Records dropped since the task was made, by reason.
    pub fn drops(&self) -> &Drops {
        &self.context.drops
    }

    /// What it is doing, for other threads.
    pub fn place(&self) -> &Arc<Place> {
        &self.context.place
    }

    /// Bytes waiting for a commit: records to be written and changed rows.
    pub fn uncommitted_bytes(&self) -> usize {
        self.context.effects.bytes() + self.state.dirty_bytes()
    }

    /// The largest timestamp read from any input, in milliseconds.
    pub fn stream_time_ms(&self) -> i64 {
        self.context.stream_time_ms
    }

    /// The records to be written.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.context.effects
    }

    /// Takes records from the inputs, one after another by timestamp, and runs each through the graph,
    /// until one of the `limits` is reached.
    ///
    /// # Errors
    /// An error of a record whose policy is to fail, naming topic, partition and offset; or an error
    /// of a store. The task must then be aborted or dropped.
    pub fn process<'a>(
        &mut self,
        limits: impl Into<StepLimits<'a>>,
        wall_ms: i64,
    ) -> Result<Progress> {
        self.step(&limits.into(), wall_ms)
    }

    /// Separate from [`Task::process`], which is compiled again in each crate that calls it.
    fn step(&mut self, limits: &StepLimits<'_>, wall_ms: i64) -> Result<Progress> {
        self.begin(wall_ms)?;
        for ahead in &mut self.ahead {
            ahead.look(&self.inputs.queues, self.reader.as_ref())?;
        }
        let mut step = Step::begin(limits, &self.pace, self.uncommitted_bytes());
        // Fan-out may change from one record to the next: this notices it at once.
        let outputs_most = self.context.effects.bytes().saturating_add(limits.bytes);
        while let Some(position) = self.inputs.choose() {
            if step.is_over() {
                self.settle_time()?;
                return Ok(step.progress(true));
            }
            self.take(position)?;
            if self
                .context
                .timers
                .are_due(Clock::Stream, self.context.stream_time_ms)
            {
                self.fire(Clock::Stream, self.context.stream_time_ms)?;
            }
            let fans_out = self.context.effects.bytes() >= outputs_most;
            if step.took() || fans_out {
                let bytes = self.uncommitted_bytes();
                step.look(&mut self.pace, bytes);
            }
        }
        self.settle_time()?;
        Ok(step.progress(false))
    }

    #[inline]
    fn take(&mut self, position: usize) -> Result<()> {
        let Some(mut lent) = self.inputs.queues[position].lend() else {
            return Ok(());
        };
        let taken = match lent.0.next_record() {
            Ok(Some(raw)) => self.take_record(position, &raw),
            Ok(None) => Ok(()),
            Err(damage) => Err(damage),
        };
        let queue = &mut self.inputs.queues[position];
        queue.give_back(lent);
        let found = queue.find_head();
        taken.and(found)
    }

    #[inline]
    fn take_record(&mut self, position: usize, raw: &RecordRef<'_>) -> Result<()> {
        let Self {
            inputs, context, ..
        } = self;
        let queue = &mut inputs.queues[position];
        queue.position = raw.offset + 1;
        context.offset = raw.offset;
        context.place.at_record(position, raw.offset);
        if !Arc::ptr_eq(&context.topic, &queue.partition.topic) {
            context.topic = queue.partition.topic.clone();
        }
        context.input = position;
        context.forget_clocks();
        if let Some(origins) = &mut queue.origins
            && let Some(mark) = ClockMark::of(raw)?
        {
            let clock = origins.observe(mark)?;
            let reached = &mut context.reached[position];
            let reached_ms = queue.reached_ms();
            context.moved |= reached_ms != reached.time_ms;
            reached.time_ms = reached_ms;
            if mark.carrier != Carrier::Record {
                return Ok(());
            }
            context.origin_clock_ms = Some(clock.late_clock_ms);
            context.was_silent = clock.was_silent;
            let several = queue.origins.as_ref().is_some_and(Origins::are_several);
            context.late_clock_ms = several.then_some(clock.late_clock_ms);
        }
        context.ends.forget(position);
        if std::mem::take(&mut self.ended) {
            self.sinks.iter().for_each(|sink| sink.time.forget_end());
        }
        let taken = &mut queue.figures.taken;
        taken.records += 1;
        taken.bytes += raw.byte_len() as u64;
        self.handle(position, raw)
    }

    /// Runs a record through the graph and applies the policies.
    fn handle(&mut self, position: usize, raw: &RecordRef<'_>) -> Result<()> {
        let queue = &self.inputs.queues[position];
        let source = &queue.source;
        let latest_ms = self
            .time_limit
            .latest_ms(&queue.origins, self.context.wall_ms);
        let (partition_time_ms, extracted_ms) = (queue.time_ms, queue.extracted_ms);
        let extracts = queue.extracts;
        let timed;
        let raw = match extracted_ms {
            Some(timestamp_ms) => {
                let mut copy = *raw;
                copy.timestamp_ms = timestamp_ms;
                timed = copy;
                &timed
            }
            None => raw,
        };
        self.context.accepted = false;
        self.context.record_ms = Some(raw.timestamp_ms);
        let outcome = self.context.attempt(Stage::Decode, |context| {
            if extracts && extracted_ms.is_none() {
                // It could not be reported when the record came up: the error is reported now.
                if source.timestamp_ms(raw, partition_time_ms)?.is_none() {
                    context.drop_record(DropReason::Refused);
                    return Ok(());
                }
            }
            refuse_timestamp(raw.timestamp_ms, latest_ms)?;
            source.record(raw, context)
        });
        self.context.record_ms = None;
        if self.context.accepted {
            // Whatever happens to the record after its source, it has advanced time.
            let queue = &mut self.inputs.queues[position];
            queue.time_ms = queue.time_ms.max(raw.timestamp_ms);
        }
        match outcome {
            Ok(()) => {
                let accepted = u64::from(self.context.accepted);
                let queue = &mut self.inputs.queues[position];
                queue.accepted += accepted;
                queue.figures.rejected += 1 - accepted;
                Ok(())
            }
            Err(error) => self.failed(position, raw, error),
        }
    }

    /// What happens to an error while only time advanced: there is no record to send to the dead letters,
    /// so the other policies count it and continue.
    pub(super) fn time_failed(&mut self, error: Error) -> Result<()> {
        match self.context.policy_of(self.context.stage, &error) {
            Policy::Fail => Err(error),
            Policy::Skip | Policy::Continue | Policy::DeadLetter => {
                tracing::warn!(task = %self.id, %error, "record skipped while time advanced");
                self.context.drops.count_failure(self.context.stage);
                self.context.drop_record(DropReason::Skipped);
                Ok(())
            }
        }
    }

    fn failed(&mut self, position: usize, raw: &RecordRef<'_>, error: Error) -> Result<()> {
        let stage = self.context.stage;
        let queue = &mut self.inputs.queues[position];
        let place = &queue.partition;
        match self.context.policy_of(stage, &error) {
            Policy::Skip | Policy::Continue => {
                tracing::warn!(%place, offset = raw.offset, stage = stage.name(), %error, "record skipped");
                queue.figures.rejected += 1;
                self.context.drops.count_failure(stage);
                self.context.drop_record(DropReason::Skipped);
                Ok(())
            }
            Policy::DeadLetter => {
                tracing::warn!(%place, offset = raw.offset, stage = stage.name(), %error, "dead letter");
                queue.figures.rejected += 1;
                self.context.drops.count_failure(stage);
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

/// The part of a task that is rebuilt when it aborts.
struct Built {
    context: Context,
    inputs: Inputs,
    sinks: Vec<ClockedSink>,
    called: Vec<CalledNode>,
}

fn build(spec: &TaskSpec, state: &TaskState, policies: ErrorPolicies) -> Result<Built> {
    let effects = Effects::new(&spec.outputs, spec.dynamic.clone());
    let wired = Wiring::wire(spec, state, &effects, policies)?;
    let mut context = Context::new(effects, state.marks().clone(), policies);
    context.partition = spec.partition;
    context.has_several_origins = spec.has_several_origins();
    context.dead_letters = spec.dead_letters.map(OutputId);
    context.holds = wired.holds;
    let queues = queues(spec, state, &wired.sources)?;
    for queue in &queues {
        let by_records = !queue.origins.as_ref().is_some_and(Origins::are_several);
        let reached = Reached::new(queue.reached_ms(), by_records);
        context.reached.push(reached);
        context.stream_time_ms = context.stream_time_ms.max(queue.time_ms);
    }
    let members = spec.members.iter().map(|id| &spec.nodes[id.0]);
    let timed = members.filter(|node| node.calls.timers);
    let timed = timed.filter_map(|node| Some((node.id, node.name.clone()?)));
    context.timers = Timers::new(timed, state.named_times());
    if spec.in_loop {
        let sources: Vec<_> = spec.inputs.iter().map(|input| input.source).collect();
        let children: Vec<_> = spec.nodes.iter().map(|node| &node.children[..]).collect();
        context.ends = InputEnds::in_loop(&sources, &children);
    }
    Ok(Built {
        context,
        inputs: Inputs::new(queues),
        sinks: wired.sinks,
        called: wired.called,
    })
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
        let origins = input.origins;
        let origins = origins.map(|count| Origins::of(state, &input.topic, count));
        queues.push(Queue::new(input, source.clone(), origins));
    }
    for (queue, slot) in queues.iter_mut().zip(partition_times(spec, state)) {
        queue.time_ms = slot.get();
    }
    Ok(queues)
}

/// The times of partitions are stored only if there is state that they belong to.
fn partition_times(spec: &TaskSpec, state: &TaskState) -> Vec<StoredTime> {
    if !spec.is_stateful() {
        return Vec::new();
    }
    let inputs = spec.inputs.iter();
    inputs
        .map(|input| state.time(&format!("partition/{}", input.topic)))
        .collect()
}

/// A time before 1970 is in no window; the largest number stands for the end of time.
#[inline]
fn refuse_timestamp(timestamp_ms: i64, latest_ms: Option<i64>) -> Result<()> {
    if let Some(latest_ms) = latest_ms.filter(|latest_ms| timestamp_ms > *latest_ms) {
        return Err(TimeLimit::refuse(timestamp_ms, latest_ms));
    }
    match timestamp_ms {
        ..0 => Err(Error::user(format!("negative timestamp {timestamp_ms}"))),
        i64::MAX => Err(Error::user(format!(
            "timestamp {timestamp_ms} is too large"
        ))),
        _ => Ok(()),
    }
}
