//! Room for connections: when there is none, the connection that has waited for its client the longest is closed.
//!
//! ```text
//!  Waiting --> Working    its request has arrived completely, or has no body
//!     ^  \---> gone       a new connection needs room, and no other has waited longer
//!     +------- Working    its answer has been taken completely
//! ```
//! Otherwise a client that opens connections and sends nothing, or everything except the last byte, would keep all
//! others out until they time out, and could then start over.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

/// The connections that wait, the longest first.
#[derive(Debug, Default)]
pub(super) struct Room {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The number of the next one that begins to wait.
    next: u64,
    places: BTreeMap<u64, Arc<Notify>>,
}

impl Room {
    /// Tells the connection that has waited the longest to close, if any waits.
    pub(super) fn make(&self) {
        if let Some((_, gone)) = self.waiting().places.pop_first() {
            gone.notify_one();
        }
    }

    /// A place for a new connection, which waits.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Place> {
        let place = Arc::new(Place {
            room: Arc::clone(self),
            gone: Arc::default(),
            number: Mutex::default(),
        });
        place.waits();
        place
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    gone: Arc<Notify>,
    /// Its number among the waiting ones.
    number: Mutex<Option<u64>>,
}

impl Place {
    /// Its client must send something.
    fn waits(&self) {
        let mut number = self.number();
        if number.is_none() {
            let mut waiting = self.room.waiting();
            waiting.next += 1;
            let own = waiting.next;
            waiting.places.insert(own, Arc::clone(&self.gone));
            *number = Some(own);
        }
    }

    /// Its client has sent what it had to.
    fn works(&self) {
        if let Some(number) = self.number().take() {
            self.room.waiting().places.remove(&number);
        }
    }

    /// Resolves when it must make room.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.works();
    }
}

/// The body of a request: the connection works once the whole body has arrived.
pub(super) struct Arriving<B> {
    body: B,
    place: Arc<Place>,
}

impl<B: HttpBody> Arriving<B> {
    pub(super) fn new(body: B, place: &Arc<Place>) -> Self {
        if body.is_end_stream() {
            place.works();
        }
        Self {
            body,
            place: Arc::clone(place),
        }
    }
}

impl<B: HttpBody + Unpin> HttpBody for Arriving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.place.works();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: the connection waits again once the whole body has been taken.
pub(super) struct Leaving {
    body: Body,
    place: Arc<Place>,
}

impl Leaving {
    pub(super) fn new(body: Body, place: &Arc<Place>) -> Self {
        Self {
            body,
            place: Arc::clone(place),
        }
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.place.waits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn is_gone(place: &Place) -> bool {
        place.gone().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_has_waited_the_longest_makes_room_and_none_that_works() {
        let room = Arc::new(Room::default());
        let [first, second, third] = [room.enter(), room.enter(), room.enter()];
        drop(Arriving::new(Body::empty(), &first));
        room.make();
        assert!(!is_gone(&first) && is_gone(&second) && !is_gone(&third));
        // Its answer is sent: it waits again, behind the others.
        drop(Leaving::new(Body::from("answer"), &first));
        room.make();
        assert!(!is_gone(&first) && is_gone(&third));
        room.make();
        assert!(is_gone(&first));
        room.make();
    }

    #[tokio::test]
    async fn a_body_makes_it_work_once_it_is_whole() {
        let room = Arc::new(Room::default());
        let place = room.enter();
        let mut body = Box::pin(Arriving::new(Body::from("body"), &place));
        assert_eq!(room.waiting().places.len(), 1);
        while std::future::poll_fn(|context| body.as_mut().poll_frame(context))
            .await
            .is_some()
        {}
        assert_eq!(room.waiting().places.len(), 0);
        drop((body, place));
    }

    #[test]
    fn one_that_is_gone_takes_no_room() {
        let room = Arc::new(Room::default());
        drop(room.enter());
        assert_eq!(room.waiting().places.len(), 0);
    }
}
