//! The steps in the module's diagram, in bounded parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::plan::Plan;
use crate::base::{Error, ErrorKind, Result, TopicPartition};
use crate::log::{BatchesBuilder, Commit, CommitError, Log, Records, Writer};
use crate::runtime::context::Context;
use crate::runtime::hooks::Point;
use crate::runtime::own_topics::{record_topic, task_changelog};
use crate::runtime::record::{Changes, Homes, Notes, Record};
use crate::runtime::scan::{Contents, Scan, Scanned};
use crate::state::TASK_TIME;
use crate::task::TimeOf;

/// What the writer may keep of a commit, in bytes: the minimum that a log needs, since it is one small commit.
const WRITER_BYTES: usize = 0;

pub(super) struct Settling {
    record: TopicPartition,
    writer: Box<dyn Writer>,
    recorded: Record,
    plan: Plan,
    /// What this process notes.
    noted: Notes,
    /// What changes in the record apart from where times are.
    notes: Changes,
    stage: Stage,
}

enum Stage {
    Record(Scan),
    Times(Scan),
    Asked,
}

/// The result of a step.
pub(super) enum Step {
    Done(Homes),
    More,
    Waits,
}

impl Settling {
    /// Step 1.
    pub(super) fn begin(context: &Context, noted: Notes) -> Result<Self> {
        let topic = record_topic(&context.layout.application);
        // Named like the topic, as no worker's writer is. Two that open it at once may fence each other.
        let writer = context.log.writer(&topic, WRITER_BYTES).map_err(later)?;
        let record = TopicPartition::new(topic, 0);
        let stage = Stage::Record(Scan::begin(&*context.log, vec![record.clone()])?);
        Ok(Self {
            record,
            writer,
            recorded: Record::default(),
            plan: Plan::default(),
            noted,
            notes: Changes::new(),
            stage,
        })
    }

    pub(super) fn step(&mut self, context: &Context, wait: Duration) -> Result<Step> {
        let scan = match &mut self.stage {
            Stage::Record(scan) | Stage::Times(scan) => scan,
            Stage::Asked => return self.poll(context, wait),
        };
        match scan.step(&*context.log, wait)? {
            Scanned::More => return Ok(Step::More),
            Scanned::Waits => return Ok(Step::Waits),
            Scanned::All => {}
        }
        match std::mem::replace(&mut self.stage, Stage::Asked) {
            Stage::Record(scan) => self.compare(scan.found(), context),
            Stage::Times(scan) => self.ask(&scan.found(), context),
            Stage::Asked => Ok(Step::More),
        }
    }

    /// Step 2.
    fn compare(
        &mut self,
        mut found: BTreeMap<TopicPartition, Contents>,
        context: &Context,
    ) -> Result<Step> {
        let rows = found.remove(&self.record).unwrap_or_default();
        self.recorded = Record::read(&rows, &self.record.topic)?;
        let wanted = &context.layout.wanted;
        self.plan = Plan::between(&self.recorded.homes, wanted);
        let wall_ms = context.env.wall_ms();
        self.notes = self.noted.changes(&self.recorded, wall_ms);
        if self.plan.is_empty() && self.notes.is_empty() {
            return Ok(Step::Done(std::mem::take(&mut self.recorded.homes)));
        }
        let (application, log) = (&context.layout.application, &*context.log);
        self.plan.check(log, application, wanted)?;
        let mut changelogs = Vec::new();
        for part in self.plan.parts() {
            let topic: Arc<str> = task_changelog(application, part).into();
            match log.topic(&topic)? {
                Some(spec) => {
                    let partition = |number| TopicPartition::new(Arc::clone(&topic), number);
                    changelogs.extend((0..spec.partitions).map(partition));
                }
                None => tracing::warn!(
                    %topic,
                    "the topic with the times of nodes that are now in another sub-topology no longer \
                     exists; continuing without them"
                ),
            }
        }
        self.await_commits(application, log)?;
        self.stage = Stage::Times(Scan::begin(log, changelogs)?);
        Ok(Step::More)
    }

    /// What a member of the previous topology had in flight is settled once the group's offsets are known.
    fn await_commits(&self, application: &str, log: &dyn Log) -> Result<()> {
        let parts = self.plan.parts();
        let mut inputs = Vec::new();
        for (of, names) in &self.recorded.homes.0 {
            if let (TimeOf::Source(topic), Some(home)) = (of, names.first())
                && parts.contains(home.as_str())
                && let Some(spec) = log.topic(topic)?
            {
                let topic: Arc<str> = topic.as_str().into();
                let partition = |number| TopicPartition::new(Arc::clone(&topic), number);
                inputs.extend((0..spec.partitions).map(partition));
            }
        }
        log.committed(application, &inputs).map(|_| ())
    }

    /// Step 4.
    fn ask(
        &mut self,
        found: &BTreeMap<TopicPartition, Contents>,
        context: &Context,
    ) -> Result<Step> {
        let application = &context.layout.application;
        let mut commit = Commit::default();
        let mut builder = BatchesBuilder::default();
        let partitions = found.keys().map(|place| place.partition).max();
        for partition in 0..partitions.map_or(0, |last| last + 1) {
            let parts = self.plan.parts().into_iter();
            let place =
                |part: &str| TopicPartition::new(task_changelog(application, part), partition);
            let held = parts.map(|part| {
                let times = found.get(&place(part)).cloned();
                (part, times.unwrap_or_default())
            });
            let held = held.collect();
            for (part, times) in &self.plan.moves(&context.layout.wanted, &held) {
                let task_time_ms = task_time_ms(times, held.get(part.as_str()));
                for (name, time) in times {
                    builder.push(Some(name), time.as_deref(), task_time_ms, &[]);
                }
                let batches = builder.seal().into_iter();
                let appends = batches.map(|batch| (place(part), batch));
                commit.appends.extend(appends);
            }
        }
        let wall_ms = context.env.wall_ms();
        for (of, names) in &self.plan.rows {
            let (key, value) = Homes::row(of, names);
            builder.push(Some(&key), Some(&value), wall_ms, &[]);
        }
        for (key, value) in &self.notes {
            builder.push(Some(key), value.as_deref(), wall_ms, &[]);
        }
        let batches = builder.seal().into_iter();
        let appends = batches.map(|batch| (self.record.clone(), batch));
        commit.appends.extend(appends);
        context.hooks.reached(Point::BeforeMove);
        match self.writer.submit(commit) {
            // It stays in flight.
            Ok(()) | Err(CommitError::Unknown(_)) => {}
            Err(error) => return Err(again(error)),
        }
        self.stage = Stage::Asked;
        Ok(Step::More)
    }

    /// Waits until the commit is definite.
    fn poll(&mut self, context: &Context, wait: Duration) -> Result<Step> {
        match self.writer.poll(wait) {
            Ok(None) | Err(CommitError::Unknown(_)) => return Ok(Step::Waits),
            Ok(Some(_)) => {}
            Err(error) => return Err(again(error)),
        }
        context.hooks.reached(Point::Moved);
        for (of, way) in &self.plan.moved {
            tracing::info!(%of, from = %way.from, to = %way.to, "times moved to another task changelog");
        }
        let mut homes = std::mem::take(&mut self.recorded.homes);
        homes.0.append(&mut self.plan.rows);
        Ok(Step::Done(homes))
    }
}

/// The time of records in a task changelog: that of the task.
fn task_time_ms(written: &BTreeMap<Vec<u8>, Option<Vec<u8>>>, held: Option<&Contents>) -> i64 {
    let name = TASK_TIME.as_bytes();
    let written = written.get(name).and_then(Option::as_ref);
    let time = written.or_else(|| held?.get(name));
    let time = time.and_then(|time| time.as_slice().try_into().ok());
    time.map_or(0, i64::from_be_bytes).max(0)
}

/// The record shows whether a commit happened, so everything is retried except permanent errors.
fn again(error: CommitError) -> Error {
    match error {
        CommitError::Fatal(error) => error,
        error => later(error.into_error()),
    }
}

fn later(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Fenced | ErrorKind::Full => {
            let message = "times could not be moved to other task changelogs now; another instance may be \
                           moving them";
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        }
        _ => error,
    }
}
