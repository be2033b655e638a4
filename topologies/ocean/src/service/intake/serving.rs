//! A turn: requests become commits, and commits answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;

use marea::base::{Error, Result, TopicPartition, partition_for_key};
use marea::log::Membership;
use marea::prelude::Producer;
use tokio::sync::oneshot;

use super::{Ended, Outcome, Posted, TICK, Taking};
use crate::service::known::{self, Found, Known, REQUESTS, Request};
use crate::service::post::Report;
use crate::topology::READINGS;

/// Approximate number of readings per commit.
const COMMIT_READINGS: usize = 20_000;

/// A turn.
pub(super) struct Serving<'a> {
    pub(super) taking: &'a Taking,
    pub(super) membership: &'a mut dyn Membership,
    pub(super) producer: Producer<Vec<u8>, Vec<u8>>,
    pub(super) known: Known,
    /// Number of commits so far, over all instances and runs.
    pub(super) commits: i64,
}

/// The requests of a commit.
#[derive(Default)]
struct Gathered {
    /// Whom to answer, and how, once it is committed.
    answers: Vec<(oneshot::Sender<Outcome>, Report)>,
    /// The keys among them, with their answers.
    requests: HashMap<String, Request>,
    /// The same key again, before the first was committed.
    again: Vec<(oneshot::Sender<Outcome>, String)>,
    readings: usize,
}

impl Serving<'_> {
    /// Takes requests until the turn ends.
    pub(super) fn run(&mut self) -> Result<Ended> {
        let taking = self.taking;
        loop {
            let assigned = self.membership.poll()?;
            if assigned.is_some_and(|assigned| assigned.tasks.is_empty()) {
                return Ok(Ended::Lost);
            }
            self.known.catch_up(taking.env.wall_ms())?;
            match taking.waiting.recv_timeout(TICK) {
                Ok(first) => {
                    let gathered = self.gather(first);
                    self.commit(gathered)?;
                }
                // The waiting ones are answered before the end.
                Err(RecvTimeoutError::Timeout) if taking.is_stopped() => return Ok(Ended::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Stopped),
            }
        }
    }

    /// Takes the waiting requests.
    fn gather(&mut self, first: Posted) -> Gathered {
        let mut gathered = Gathered::default();
        let now_ms = self.taking.env.wall_ms();
        let mut next = Some(first);
        while let Some(posted) = next {
            self.take(posted, &mut gathered, now_ms);
            next = match gathered.readings < COMMIT_READINGS {
                true => self.taking.waiting.try_recv().ok(),
                false => None,
            };
        }
        gathered
    }

    /// Adds a request to the commit, or answers it.
    fn take(&mut self, posted: Posted, gathered: &mut Gathered, now_ms: i64) {
        let Posted {
            key,
            body,
            checked,
            answer,
            room: _room,
        } = posted;
        // A client without a key that has disconnected is not served; with a key, its retry finds the
        // answer.
        if key.is_none() && answer.is_closed() {
            return;
        }
        if let Some(key) = key {
            let room = self.known.has_room(gathered.requests.len());
            match (self.known.find(&key), gathered.requests.entry(key)) {
                (Some(found), entry) => {
                    let outcome = self.known_answer(found, body);
                    drop((entry, answer.send(outcome)));
                    return;
                }
                (None, Entry::Occupied(earlier)) if earlier.get().body == body => {
                    gathered.again.push((answer, earlier.key().clone()));
                    return;
                }
                (None, Entry::Occupied(_)) => {
                    drop(answer.send(Outcome::KeyOfAnotherBody));
                    return;
                }
                (None, Entry::Vacant(_)) if !room => {
                    let later = Outcome::Later {
                        reason: "the maximum number of idempotency keys was used within a day",
                        seconds: self.known.room_in_seconds(now_ms),
                        unsure: false,
                    };
                    drop(answer.send(later));
                    return;
                }
                (None, Entry::Vacant(place)) => {
                    let key = place.key().clone();
                    place.insert(Request {
                        key,
                        at_ms: now_ms,
                        body,
                        report: checked.report.clone(),
                    });
                }
            }
        }
        for taken in &checked.taken {
            let key = taken.sensor.as_bytes();
            let partition = partition_for_key(key, self.taking.settings.partitions);
            let place = TopicPartition::new(READINGS, partition);
            (self.producer).add_bytes(
                &place,
                Some(key),
                Some(&taken.line),
                taken.timestamp_ms,
                &[],
            );
        }
        gathered.readings += checked.taken.len();
        gathered.answers.push((answer, checked.report));
    }

    /// The answer that was given to a key.
    fn known_answer(&self, found: Found<'_>, body: u64) -> Outcome {
        let request = match found {
            Found::Answer(request) if request.body == body => Ok(request.clone()),
            Found::At(of, offset) if of == body => known::answer(&*self.taking.log, offset),
            _ => return Outcome::KeyOfAnotherBody,
        };
        match request {
            Ok(Request { report, .. }) => Outcome::Answered {
                report,
                again: true,
            },
            Err(error) => {
                tracing::warn!(%error, "an earlier answer cannot be read at the moment");
                Outcome::later("the earlier answer cannot be read at the moment")
            }
        }
    }

    /// Commits, and then answers.
    fn commit(&mut self, gathered: Gathered) -> Result<()> {
        let Gathered {
            answers,
            requests,
            again,
            readings,
        } = gathered;
        if readings == 0 && requests.is_empty() {
            for (answer, report) in answers {
                drop(answer.send(Outcome::Answered {
                    report,
                    again: false,
                }));
            }
            return Ok(());
        }
        let place = TopicPartition::new(REQUESTS, 0);
        for request in requests.values() {
            let value = serde_json::to_vec(request).map_err(|cause| {
                Error::internal("an answer cannot be encoded as JSON").with_source(cause)
            })?;
            let key = request.key.as_bytes();
            (self.producer).add_bytes(&place, Some(key), Some(&value), request.at_ms, &[]);
        }
        if let Err(error) = self.producer.commit_at(self.commits + 1) {
            let later = Outcome::Later {
                reason: "the log did not acknowledge the readings in time",
                seconds: 1,
                unsure: true,
            };
            let waiting = answers.into_iter().map(|(answer, _)| answer);
            for answer in waiting.chain(again.into_iter().map(|(answer, _)| answer)) {
                drop(answer.send(later.clone()));
            }
            return Err(error);
        }
        self.commits += 1;
        let count = |count: &AtomicU64, by: usize| count.fetch_add(by as u64, Ordering::Relaxed);
        count(&self.taking.shared.readings, readings);
        count(&self.taking.shared.commits, 1);
        for (answer, report) in answers {
            drop(answer.send(Outcome::Answered {
                report,
                again: false,
            }));
        }
        for (answer, key) in again {
            let outcome = match requests.get(&key) {
                Some(request) => Outcome::Answered {
                    report: request.report.clone(),
                    again: true,
                },
                None => Outcome::later("the first request with this key was not taken"),
            };
            drop(answer.send(outcome));
        }
        for request in requests.into_values() {
            self.known.add(request);
        }
        Ok(())
    }
}
