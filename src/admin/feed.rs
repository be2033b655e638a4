//! The states of the last half minute, one per second, shared by all streams of events.
//!
//! ```text
//!  ticker --> | 41 | 42 | 43 | 44 |     the last thirty; older ones are gone
//!                ^         ^
//!              stream    stream         each knows the number of the state it sent last
//! ```
//!
//! A stream takes the next state when its client has read the last one; nothing is queued for it. If the next
//! state is gone, the client is not reading, and the stream ends. A client that comes back gives the number of the
//! last state it has seen, and gets those it has missed, as far as they are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How many states are kept, and how often one is made.
const KEPT: usize = 30;
const PACE: Duration = Duration::from_secs(1);
/// How many ticks without any reader pass before no more states are made.
const LONELY: u32 = 60;
/// The maximum number of streams, unless the application sets another.
pub(super) const STREAMS: usize = 64;

/// Makes the current state.
pub(super) type MakeState = dyn Fn() -> String + Send + Sync;

/// Shared by all streams of one router.
pub(super) struct Feed {
    make: Box<MakeState>,
    /// Distinguishes this process from others in the ids of events.
    epoch: u64,
    pace: Duration,
    streams_max: usize,
    inner: Mutex<Inner>,
    /// The number of the last state.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    /// The number of the first state that is kept.
    first: u64,
    states: VecDeque<Bytes>,
    streams: usize,
    ticks: bool,
}

impl Feed {
    pub(super) fn new(epoch: u64, streams_max: usize, make: Box<MakeState>) -> Arc<Self> {
        Self::with_pace(epoch, streams_max, make, PACE)
    }

    fn with_pace(
        epoch: u64,
        streams_max: usize,
        make: Box<MakeState>,
        pace: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            make,
            epoch,
            pace,
            streams_max,
            inner: Mutex::default(),
            last: watch::Sender::new(0),
        })
    }

    /// The number of open streams.
    pub(super) fn streams(&self) -> usize {
        self.lock().streams
    }

    /// A stream that begins after `last_event_id`, or with the current state; `None` if there are too many.
    pub(super) fn subscribe(self: &Arc<Self>, last_event_id: Option<&str>) -> Option<Subscription> {
        let starts = {
            let mut inner = self.lock();
            if inner.streams >= self.streams_max {
                return None;
            }
            inner.streams += 1;
            !std::mem::replace(&mut inner.ticks, true)
        };
        if starts {
            self.push();
            tokio::spawn(Arc::clone(self).tick());
        }
        let inner = self.lock();
        let next = inner.first + inner.states.len() as u64;
        let seen = last_event_id.and_then(|id| self.number_of(id));
        // If that number is gone, or of another process, it begins with the last state.
        let resumed = seen.map(|seen| seen + 1);
        let resumed = resumed.filter(|resumed| (inner.first..=next).contains(resumed));
        Some(Subscription {
            next: resumed.unwrap_or(next.saturating_sub(1)),
            last: self.last.subscribe(),
            feed: Arc::clone(self),
        })
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let same = u64::from_str_radix(epoch, 16) == Ok(self.epoch);
        number.parse().ok().filter(|_| same)
    }

    /// Makes the current state.
    fn push(&self) {
        let state = (self.make)();
        let mut inner = self.lock();
        let number = inner.first + inner.states.len() as u64;
        let epoch = self.epoch;
        let event = format!("id: {epoch:x}-{number}\nevent: state\ndata: {state}\n\n");
        inner.states.push_back(event.into());
        if inner.states.len() > KEPT {
            inner.states.pop_front();
            inner.first += 1;
        }
        self.last.send_replace(number);
    }

    /// Makes a state per second while anybody reads, and for a while after.
    async fn tick(self: Arc<Self>) {
        let mut ticks = interval(self.pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut lonely = 0;
        loop {
            ticks.tick().await;
            {
                let mut inner = self.lock();
                lonely = if inner.streams == 0 { lonely + 1 } else { 0 };
                if lonely >= LONELY {
                    // A reader that comes now finds no old states, and starts the next ticker.
                    inner.ticks = false;
                    inner.first += inner.states.len() as u64;
                    inner.states.clear();
                    return;
                }
            }
            self.push();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of events.
pub(super) struct Subscription {
    feed: Arc<Feed>,
    next: u64,
    last: watch::Receiver<u64>,
}

impl Subscription {
    /// The next event; `None` if it is no longer kept.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            {
                let inner = self.feed.lock();
                let place = self.next.checked_sub(inner.first)?;
                if let Some(event) = inner.states.get(usize::try_from(place).ok()?) {
                    self.next += 1;
                    return Some(event.clone());
                }
            }
            self.last.changed().await.ok()?;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.lock().streams -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// States that only `push` makes: 0, 1, 2, ...
    fn feed() -> Arc<Feed> {
        let number = AtomicU64::new(0);
        let make = move || number.fetch_add(1, Ordering::Relaxed).to_string();
        Feed::with_pace(0xabc, 3, Box::new(make), Duration::from_secs(3_600))
    }

    async fn data(stream: &mut Subscription) -> Option<String> {
        let event = stream.next().await?;
        let event = String::from_utf8(event.to_vec()).expect("text");
        let lines: Vec<&str> = event.lines().collect();
        assert_eq!(lines[1], "event: state");
        let id = lines[0].strip_prefix("id: abc-").expect("an id");
        assert_eq!(lines[2], format!("data: {id}"));
        Some(id.to_owned())
    }

    #[tokio::test]
    async fn a_stream_begins_with_the_state_of_now() {
        let feed = feed();
        let mut first = feed.subscribe(None).expect("room");
        assert_eq!(data(&mut first).await.as_deref(), Some("0"));
        feed.push();
        let mut second = feed.subscribe(Some("nonsense")).expect("room");
        assert_eq!(data(&mut second).await.as_deref(), Some("1"));
        assert_eq!(data(&mut first).await.as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_was_missed() {
        let feed = feed();
        drop(feed.subscribe(None).expect("room"));
        (0..5).for_each(|_| feed.push());
        let mut back = feed.subscribe(Some("abc-2")).expect("room");
        for number in ["3", "4", "5"] {
            assert_eq!(data(&mut back).await.as_deref(), Some(number));
        }
        let mut of_another_process = feed.subscribe(Some("abd-2")).expect("room");
        assert_eq!(data(&mut of_another_process).await.as_deref(), Some("5"));
        let mut of_the_future = feed.subscribe(Some("abc-77")).expect("room");
        assert_eq!(data(&mut of_the_future).await.as_deref(), Some("5"));
    }

    #[tokio::test]
    async fn one_who_does_not_read_is_dropped() {
        let feed = feed();
        let mut slow = feed.subscribe(None).expect("room");
        (0..=KEPT).for_each(|_| feed.push());
        assert_eq!(data(&mut slow).await, None);
        assert_eq!(feed.lock().states.len(), KEPT);
    }

    #[tokio::test]
    async fn streams_are_bounded() {
        let feed = feed();
        let all: Vec<_> = (0..3).map(|_| feed.subscribe(None)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(feed.subscribe(None).is_none());
        drop(all);
        assert_eq!(feed.streams(), 0);
        assert!(feed.subscribe(None).is_some());
    }
}
