//! The report of a worker.

use super::Worker;
use crate::base::{NO_TIMESTAMP, Offset, TopicPartition};
use crate::runtime::open_task::{End, OpenTask};
use crate::runtime::status::WorkerStatus;
use crate::runtime::{InputSnapshot, StoreSnapshot, TaskSnapshot, WorkerMemory};

/// How often the backend of a task is asked for the size of its stores, in milliseconds.
const SIZES_MS: u64 = 5_000;

impl Worker {
    /// Reports its state: now, or if the last report is some time ago.
    pub(super) fn report(&mut self, now: bool) {
        let now_ms = self.context.env.monotonic_ms();
        if !now && now_ms < self.reported_at_ms + 100 {
            return;
        }
        self.reported_at_ms = now_ms;
        let (restoring, waiting) = self.openings.report(now_ms);
        // The backlog of a task that is not open yet is not known.
        let is_opening = !restoring.is_empty() || !waiting.is_empty();
        let outage = self.longest_outage();
        let outage = outage.map(|outage| (outage.since_ms, outage.reason.clone()));
        let mut status = WorkerStatus {
            records: self.records,
            commits: self.commits,
            lag: None,
            drops: self.drops,
            deleted_unread: self.deleted_unread,
            drain_known: self.drain_known,
            settled_at_ms: self.settled_at_ms,
            tasks: Vec::with_capacity(self.tasks.len()),
            restoring,
            waiting,
            outage,
            expelled: false,
            aborts: self.aborts_total,
            places_lost: self.places_lost,
            latencies: self.latencies,
            committed_at_ms: self.definite_at_ms,
            reported_at_ms: now_ms,
            memory: WorkerMemory {
                uncommitted_bytes: self.uncommitted_bytes() as u64,
                ..WorkerMemory::default()
            },
        };
        let mut lag = Some(0);
        let inputs = self.inputs();
        let mut inputs = inputs.into_iter();
        for open in self.tasks.values_mut() {
            status.drops.add(open.task.drops());
            status.memory.fetched_bytes += open.task.inputs.buffered_bytes() as u64;
            status.memory.cached_bytes += open.task.state.cached_bytes() as u64;
            open.measure(now_ms);
            let own = inputs.by_ref().take(open.committed.len());
            let own: Vec<InputSnapshot> = own.collect();
            for input in &own {
                lag = lag.zip(input.lag).map(|(others, lag)| others + lag);
            }
            status.tasks.push(snapshot(open, &self.name, own, now_ms));
        }
        status.lag = lag.filter(|_| !is_opening);
        let tasks = self.context.layout.specs.len();
        self.shared.status.report(&self.name, status, tasks, now_ms);
    }

    /// All inputs of all tasks, one task after the other.
    fn inputs(&self) -> Vec<InputSnapshot> {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        let mut done: Vec<Offset> = Vec::new();
        let mut inputs = Vec::new();
        for open in self.tasks.values() {
            let figures = open.task.input_figures().map(|(_, figures)| figures);
            for (input, figures) in open.task.inputs.progress().zip(figures) {
                // The reader moves past offsets without records.
                let read = match input.buffered_bytes {
                    0 => self.reader.position(&input.partition),
                    _ => None,
                };
                partitions.push(input.partition.clone());
                done.push(read.unwrap_or(0).max(input.position));
                let time_ms = input.partition_time_ms;
                inputs.push(InputSnapshot {
                    is_repartition: self.context.layout.is_repartition(&input.partition.topic),
                    partition: input.partition,
                    position: input.position,
                    lag: None,
                    partition_time_ms: (time_ms != NO_TIMESTAMP).then_some(time_ms),
                    figures,
                });
            }
        }
        let ends = self.context.log.recent_ends(&partitions);
        for ((input, end), done) in inputs.iter_mut().zip(ends).zip(done) {
            input.lag = end.map(|end| (end - done).max(0));
        }
        inputs
    }
}

impl OpenTask {
    /// Queries the size of the stores, if the last query is long ago.
    fn measure(&mut self, now_ms: u64) {
        let is_due = |at_ms: u64| now_ms >= at_ms.saturating_add(SIZES_MS);
        if self.stores_at_ms.is_none_or(is_due) {
            self.stores_at_ms = Some(now_ms);
            self.stores = self.task.state.figures();
        }
    }
}

fn snapshot(
    open: &OpenTask,
    worker: &str,
    inputs: Vec<InputSnapshot>,
    now_ms: u64,
) -> TaskSnapshot {
    let waits = open.waits.as_ref();
    let stores = open.stores.iter().enumerate().map(|(number, figures)| {
        let changelog = open.changelogs.get(number).and_then(Option::as_ref);
        StoreSnapshot {
            figures: figures.clone(),
            changelog: changelog.map(|changelog| changelog.topic.clone()),
            written: open.written.changes(number),
        }
    });
    let positions = inputs.iter();
    TaskSnapshot {
        task: open.task.id().clone(),
        worker: worker.to_owned(),
        positions: positions
            .map(|input| (input.partition.clone(), input.position))
            .collect(),
        resumed_at: open.resumed_at.clone(),
        restored: open.restored,
        stream_time_ms: open.task.stream_time_ms(),
        ended: open.end == End::Committed,
        held_back: waits.map(|(waits, _)| waits.clone()),
        held_back_ms: waits.map_or(0, |(_, since_ms)| now_ms.saturating_sub(*since_ms)),
        floor_ms: open.task.floor_ms(),
        stores: stores.collect(),
        inputs,
        outputs: open.written.outputs(),
        drops: *open.task.drops(),
    }
}
