//! Asks another instance, and returns its answer.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::{POSITION, TASK};
use super::url::Url;
use crate::base::TaskId;

/// Marks a request from another instance, which is never sent on, and names its application.
pub(super) const HOP: HeaderName = HeaderName::from_static("marea-hop");
/// How long connecting may take, and answering, in addition to the wait that the question asks for.
const CONNECTING: Duration = Duration::from_secs(2);
const ANSWERING: Duration = Duration::from_secs(10);
/// The largest answer: a page, and the row that exceeded it.
const BODY_BYTES: usize = 16 << 20;

/// The answer of another instance.
pub(super) struct Relayed {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Asks the instance at an address for a route, on behalf of the client: with the token that the client presented.
///
/// # Errors
/// Why there is no answer, as text for people.
pub(super) async fn forward(
    url: &Url,
    route: &str,
    application: &str,
    asked: &HeaderMap,
    wait: Duration,
) -> Result<Relayed, String> {
    let connecting = TcpStream::connect((url.host(), url.port()));
    let stream = match timeout(CONNECTING, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("cannot be reached: {error}")),
        Err(_) => return Err("cannot be reached in time".to_owned()),
    };
    let _ = stream.set_nodelay(true);
    let exchange = async {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the answer, or when this is abandoned and the sender with it.
        tokio::spawn(connection);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = url.path(route).parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(url.authority())?);
        headers.insert(HOP, HeaderValue::from_str(application)?);
        if let Some(token) = asked.get(AUTHORIZATION) {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES).collect().await?.to_bytes();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Relayed {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    match timeout(wait + ANSWERING, exchange).await {
        Ok(Ok(relayed)) => Ok(relayed),
        Ok(Err(error)) => Err(format!("did not answer: {error}")),
        Err(_) => Err("did not answer in time".to_owned()),
    }
}

impl Relayed {
    /// The answer, if it is one about the task. Anybody may listen at an old address, so only an answer that names the task is
    /// believed. The guard of an instance names none.
    ///
    /// # Errors
    /// What it is instead, for people.
    pub(super) fn about(self, task: &TaskId) -> Result<Self, String> {
        let named = self.headers.get(TASK);
        let is_about_it =
            named.is_some_and(|named| named.as_bytes() == task.to_string().as_bytes());
        match (self.status, is_about_it) {
            (StatusCode::MISDIRECTED_REQUEST, true) => Err("no longer has it".to_owned()),
            (_, true) => Ok(self),
            (StatusCode::MISDIRECTED_REQUEST, false) => {
                Err("does not accept that name, or belongs to another application".to_owned())
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, false) => {
                Err("refuses the token; all instances must have the same token".to_owned())
            }
            (status, false) => Err(format!("answered {status}, but not about that task")),
        }
    }
}

impl IntoResponse for Relayed {
    fn into_response(mut self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        for name in [CONTENT_TYPE, RETRY_AFTER, TASK, POSITION] {
            if let Some(value) = self.headers.remove(&name) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
