//! Results for reading: page by page, and live.
//!
//! ```text
//!  topic --> one thread --> the last thousand, in memory --> pages and streams that are near the end
//!    \--------------------- a few readers at a time -------> those that are far behind
//! ```
//! A stream keeps only its position: it requests the next page when the client has taken the last one. So
//! a slow client costs its connection, but no memory.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, Offset, Result, Thread, TopicPartition};
use marea::log::{Isolation, Log};
use tokio::sync::{Semaphore, watch};

use crate::results::{Final, Follower, WAIT};

/// Number of results kept in memory.
const RECENT: usize = 1_024;
/// Number of pages read from the log at a time.
const READERS: usize = 4;
/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(200);

/// A result, as JSON, and its offset.
pub type Event = (Offset, Arc<str>);

/// Some results in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The results.
    pub events: Vec<Event>,
    /// Where the next page begins.
    pub next: Offset,
    /// Whether more exist by now.
    pub more: bool,
}

/// The results of a topic of one partition.
pub struct Results<T> {
    shared: Arc<Shared>,
    thread: Option<Thread>,
    of: PhantomData<fn() -> T>,
}

struct Shared {
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    place: TopicPartition,
    recent: Mutex<Recent>,
    /// The end of what is in `recent`.
    end: watch::Sender<Offset>,
    readers: Semaphore,
    stop: AtomicBool,
}

impl<T: Final + 'static> Results<T> {
    /// Starts following the topic; memory starts with the last existing results.
    ///
    /// # Errors
    /// As [`Log::end_offset`] and [`Env::spawn`].
    pub fn follow(log: Arc<dyn Log>, env: Arc<dyn Env>, topic: &str) -> Result<Self> {
        let place = TopicPartition::new(topic, 0);
        let end = log.end_offset(&place, Isolation::ReadCommitted)?;
        let first = log
            .start_offset(&place)?
            .max(end - RECENT as Offset)
            .min(end);
        let shared = Arc::new(Shared {
            log,
            env: Arc::clone(&env),
            place,
            recent: Mutex::new(Recent::from(first)),
            end: watch::Sender::new(end),
            readers: Semaphore::new(READERS),
            stop: AtomicBool::new(false),
        });
        let following = Arc::clone(&shared);
        let body = move || {
            while !following.is_stopped() {
                if let Err(error) = following.run::<T>() {
                    tracing::warn!(%error, topic = %following.place, "following the results again");
                    following.env.sleep(TICK);
                }
            }
        };
        Ok(Self {
            thread: Some(env.spawn("ocean-results", Box::new(body))?),
            shared,
            of: PhantomData,
        })
    }

    /// The end of the results, whenever it moves.
    pub fn end(&self) -> watch::Receiver<Offset> {
        self.shared.end.subscribe()
    }

    /// The last results in memory, at most this many, the oldest first.
    pub fn latest(&self, limit: usize) -> Vec<Arc<str>> {
        let recent = self.shared.recent();
        let begin = recent.events.len().saturating_sub(limit);
        let events = recent.events.range(begin..);
        events.map(|(_, text)| Arc::clone(text)).collect()
    }

    /// Up to `limit` results from an offset.
    ///
    /// # Errors
    /// `Invalid` if the offset is beyond the end; else as [`Follower::poll`].
    pub async fn page(&self, from: Offset, limit: usize) -> Result<Page> {
        if let Some(page) = self.shared.recent().page(from, limit) {
            return Ok(page);
        }
        let closed = || Error::new(ErrorKind::Closed, "the service is stopping");
        let permit = self.shared.readers.acquire().await.map_err(|_| closed())?;
        let shared = Arc::clone(&self.shared);
        let read = move || shared.read::<T>(from, limit);
        let page = tokio::task::spawn_blocking(read).await;
        drop(permit);
        page.map_err(|_| closed())?
    }
}

impl<T> Drop for Results<T> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T: Final>(&self) -> Result<()> {
        let from = self.recent().end;
        let mut follower = Follower::new(&*self.log, &self.place.topic, from)?;
        while !self.is_stopped() {
            let mut new = Vec::new();
            follower.poll_with(TICK, |offset, result: T| new.push((offset, result)))?;
            let end = follower.position().unwrap_or(from);
            let mut recent = self.recent();
            for (offset, result) in new {
                recent.push(offset, json(&result)?);
            }
            recent.end = recent.end.max(end);
            drop(recent);
            self.end.send_if_modified(|known| {
                let moved = *known < end;
                *known = end.max(*known);
                moved
            });
        }
        Ok(())
    }

    /// A page of the log.
    fn read<T: Final>(&self, from: Offset, limit: usize) -> Result<Page> {
        let end = self.log.end_offset(&self.place, Isolation::ReadCommitted)?;
        if from > end {
            return Err(Error::invalid(format!(
                "there is no result at {from} yet: {} ends at {end}; start without a position",
                self.place
            )));
        }
        let start = self.log.start_offset(&self.place)?;
        let mut follower = Follower::new(&*self.log, &self.place.topic, from.max(start))?;
        let mut page = Page {
            next: end,
            ..Page::default()
        };
        let mut failed = None;
        while page.events.len() < limit {
            let before = follower.position();
            if before.is_none_or(|before| before >= end) {
                break;
            }
            follower.poll_with(WAIT, |offset, result: T| {
                if page.events.len() < limit && offset < end {
                    match json(&result) {
                        Ok(text) => page.events.push((offset, text)),
                        Err(error) => failed = Some(error),
                    }
                }
            })?;
            if follower.position() == before {
                let message = format!("{}: no record before its end; try again", self.place);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some((last, _)) = page.events.last().filter(|_| page.events.len() == limit) {
            page.next = last + 1;
        }
        page.more = page.next < end;
        Ok(page)
    }
}

fn json<T: Final>(result: &T) -> Result<Arc<str>> {
    let text = serde_json::to_string(result).map_err(|cause| {
        Error::internal("a result cannot be encoded as JSON").with_source(cause)
    })?;
    Ok(text.into())
}

/// The last results: all from `first` up to `end`.
#[derive(Debug)]
struct Recent {
    first: Offset,
    end: Offset,
    events: VecDeque<Event>,
}

impl Recent {
    fn from(end: Offset) -> Self {
        Self {
            first: end,
            end,
            events: VecDeque::new(),
        }
    }

    fn push(&mut self, offset: Offset, text: Arc<str>) {
        // Read again after a failure.
        if offset < self.end {
            return;
        }
        self.events.push_back((offset, text));
        self.end = offset + 1;
        if self.events.len() > RECENT
            && let Some((gone, _)) = self.events.pop_front()
        {
            self.first = gone + 1;
        }
    }

    /// A page, if all of it is in memory.
    fn page(&self, from: Offset, limit: usize) -> Option<Page> {
        if from < self.first || from > self.end {
            return None;
        }
        let begin = self.events.partition_point(|(offset, _)| *offset < from);
        let events: Vec<Event> = self.events.range(begin..).take(limit).cloned().collect();
        let more = begin + events.len() < self.events.len();
        let next = match events.last() {
            Some((last, _)) if more => last + 1,
            _ => self.end,
        };
        Some(Page { events, next, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recent_is_given_in_pages_and_what_is_not_is_left_to_the_log() {
        let mut recent = Recent::from(10);
        assert_eq!(recent.page(9, 5), None);
        assert_eq!(recent.page(11, 5), None);
        let empty = recent.page(10, 5).unwrap();
        assert_eq!((empty.events.len(), empty.next, empty.more), (0, 10, false));
        for offset in 10..10 + RECENT as Offset {
            recent.push(offset * 2, "{}".into());
        }
        // The first one is still in memory.
        assert_eq!(recent.first, 10);
        let page = recent.page(10, 2).unwrap();
        assert_eq!(page.events.len(), 2);
        assert_eq!((page.next, page.more), (23, true));
        recent.push(1_000_000, "{}".into());
        assert_eq!(recent.page(20, 1), None);
        assert_eq!(recent.page(21, 1).unwrap().events[0].0, 22);
        recent.push(5, "{}".into());
        assert_eq!(recent.events.len(), RECENT);
        let last = recent.page(1_000_000, 2).unwrap();
        assert_eq!(
            (last.events.len(), last.next, last.more),
            (1, 1_000_001, false)
        );
    }
}
