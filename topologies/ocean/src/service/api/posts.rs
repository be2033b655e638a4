//! Posting readings: the requirements on a request, and the response for each outcome.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::{Problem, Service, json};
use crate::service::intake::{Outcome, Posted};
use crate::service::known::mark;
use crate::service::post::{BODY_BYTES, Checked, Handling, look};

/// How long a body may take.
const READING: Duration = Duration::from_secs(10);
/// How long to wait for an answer of the log: a commit has 20 seconds, and there may be one before it.
const WAITING: Duration = Duration::from_secs(45);
/// A larger body is checked on a separate thread, so that others need not wait for it.
const SMALL_BYTES: usize = 16 << 10;
/// Largest idempotency key, in bytes.
const KEY_BYTES: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// `POST /readings`.
pub(super) async fn take_readings(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, Problem> {
    let answer = take(Arc::clone(&service), request).await;
    if let Err(problem) = &answer {
        let tally = &service.tally;
        let count = match problem.retry_seconds {
            Some(_) => &tally.deferred_requests,
            None => &tally.refused_requests,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    answer
}

async fn take(service: Arc<Service>, request: Request) -> Result<Response, Problem> {
    let _posting = Posting::begin(&service);
    if *service.stopping.borrow() {
        let message = "the service is stopping; nothing was taken: wait, and send it again";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Problem::busy(status, message, 1));
    }
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let key = idempotency_key(&headers)?;
    let handling = handling(&headers);
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        let message = "compressed bodies are not accepted; send it uncompressed";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    service
        .intake
        .check()
        .map_err(|outcome| refusal(outcome, false))?;
    let (body, room) = read(&service, &headers, body).await?;
    let lines = 1 + body.iter().filter(|byte| **byte == b'\n').count();
    let now_ms = service.env.monotonic_ms();
    if let Err(seconds) = service.rate.take(peer, lines, now_ms) {
        let message = format!("{peer} posts more readings than allowed; wait, and send it again");
        return Err(Problem::busy(
            StatusCode::TOO_MANY_REQUESTS,
            message,
            seconds,
        ));
    }
    let now_ms = service.env.wall_ms();
    let mark = mark(&body, handling == Handling::Strict);
    let checked = match body.len() {
        0..SMALL_BYTES => look(&body, handling, now_ms),
        _ => {
            let looking = tokio::task::spawn_blocking(move || look(&body, handling, now_ms));
            looking
                .await
                .unwrap_or_else(|_| Err("the body could not be read".to_owned()))
        }
    };
    let checked = checked.map_err(|reason| Problem::new(StatusCode::BAD_REQUEST, reason))?;
    answer(&service, key, mark, checked, room).await
}

/// Counts a request as in progress, until it is dropped.
struct Posting(Arc<Service>);

impl Posting {
    fn begin(service: &Arc<Service>) -> Self {
        service.posting.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(service))
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.0.posting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `Prefer` is a list of preferences, each perhaps with parameters, whose names and values have no case (RFC 7240).
fn handling(headers: &HeaderMap) -> Handling {
    let values = headers.get_all(PREFER).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let is_strict = |preference: &str| {
        let preference = preference.split(';').next().unwrap_or_default();
        let named = preference.split_once('=');
        named.is_some_and(|(name, value)| {
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("handling") && value.eq_ignore_ascii_case("strict")
        })
    };
    match preferences.any(is_strict) {
        true => Handling::Strict,
        false => Handling::Lenient,
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let bad = || {
        let message = format!(
            "Idempotency-Key: must be one key of 1 to {KEY_BYTES} visible ASCII \
                               characters"
        );
        Problem::new(StatusCode::BAD_REQUEST, message)
    };
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let bytes = key.as_bytes();
    let is_good = matches!(bytes.len(), 1..=KEY_BYTES) && bytes.iter().all(u8::is_ascii_graphic);
    match (is_good && keys.next().is_none(), key.to_str()) {
        (true, Ok(key)) => Ok(Some(key.to_owned())),
        _ => Err(bad()),
    }
}

/// Reads a body within its limits, once there is room for it.
async fn read(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let too_large = || {
        let message = format!("a body may have at most {BODY_BYTES} bytes; send several");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let told = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let bytes = told
        .and_then(|told| told.parse::<usize>().ok())
        .unwrap_or(BODY_BYTES);
    if bytes > BODY_BYTES {
        return Err(too_large());
    }
    // Its lines and records need about as much again.
    let kib = (2 * bytes).div_ceil(1 << 10).max(1) as u32;
    let room = Arc::clone(&service.room).try_acquire_many_owned(kib);
    let room = room.map_err(|_| {
        let message = "too many bodies are being read; wait, and send it again";
        Problem::busy(StatusCode::SERVICE_UNAVAILABLE, message, 1)
    })?;
    match timeout(READING, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => Ok((body, room)),
        Ok(Err(cause)) => {
            let cause = std::error::Error::source(&cause);
            let is_long = cause.is_some_and(|cause| cause.to_string().contains("limit"));
            Err(match is_long {
                true => too_large(),
                false => Problem::new(StatusCode::BAD_REQUEST, "the body is incomplete"),
            })
        }
        Err(_) => {
            let message = format!("the body took longer than {} seconds", READING.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// Queues the checked lines, and answers when they are in the log.
async fn answer(
    service: &Service,
    key: Option<String>,
    body: u64,
    checked: Checked,
    room: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let (answer, answered) = oneshot::channel();
    let has_key = key.is_some();
    let posted = Posted {
        key,
        body,
        checked,
        answer,
        room: Some(room),
    };
    service
        .intake
        .submit(posted)
        .map_err(|outcome| refusal(outcome, has_key))?;
    let unsure = Outcome::Later {
        reason: "the log did not acknowledge the readings in time",
        seconds: 1,
        unsure: true,
    };
    let outcome = match timeout(WAITING, answered).await {
        Ok(Ok(outcome)) => outcome,
        _ => unsure,
    };
    let Outcome::Answered { report, again } = outcome else {
        return Err(refusal(outcome, has_key));
    };
    let text = serde_json::to_string(&report)
        .map_err(|cause| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string()))?;
    let status = StatusCode::from_u16(report.status()).unwrap_or(StatusCode::OK);
    let mut response = json(status, text);
    let refused = match again {
        // They were counted the first time, if that was answered.
        true => 0,
        false => report.refused as u64,
    };
    (service.tally.refused_readings).fetch_add(refused, Ordering::Relaxed);
    if again {
        let said = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, said);
    }
    Ok(response)
}

/// The error response for an outcome.
fn refusal(outcome: Outcome, has_key: bool) -> Problem {
    match outcome {
        Outcome::KeyOfAnotherBody => {
            let message = "this Idempotency-Key was used for another body within 24 hours";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        }
        Outcome::Later {
            reason,
            seconds,
            unsure,
        } => {
            let advice = match (unsure, has_key) {
                (false, _) => "nothing was taken: wait, and send it again",
                (true, true) => "send it again with the same Idempotency-Key: it is counted once",
                (true, false) => {
                    "it may be in the log nevertheless; with an Idempotency-Key it could safely be sent \
                     again"
                }
            };
            let message = format!("{reason}; {advice}");
            Problem::busy(StatusCode::SERVICE_UNAVAILABLE, message, seconds)
        }
        Outcome::Answered { .. } => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no refusal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_handling_is_one_of_several_preferences() {
        let handling = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            handling(&headers)
        };
        for strict in [
            &["handling=strict"][..],
            &["Handling = \"Strict\""],
            &["respond-async, handling=strict; x=y"],
            &["wait=5", "handling=strict"],
        ] {
            assert_eq!(handling(strict), Handling::Strict, "{strict:?}");
        }
        for lenient in [
            &[][..],
            &["handling=lenient"],
            &["strict"],
            &["x=\"handling=strict\""],
        ] {
            assert_eq!(handling(lenient), Handling::Lenient, "{lenient:?}");
        }
    }
}
