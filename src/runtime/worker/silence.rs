//! Inputs that are silent, and origins that windows wait for
//! ([ADR 0010](../../../docs/adr/0010-time-as-a-promise.md)).
//! An input is silent once the log has confirmed, repeatedly for as long as its time-out, that the task
//! has read it to its end, including uncommitted records, and its source has accepted no record since:
//! refused records do not advance time, so an input of nothing else would hold back all others. If
//! answers fail to arrive (a leader is down, a worker is held up), the time starts again. A task with a
//! silent input renews a lease each second; time advances without the input as far as the others had come
//! at the previous renewal.

use std::collections::{BTreeMap, BTreeSet};

use super::Worker;
use crate::base::{Offset, TaskId, TopicPartition};
use crate::runtime::open_task::OpenTask;
use crate::task::{DropReason, OutputId, UserInput};

/// The minimum and maximum interval at which the log is asked, in milliseconds; in between, a quarter of
/// the smallest time-out.
const LOOK_MS_MIN: u64 = 5;
const LOOK_MS_MAX: u64 = 250;
/// The maximum age of an answer, in milliseconds, and the maximum distance between two.
const ANSWER_MS_MAX: u64 = 3_000;
/// How often a lease is renewed, in milliseconds; a shorter time-out is renewed at its own interval.
const RENEW_MS: u64 = 1_000;
/// How often the origins that hold back time are logged, in milliseconds.
const SAY_MS: u64 = 60_000;
/// Origins that hold back time for less than this are not logged, in milliseconds.
const WAIT_MS: u64 = 10_000;

/// What a worker knows about silent inputs.
#[derive(Default)]
pub(super) struct Silence {
    looked_at_ms: u64,
    used_at_ms: u64,
    said_at_ms: u64,
    quiet: BTreeMap<TopicPartition, Quiet>,
    /// Partitions of repartition topics that have had records.
    used: BTreeSet<TopicPartition>,
    /// The number of records dropped because their window closed without them, at the last log message.
    lost: u64,
}

/// An input from which no record was accepted for a while.
struct Quiet {
    /// Number of records accepted by then.
    accepted: u64,
    since_ms: u64,
    /// When it was last known to be at its end.
    answered_ms: u64,
    /// Whether it was at its end at the last check: if not, the next records may be accepted.
    is_at_end: bool,
}

impl Silence {
    /// Takes an answer of the log: where the partition ended at `answered_ms`. `None` if there was none.
    fn hear(
        &mut self,
        input: &UserInput<'_>,
        position: Option<Offset>,
        end: Option<(Offset, u64)>,
    ) {
        let place = input.partition;
        let quiet = self.quiet.get_mut(place);
        let known = quiet.filter(|quiet| quiet.accepted == input.accepted);
        let (Some(position), Some((end, answered_ms))) = (position, end) else {
            // No answer yet: the last one stays valid for a while.
            if position.is_none() || known.is_none() {
                self.quiet.remove(place);
            }
            return;
        };
        let is_at_end = !input.has_records && position >= end;
        match known {
            Some(quiet) if answered_ms.saturating_sub(quiet.answered_ms) <= ANSWER_MS_MAX => {
                quiet.is_at_end = is_at_end;
                if is_at_end {
                    quiet.answered_ms = quiet.answered_ms.max(answered_ms);
                }
            }
            _ if is_at_end => {
                let quiet = Quiet {
                    accepted: input.accepted,
                    since_ms: answered_ms,
                    answered_ms,
                    is_at_end,
                };
                self.quiet.insert(place.clone(), quiet);
            }
            _ => drop(self.quiet.remove(place)),
        }
    }

    /// For how long an input has been silent, if its last answer is recent.
    fn silent_ms(&self, place: &TopicPartition, now_ms: u64) -> Option<u64> {
        let quiet = self.quiet.get(place).filter(|quiet| quiet.is_at_end)?;
        let age_ms = now_ms.saturating_sub(quiet.answered_ms);
        (age_ms <= ANSWER_MS_MAX).then(|| quiet.answered_ms.saturating_sub(quiet.since_ms))
    }
}

impl Worker {
    /// Checks which inputs are silent and lets time advance without them.
    pub(super) fn look_for_silence(&mut self) {
        let now_ms = self.context.env.monotonic_ms();
        let timeouts = self.tasks.values().flat_map(|open| &open.idle_timeouts_ms);
        let shortest_ms = timeouts.flatten().min().copied();
        if let Some(shortest_ms) = shortest_ms {
            let every_ms = (shortest_ms / 4).clamp(LOOK_MS_MIN, LOOK_MS_MAX);
            if now_ms >= self.silence.looked_at_ms + every_ms {
                self.silence.looked_at_ms = now_ms;
                self.hear_ends(now_ms);
                self.renew_leases(now_ms);
            }
        }
        if now_ms >= self.silence.used_at_ms + RENEW_MS {
            self.silence.used_at_ms = now_ms;
            self.find_used();
            let tasks = self.tasks.values_mut();
            tasks.for_each(|open| open.note_waits(now_ms));
        }
        if now_ms >= self.silence.said_at_ms + SAY_MS {
            self.silence.said_at_ms = now_ms;
            self.say_who_waits(now_ms);
        }
    }

    /// Asks for the ends of inputs that hold no records.
    fn hear_ends(&mut self, now_ms: u64) {
        let mut inputs: Vec<UserInput<'_>> = Vec::new();
        for open in self.tasks.values() {
            let counts = |input: &UserInput<'_>| {
                let timeout_ms = open.idle_timeouts_ms.get(input.position);
                timeout_ms.is_some_and(Option::is_some)
            };
            inputs.extend(open.task.user_inputs().filter(counts));
        }
        let asked: Vec<TopicPartition> =
            inputs.iter().map(|input| input.partition.clone()).collect();
        let ends = self.context.log.recent_high_watermarks(&asked);
        for (input, end) in inputs.iter().zip(ends) {
            let end = end.filter(|(_, age_ms)| *age_ms <= ANSWER_MS_MAX);
            let end = end.map(|(end, age_ms)| (end, now_ms.saturating_sub(age_ms)));
            let position = self.reader.position(input.partition);
            self.silence.hear(input, position, end);
        }
    }

    fn renew_leases(&mut self, now_ms: u64) {
        for open in self.tasks.values_mut() {
            let timeouts_ms = open.idle_timeouts_ms.iter().flatten();
            let Some(shortest_ms) = timeouts_ms.min().copied() else {
                continue;
            };
            let renew_ms = shortest_ms.min(RENEW_MS);
            let mut silent = vec![false; open.idle_timeouts_ms.len()];
            for input in open.task.user_inputs() {
                let UserInput {
                    position,
                    partition: place,
                    has_records,
                    ..
                } = input;
                // The first renewal only records what the lease will be at the second.
                let timeout_ms = open.idle_timeouts_ms[position];
                let enough_ms = timeout_ms.map(|timeout_ms| match open.renewed_at_ms {
                    None => timeout_ms.saturating_sub(renew_ms),
                    Some(_) => timeout_ms,
                });
                let silent_ms = self.silence.silent_ms(place, now_ms);
                silent[position] = !has_records
                    && silent_ms
                        .zip(enough_ms)
                        .is_some_and(|(silent, enough)| silent >= enough);
            }
            if !silent.contains(&true) {
                if open.renewed_at_ms.is_some() && !is_armed(open, &self.silence, now_ms, renew_ms)
                {
                    open.renewed_at_ms = None;
                    open.task.renew_silence(&silent);
                }
                continue;
            }
            if open
                .renewed_at_ms
                .is_none_or(|at_ms| now_ms >= at_ms + renew_ms)
            {
                open.renewed_at_ms = Some(now_ms);
                open.task.renew_silence(&silent);
            }
        }
    }

    /// Finds out which partitions of repartition topics have records, for tasks that would otherwise send
    /// their clocks to all of them.
    fn find_used(&mut self) {
        let mut unknown: BTreeMap<TopicPartition, Vec<(TaskId, OutputId)>> = BTreeMap::new();
        for (task, open) in &mut self.tasks {
            let used = &mut self.silence.used;
            let unused = open.task.effects().unused().collect::<Vec<_>>();
            for (output, place) in unused {
                match used.contains(&place) {
                    true => open.task.effects().set_used(output, place.partition),
                    false => unknown
                        .entry(place)
                        .or_default()
                        .push((task.clone(), output)),
                }
            }
        }
        let places: Vec<TopicPartition> = unknown.keys().cloned().collect();
        let ends = self.context.log.recent_ends(&places);
        for ((place, waiting), end) in unknown.into_iter().zip(ends) {
            if end.is_none_or(|end| end <= 0) {
                continue;
            }
            for (task, output) in waiting {
                if let Some(open) = self.tasks.get_mut(&task) {
                    open.task.effects().set_used(output, place.partition);
                }
            }
            self.silence.used.insert(place);
        }
    }

    /// Once a minute, logs which origins windows wait for, and what was lost by not waiting.
    fn say_who_waits(&mut self, now_ms: u64) {
        let mut lost = self.drops.of(DropReason::ClosedWhileIdle);
        for (task, open) in &self.tasks {
            lost += open.task.drops().of(DropReason::ClosedWhileIdle);
            let Some((held_back, since_ms)) = &open.waits else {
                continue;
            };
            let waited_ms = now_ms.saturating_sub(*since_ms);
            if waited_ms >= WAIT_MS {
                tracing::info!(
                    %task,
                    input = %held_back.input,
                    upstream_task = held_back.origin,
                    time_ms = held_back.time_ms,
                    ahead_ms = held_back.ahead_ms,
                    waited_ms,
                    "windows wait for the slowest input"
                );
            }
        }
        let more = lost.saturating_sub(self.silence.lost);
        if more > 0 {
            tracing::warn!(
                worker = %self.name,
                records = more,
                "records arrived after their window had closed, because their input had been silent; a \
                 longer `idle_timeout`, or `Idle::Never`, makes windows wait for it"
            );
        }
        self.silence.lost = lost;
    }
}

/// Whether an input has had its first renewal and its second is pending.
fn is_armed(open: &OpenTask, silence: &Silence, now_ms: u64, renew_ms: u64) -> bool {
    let mut inputs = open.task.user_inputs();
    inputs.any(|input| {
        let silent_ms = silence.silent_ms(input.partition, now_ms);
        let timeout_ms = open.idle_timeouts_ms[input.position];
        let armed = timeout_ms.map(|timeout_ms| timeout_ms.saturating_sub(renew_ms));
        !input.has_records
            && silent_ms
                .zip(armed)
                .is_some_and(|(silent, armed)| silent >= armed)
    })
}

impl OpenTask {
    /// Notes how far the slowest origin has come, and since when it has been there.
    fn note_waits(&mut self, now_ms: u64) {
        let before = self.waits.take();
        self.waits = self.task.held_back().map(|held_back| match before {
            Some((before, since_ms)) if before.time_ms == held_back.time_ms => {
                (held_back, since_ms)
            }
            _ => (held_back, now_ms),
        });
    }
}
