//! Reading results: pages, and streams of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use marea::base::Offset;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Problem, Service, json};
use crate::results::Final;
use crate::service::pages::{Event, Results};

/// Number of results in a page, by default and at most.
const PAGE: usize = 100;
const PAGE_MOST: usize = 1_000;
/// The interval between keep-alive messages on an idle stream.
const ALIVE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The start of a page or a stream, and the length of a page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    cursor: Option<Offset>,
    limit: Option<usize>,
}

type Asked = Result<Query<Position>, QueryRejection>;

fn position(asked: Asked) -> Result<Position, Problem> {
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, message);
    let Query(position) = asked.map_err(|cause| bad(cause.body_text()))?;
    if position.cursor.is_some_and(|cursor| cursor < 0) {
        return Err(bad("cursor: must be `next` of an earlier page".to_owned()));
    }
    match position.limit {
        Some(limit) if limit == 0 || limit > PAGE_MOST => {
            Err(bad(format!("limit: must be from 1 to {PAGE_MOST}")))
        }
        _ => Ok(position),
    }
}

/// `GET /averages`.
pub(super) async fn give_averages(
    state: State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    give(state, headers, asked, "averages", |service| {
        &service.averages
    })
    .await
}

/// `GET /alerts`.
pub(super) async fn give_alerts(
    state: State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    give(state, headers, asked, "alerts", |service| &service.alerts).await
}

/// `GET /averages/live`.
pub(super) async fn stream_averages(
    state: State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    stream(state, headers, asked, "average", |service| {
        &service.averages
    })
    .await
}

/// `GET /alerts/live`.
pub(super) async fn stream_alerts(
    state: State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    stream(state, headers, asked, "alert", |service| &service.alerts).await
}

/// A page, or a stream for a client that accepts one.
async fn give<T: Final + 'static>(
    state: State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
    name: &'static str,
    of: fn(&Service) -> &Results<T>,
) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/event-stream")) {
        return stream(state, headers, asked, name.trim_end_matches('s'), of).await;
    }
    let given = async {
        let position = position(asked)?;
        let (from, limit) = (position.cursor.unwrap_or(0), position.limit.unwrap_or(PAGE));
        let page = of(&state).page(from, limit).await?;
        let results: Vec<&str> = page.events.iter().map(|(_, text)| &**text).collect();
        let text = format!(
            "{{\"{name}\":[{}],\"next\":{},\"more\":{}}}",
            results.join(","),
            page.next,
            page.more
        );
        Ok::<_, Problem>(json(StatusCode::OK, text))
    };
    given.await.unwrap_or_else(Problem::into_response)
}

/// Events from the client's position, or from now on.
async fn stream<T: Final + 'static>(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    asked: Asked,
    name: &'static str,
    of: fn(&Service) -> &Results<T>,
) -> Response {
    let begun = async {
        let position = position(asked)?;
        let last = headers.get(LAST_EVENT_ID).map(|last| {
            let offset = last
                .to_str()
                .ok()
                .and_then(|last| last.parse::<Offset>().ok());
            offset
                .filter(|offset| *offset >= 0 && *offset < Offset::MAX)
                .ok_or_else(|| {
                    let message = "Last-Event-ID: must be the id of an event of this stream";
                    Problem::new(StatusCode::BAD_REQUEST, message)
                })
        });
        let end = of(&service).end();
        let from = match (last.transpose()?, position.cursor) {
            (Some(last), _) => last + 1,
            (None, Some(cursor)) => cursor,
            (None, None) => *end.borrow(),
        };
        // An error in the position is reported now, as a status.
        of(&service).page(from, 1).await?;
        let permit = Arc::clone(&service.streams)
            .try_acquire_owned()
            .map_err(|_| {
                let message = "too many streams are open; read pages, or try again later";
                Problem::busy(StatusCode::SERVICE_UNAVAILABLE, message, 10)
            })?;
        let stopping = service.stopping.clone();
        let following = Following {
            service: Arc::clone(&service),
            from,
            waiting: Vec::new().into_iter(),
            end,
            stopping,
            _permit: permit,
        };
        let events = events(following, name, of);
        let alive = KeepAlive::new().interval(ALIVE);
        Ok::<_, Problem>(Sse::new(events).keep_alive(alive).into_response())
    };
    begun.await.unwrap_or_else(Problem::into_response)
}

/// The state of a stream.
struct Following {
    service: Arc<Service>,
    from: Offset,
    waiting: std::vec::IntoIter<Event>,
    end: watch::Receiver<Offset>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

fn events<T: Final + 'static>(
    following: Following,
    name: &'static str,
    of: fn(&Service) -> &Results<T>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold(following, move |mut following| async move {
        let (offset, text) = following.next(of).await?;
        let event = sse::Event::default()
            .id(offset.to_string())
            .event(name)
            .data(&*text);
        Some((Ok(event), following))
    })
}

impl Following {
    /// The next event; `None` when the service stops, or the log does not return it: the client
    /// reconnects.
    async fn next<T: Final + 'static>(&mut self, of: fn(&Service) -> &Results<T>) -> Option<Event> {
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            if let Some(event) = self.waiting.next() {
                return Some(event);
            }
            // Before the page, so that anything later is noticed.
            self.end.mark_unchanged();
            let page = of(&self.service).page(self.from, PAGE).await.ok()?;
            self.from = page.next;
            if !page.events.is_empty() || page.more {
                self.waiting = page.events.into_iter();
                continue;
            }
            tokio::select! {
                moved = self.end.changed() => moved.ok()?,
                stopped = self.stopping.changed() => stopped.ok()?,
            }
        }
    }
}
