//! What a worker says about itself.

use super::Worker;
use crate::base::{Offset, TopicPartition};
use crate::runtime::TaskSnapshot;
use crate::runtime::status::WorkerStatus;

impl Worker {
    /// Says where it stands: now, or if it has not for a while.
    pub(super) fn report(&mut self, now: bool) {
        let now_ms = self.shared.env.monotonic_ms();
        if !now && now_ms < self.reported_at_ms + 100 {
            return;
        }
        self.reported_at_ms = now_ms;
        let (restoring, waiting) = self.openings.report(now_ms);
        // What a task that is not open yet has to read is not known.
        let is_opening = !restoring.is_empty() || !waiting.is_empty();
        let mut status = WorkerStatus {
            records: self.records,
            commits: self.commits,
            lag: None,
            drops: self.drops,
            deleted_unread: self.deleted_unread,
            drain_known: self.drain_known,
            settled_at_ms: self.settled_at_ms,
            tasks: Vec::new(),
            restoring,
            waiting,
            outage: self
                .longest_outage()
                .map(|outage| (outage.since_ms, outage.reason.clone())),
            expelled: false,
        };
        let mut all: Vec<TopicPartition> = Vec::new();
        let mut done: Vec<Offset> = Vec::new();
        for (id, open) in &mut self.tasks {
            status.drops.add(open.task.drops());
            let mut positions = Vec::new();
            for input in open.task.inputs.progress() {
                // The reader moves past what counts as an offset and is no record.
                let read = match input.buffered_bytes {
                    0 => self.reader.position(&input.partition),
                    _ => None,
                };
                all.push(input.partition.clone());
                done.push(read.unwrap_or(0).max(input.position));
                positions.push((input.partition, input.position));
            }
            status.tasks.push(TaskSnapshot {
                task: id.clone(),
                worker: self.name.clone(),
                positions,
                resumed_at: open.resumed_at.clone(),
                restored: open.restored,
                stream_time_ms: open.task.stream_time_ms(),
                ended: open.ended,
                held_back: open.waits.as_ref().map(|(waits, _)| waits.clone()),
                held_back_ms: open
                    .waits
                    .as_ref()
                    .map_or(0, |(_, since_ms)| now_ms.saturating_sub(*since_ms)),
            });
        }
        let ends = self.shared.log.recent_ends(&all);
        let lag = ends.into_iter().zip(done);
        let lag: Option<i64> = lag.map(|(end, done)| Some((end? - done).max(0))).sum();
        status.lag = lag.filter(|_| !is_opening);
        self.shared
            .status
            .report(&self.name, status, self.shared.layout.specs.len(), now_ms);
    }
}
