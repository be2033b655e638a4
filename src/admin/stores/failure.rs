//! Answers other than the requested ones, as JSON, since programs read these routes.

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::admin::Refusal;
use crate::base::{Error, TaskId};

/// The task that was asked.
pub(super) const TASK: HeaderName = HeaderName::from_static("marea-task");
/// The input positions of the task that the answer includes.
pub(super) const POSITION: HeaderName = HeaderName::from_static("marea-position");

/// Why there is no answer. If trying later may help, it says when.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    message: String,
    /// Further fields that programs may use.
    more: Value,
    /// The task that was asked, if it came to that.
    task: Option<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            more: json!({}),
            task: None,
        }
    }

    /// Adds a field for programs.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more[name] = value.into();
        self
    }

    /// Says which task was asked.
    pub(super) fn about(mut self, task: &TaskId) -> Self {
        self.task = Some(task.to_string());
        self
    }

    /// Nobody can answer at the moment.
    pub(super) fn later(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status, refusal.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Refusal::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body["error"] = self.message.into();
        let of_task = self.task.as_deref().map(HeaderValue::from_str);
        if let Some(task) = self.task {
            body["task"] = task.into();
        }
        let json = [(CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body.to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(Ok(task)) = of_task {
            response.headers_mut().insert(TASK, task);
        }
        response
    }
}
