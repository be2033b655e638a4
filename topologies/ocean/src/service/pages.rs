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
    /// The end of what can be read.
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
            recent: Mutex::new(Recent::new(first, end)),
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
            // Before anyone can read the new results: a stream from now on must not repeat them.
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
    /// The end of what existed at the start.
    existed: Offset,
    events: VecDeque<Event>,
}

impl Recent {
    /// Of those from `first` on, of which some exist already, up to `existed`.
    fn new(first: Offset, existed: Offset) -> Self {
        Self {
            first,
            end: first,
            existed,
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
        // Until what existed at the start has been read, the end would be too early: results that clients have seen
        // before a restart would seem to be gone.
        if self.end < self.existed {
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    use marea::LogClients;
    use marea::base::SystemEnv;
    use marea::log::{MemoryLog, TopicSpec};

    use super::*;
    use crate::model::Average;

    const TOPIC: &str = "averages";

    /// Threads begin when they are let.
    #[derive(Debug)]
    struct Late {
        real: Arc<SystemEnv>,
        waiting: Mutex<Vec<Sender<()>>>,
    }

    impl Late {
        fn new() -> Arc<Self> {
            let real = SystemEnv::shared();
            let waiting = Mutex::default();
            Arc::new(Self { real, waiting })
        }

        /// Lets those begin that were spawned.
        fn begin(&self) {
            self.waiting.lock().unwrap().clear();
        }
    }

    /// Lets them begin when it is dropped: while they wait they cannot be joined.
    struct Begins(Arc<Late>);

    impl Drop for Begins {
        fn drop(&mut self) {
            self.0.begin();
        }
    }

    impl Env for Late {
        fn wall_ms(&self) -> i64 {
            self.real.wall_ms()
        }
        fn monotonic_ns(&self) -> u64 {
            self.real.monotonic_ns()
        }
        fn random_u64(&self) -> u64 {
            self.real.random_u64()
        }
        fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
            let (held, gate): (Sender<()>, Receiver<()>) = channel();
            self.waiting.lock().unwrap().push(held);
            let body = move || {
                // The other end is dropped when it may begin.
                let _ = gate.recv();
                body();
            };
            self.real.spawn(name, Box::new(body))
        }
        fn sleep(&self, duration: Duration) {
            self.real.sleep(duration);
        }
    }

    fn write(log: &Arc<dyn Log>, windows: std::ops::Range<i64>) {
        let mut producer = log.producer::<String, String>(TOPIC).unwrap();
        for window in windows {
            let average = Average {
                ocean: "Arctic".to_owned(),
                window_start_ms: window,
                window_end_ms: window + 1,
                count: 1,
                temperature_avg: 1.0,
                salinity_avg: 35.0,
                volume_avg: 300.0,
            };
            let text = serde_json::to_string(&average).unwrap();
            producer.send(average.ocean, text).unwrap();
        }
    }

    #[test]
    fn what_existed_at_the_start_is_there_before_it_has_been_read_into_memory() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(SystemEnv::shared()));
        log.create_topics(&[TopicSpec::new(TOPIC, 1)]).unwrap();
        write(&log, 0..5);
        let env = Late::new();
        let results = Results::<Average>::follow(Arc::clone(&log), env.clone(), TOPIC).unwrap();
        let _begins = Begins(env.clone());
        let page = |from, limit| {
            let page = runtime.block_on(results.page(from, limit)).unwrap();
            let offsets: Vec<_> = page.events.iter().map(|(offset, _)| *offset).collect();
            (offsets, page.next, page.more)
        };
        let early = [page(0, 3), page(3, 3), page(5, 3)];
        write(&log, 5..6);
        let mut end = results.end();
        let end_at_start = *end.borrow();
        env.begin();
        assert_eq!(early[0], (vec![0, 1, 2], 3, true));
        assert_eq!(early[1], (vec![3, 4], 5, false));
        assert_eq!(early[2], (vec![], 5, false));
        assert_eq!(end_at_start, 5);
        // What came later is in memory when the end says so.
        runtime.block_on(end.changed()).unwrap();
        assert_eq!(*end.borrow(), 6);
        assert_eq!(results.latest(10).len(), 6);
        assert_eq!(page(4, 3), (vec![4, 5], 6, false));
    }

    #[test]
    fn what_is_recent_is_given_in_pages_and_what_is_not_is_left_to_the_log() {
        let mut recent = Recent::new(10, 10);
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

    #[test]
    fn what_existed_at_the_start_is_left_to_the_log_until_all_of_it_was_read() {
        let mut recent = Recent::new(10, 12);
        assert_eq!(recent.page(10, 5), None);
        recent.push(10, "{}".into());
        assert_eq!(recent.page(10, 5), None);
        recent.push(11, "{}".into());
        let page = recent.page(10, 5).unwrap();
        assert_eq!((page.events.len(), page.next, page.more), (2, 12, false));
    }
}
