//! Offsets that are requested all the time, by a separate thread: callers continue in the meantime.
//! Waiting requests are sent to the brokers as one.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::Cluster;
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::Isolation;
use crate::log::kafka::locks::lock;

/// How old an end may be for [`Cluster::recent_ends`] to return it without asking again, in milliseconds.
const RECENT_MS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::log::kafka) enum Which {
    Starts,
    /// Of committed records.
    Ends,
    /// Of all records.
    HighWatermarks,
}

enum Question {
    /// Where partitions begin or end.
    Offsets(Offsets),
    /// Whether topics are still the same; [`super::topic_ids`] has the answer.
    TopicIds,
}

struct Offsets {
    which: Which,
    partitions: Vec<TopicPartition>,
    answer: Sender<Answer>,
}

type Answer = std::result::Result<Vec<Offset>, (ErrorKind, String)>;

/// The connection to the thread, and what is known about ends.
#[derive(Default)]
pub(in crate::log::kafka) struct Questions {
    thread: Mutex<Option<Sender<Question>>>,
    recent_ends: Mutex<Recent>,
    recent_high_watermarks: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    /// Where each partition ended, and when that was requested.
    ends: HashMap<TopicPartition, (Offset, u64)>,
    /// When a partition's end was last requested.
    asked_ms: HashMap<TopicPartition, u64>,
    asked: Vec<(Asked, u64)>,
}

/// A pending request, and its answer once there is one.
pub(in crate::log::kafka) struct Asked {
    partitions: Vec<TopicPartition>,
    answer: Receiver<Answer>,
    known: Option<Vec<Offset>>,
}

impl Asked {
    /// Whether it was about these partitions.
    pub(in crate::log::kafka) fn is_of(&self, partitions: &[TopicPartition]) -> bool {
        self.partitions == partitions
    }

    /// The offsets in the order of the partitions; `None` if they are not known within `timeout`.
    ///
    /// # Errors
    /// `Unavailable` if the brokers did not know: ask again. `Invalid` if a partition does not exist.
    pub(in crate::log::kafka) fn look(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<(&[TopicPartition], &[Offset])>> {
        if self.known.is_none() {
            match self.answer.recv_timeout(timeout) {
                Ok(answer) => {
                    self.known = Some(answer.map_err(|(kind, why)| Error::new(kind, why))?);
                }
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    let message = "the thread that requests offsets has ended; restart";
                    return Err(Error::new(ErrorKind::Closed, message));
                }
            }
        }
        let known = self.known.as_deref();
        Ok(known.map(|known| (self.partitions.as_slice(), known)))
    }
}

impl Cluster {
    /// Asks without waiting.
    pub(in crate::log::kafka) fn ask(
        self: &Arc<Self>,
        which: Which,
        partitions: Vec<TopicPartition>,
    ) -> Result<Asked> {
        let (sender, receiver) = channel();
        self.put(Question::Offsets(Offsets {
            which,
            partitions: partitions.clone(),
            answer: sender,
        }))?;
        Ok(Asked {
            partitions,
            answer: receiver,
            known: None,
        })
    }

    /// Asks whether topics are still the same, unless this was done just now.
    pub(in crate::log::kafka) fn watch_topic_ids(self: &Arc<Self>, now_ms: u64) -> Result<()> {
        match self.topic_ids.are_due(now_ms) {
            true => self.put(Question::TopicIds),
            false => Ok(()),
        }
    }

    fn put(self: &Arc<Self>, question: Question) -> Result<()> {
        let mut thread = lock(&self.questions.thread);
        let asking = match &*thread {
            Some(asking) => asking,
            None => {
                let (asking, questions) = channel();
                let cluster = Arc::downgrade(self);
                let body = move || answer_all(&cluster, &questions);
                // It ends when the cluster is dropped, and the sender with it.
                let _ends_by_itself = self.env.spawn("marea-kafka-offsets", Box::new(body))?;
                thread.insert(asking)
            }
        };
        // A caller that looks for the answer learns that the thread is gone.
        let _ = asking.send(question);
        Ok(())
    }

    /// The ends of committed records as last reported; `None` for those not reported yet.
    pub(in crate::log::kafka) fn recent_ends(
        self: &Arc<Self>,
        partitions: &[TopicPartition],
    ) -> Vec<Option<Offset>> {
        let ends = self.recent(Which::Ends, &self.questions.recent_ends, partitions);
        let offset = |end: Option<(Offset, u64)>| end.map(|(offset, _)| offset);
        ends.into_iter().map(offset).collect()
    }

    /// The ends of all records as last reported, each with its age in milliseconds.
    pub(in crate::log::kafka) fn recent_high_watermarks(
        self: &Arc<Self>,
        partitions: &[TopicPartition],
    ) -> Vec<Option<(Offset, u64)>> {
        let recent = &self.questions.recent_high_watermarks;
        let ends = self.recent(Which::HighWatermarks, recent, partitions);
        let now_ms = self.env.monotonic_ms();
        let aged = |end: Option<(Offset, u64)>| {
            end.map(|(offset, asked_at_ms)| (offset, now_ms.saturating_sub(asked_at_ms)))
        };
        ends.into_iter().map(aged).collect()
    }

    fn recent(
        self: &Arc<Self>,
        which: Which,
        recent: &Mutex<Recent>,
        partitions: &[TopicPartition],
    ) -> Vec<Option<(Offset, u64)>> {
        let mut recent = lock(recent);
        let Recent {
            ends,
            asked_ms,
            asked,
        } = &mut *recent;
        asked.retain_mut(|(asked, asked_at_ms)| match asked.look(Duration::ZERO) {
            Ok(Some((partitions, offsets))) => {
                let found = offsets.iter().map(|offset| (*offset, *asked_at_ms));
                ends.extend(partitions.iter().cloned().zip(found));
                false
            }
            Ok(None) => true,
            Err(_) => false,
        });
        let now_ms = self.env.monotonic_ms();
        let is_old = |partition: &&TopicPartition| {
            asked_ms
                .get(*partition)
                .is_none_or(|asked_ms| now_ms >= asked_ms + RECENT_MS)
        };
        let old: Vec<TopicPartition> = partitions.iter().filter(is_old).cloned().collect();
        if !old.is_empty() {
            asked_ms.extend(old.iter().map(|partition| (partition.clone(), now_ms)));
            asked.extend(self.ask(which, old).map(|asked| (asked, now_ms)));
        }
        let end = |partition| ends.get(partition).copied();
        partitions.iter().map(end).collect()
    }
}

fn answer_all(cluster: &Weak<Cluster>, questions: &Receiver<Question>) {
    while let Ok(first) = questions.recv() {
        let mut waiting = vec![first];
        waiting.extend(questions.try_iter());
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        for which in [Which::Starts, Which::Ends, Which::HighWatermarks] {
            let asked = waiting.iter().filter_map(|question| match question {
                Question::Offsets(offsets) if offsets.which == which => Some(offsets),
                _ => None,
            });
            let asked: Vec<&Offsets> = asked.collect();
            answer(&cluster, which, &asked);
        }
        if waiting.iter().any(|one| matches!(one, Question::TopicIds)) {
            cluster.look_at_topic_ids();
        }
    }
}

/// Sends requests of one kind as one.
fn answer(cluster: &Cluster, which: Which, asked: &[&Offsets]) {
    let all: BTreeSet<&TopicPartition> = asked.iter().flat_map(|one| &one.partitions).collect();
    if all.is_empty() {
        for question in asked {
            let _ = question.answer.send(Ok(Vec::new()));
        }
        return;
    }
    let all: Vec<TopicPartition> = all.into_iter().cloned().collect();
    let offsets = match which {
        Which::Starts => cluster.start_offsets(&all),
        Which::Ends => cluster.end_offsets(&all, Isolation::ReadCommitted),
        Which::HighWatermarks => cluster.end_offsets(&all, Isolation::ReadUncommitted),
    };
    let of = |question: &Offsets| match &offsets {
        Ok(offsets) => {
            let found = |partition| Some(offsets[all.binary_search(partition).ok()?]);
            Ok(question.partitions.iter().filter_map(found).collect())
        }
        Err(error) => Err((error.kind(), error.message().to_owned())),
    };
    for question in asked {
        // A caller that no longer wants the answer has dropped the other end.
        let _ = question.answer.send(of(question));
    }
}
