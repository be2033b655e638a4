//! What a task reports of its inputs and of its time, and where it is in words.

use super::inputs::Queue;
use super::time_bound::Reached;
use super::{InputFigures, Place, Task, TaskSpec};
use crate::base::{NO_TIMESTAMP, Offset, TopicPartition};

/// Which origin the windows of a task wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The input that holds time back.
    pub input: TopicPartition,
    /// For a repartition topic: the upstream task, by its partition.
    pub origin: Option<u32>,
    /// How far time has advanced, in milliseconds; -1 if nothing has been heard from the origin.
    pub time_ms: i64,
    /// How far the most advanced one is, in milliseconds.
    pub ahead_ms: i64,
}

/// An input of a task that is a topic of the user's.
#[derive(Clone, Copy, Debug)]
pub struct UserInput<'a> {
    /// Which of the task's inputs.
    pub position: usize,
    /// What it reads.
    pub partition: &'a TopicPartition,
    /// Whether some of its records are fetched but not processed yet.
    pub has_records: bool,
    /// How many of its records the source has accepted since the task was made. Others do not advance
    /// time.
    pub accepted: u64,
}

impl Task {
    /// Each input with its throughput since the task was made.
    pub fn input_figures(&self) -> impl Iterator<Item = (&TopicPartition, InputFigures)> + '_ {
        let queues = self.inputs.queues.iter();
        queues.map(|queue| (&queue.partition, queue.figures))
    }

    /// How far all of its inputs have advanced, in milliseconds: windows that end after this must not
    /// close, whatever operators hold back in addition. `None` before the first record, and once all
    /// inputs have ended.
    pub fn floor_ms(&self) -> Option<i64> {
        let reached = self.context.reached.iter();
        let floor_ms = reached.map(Reached::counted_ms).min()?;
        (floor_ms != NO_TIMESTAMP && floor_ms != i64::MAX).then_some(floor_ms)
    }

    /// Which origin holds back the time of this task, if its windows wait for one.
    pub fn held_back(&self) -> Option<HeldBack> {
        if !self.context.has_several_origins {
            return None;
        }
        let held_back = |queue: &Queue| {
            let origins = queue.origins.as_ref().filter(|o| o.are_several())?;
            Some(HeldBack {
                input: queue.partition.clone(),
                origin: Some(origins.slowest()?),
                time_ms: origins.floor_ms(),
                ahead_ms: origins.ahead_ms(),
            })
        };
        let waits = self.inputs.queues.iter().filter_map(held_back);
        waits.min_by_key(|waits| waits.time_ms)
    }

    /// The inputs that are topics of the user's.
    pub fn user_inputs(&self) -> impl Iterator<Item = UserInput<'_>> {
        let queues = self.inputs.queues.iter().enumerate();
        let of_user = queues.filter(|(_, queue)| queue.origins.is_none());
        of_user.map(|(position, queue)| UserInput {
            position,
            partition: &queue.partition,
            has_records: queue.has_records(),
            accepted: queue.accepted,
        })
    }
}

impl Place {
    /// The record: its partition and its offset.
    pub fn record(&self, spec: &TaskSpec) -> Option<(TopicPartition, Offset)> {
        let (input, offset) = self.input_and_offset();
        let input = spec.inputs.get(input)?;
        let partition = TopicPartition::new(input.topic.clone(), input.partition);
        Some((partition, offset))
    }

    /// The node, in words: its operator, and its name if it has one.
    pub fn node(&self, spec: &TaskSpec) -> Option<String> {
        let node = spec.nodes.get(self.node_id().0)?;
        Some(match &node.name {
            Some(name) => format!("{} {name}", node.operator),
            None => node.operator.to_owned(),
        })
    }
}
