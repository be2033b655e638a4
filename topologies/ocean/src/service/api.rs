//! The routes: their requests and responses.

mod posts;
mod results;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use marea::base::{Env, ErrorKind};
use tokio::sync::{Semaphore, watch};

use super::intake::Intake;
use super::pages::Results;
use super::rate::Rate;
use crate::model::{Alert, Average};
use posts::take_readings;
use results::{give_alerts, give_averages, stream_alerts, stream_averages};

/// Bodies in memory at a time, in KiB.
const ROOM_KIB: usize = 32 << 10;

/// What posting clients were told, besides that their readings are in the log: since the process started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines that were refused as invalid.
    pub refused_readings: AtomicU64,
    /// Requests that were refused: no readings, too large, a misused key.
    pub refused_requests: AtomicU64,
    /// Requests that were told to come again: too fast, too busy, or the log is unavailable.
    pub deferred_requests: AtomicU64,
}

/// The state of the routes.
pub struct Service {
    /// The intake into the log.
    pub intake: Intake,
    /// Averages for reading.
    pub averages: Arc<Results<Average>>,
    /// Alerts for reading.
    pub alerts: Arc<Results<Alert>>,
    /// The rate limit per address.
    pub rate: Rate,
    /// Clocks.
    pub env: Arc<dyn Env>,
    /// Set when the service stops: streams end, and no more readings are taken.
    pub stopping: watch::Receiver<bool>,
    /// Number of requests with readings in progress.
    posting: AtomicUsize,
    /// What clients were told.
    pub tally: Tally,
    /// Room for bodies in memory.
    room: Arc<Semaphore>,
    /// Room for streams.
    streams: Arc<Semaphore>,
}

impl Service {
    /// The state of the routes, with room for this many streams.
    pub fn new(
        intake: Intake,
        averages: Arc<Results<Average>>,
        alerts: Arc<Results<Alert>>,
        rate: Rate,
        env: Arc<dyn Env>,
        stopping: watch::Receiver<bool>,
        streams: usize,
    ) -> Self {
        Self {
            intake,
            averages,
            alerts,
            rate,
            env,
            stopping,
            posting: AtomicUsize::new(0),
            tally: Tally::default(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            streams: Arc::new(Semaphore::new(streams)),
        }
    }
}

impl Service {
    /// Number of requests with readings in progress.
    pub fn posting(&self) -> usize {
        self.posting.load(Ordering::Acquire)
    }
}

/// The service's own routes.
pub fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/readings", post(take_readings))
        .route("/averages", get(give_averages))
        .route("/averages/live", get(stream_averages))
        .route("/alerts", get(give_alerts))
        .route("/alerts/live", get(stream_alerts))
        // The handler has its own limits, whose refusals are more informative.
        .layer(DefaultBodyLimit::disable())
        .with_state(service)
}

/// An error response.
struct Problem {
    status: StatusCode,
    message: String,
    retry_seconds: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_seconds: None,
        }
    }

    fn busy(status: StatusCode, message: impl Into<String>, seconds: u64) -> Self {
        Self {
            retry_seconds: Some(seconds),
            ..Self::new(status, message)
        }
    }
}

impl From<marea::Error> for Problem {
    fn from(error: marea::Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            ErrorKind::Unavailable | ErrorKind::Closed => {
                Self::busy(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), 1)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::json!({ "error": self.message }).to_string();
        let mut response = json(self.status, text);
        if let Some(seconds) = self.retry_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn json(status: StatusCode, text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text + "\n").into_response()
}
