//! Takes one question to the instance that has the task.
//!
//! ```text
//!  the task is open here? --yes--> wait for `at_least` --> a view of the task --> the answer
//!        | no                           \-- the deadline is over --> 503
//!        v
//!  came from another instance? --yes--> 421, with the newest known owner
//!        | no
//!        v
//!  who opened it last, by the topic of instances? --nobody else, even after reading it again--> 503
//!        |
//!        v
//!  forward to it (or 307) --421, or not reached--> read again: another one? ask that, once --> 503
//! ```
//!
//! A request makes at most one hop, so that no two instances can send it back and forth. Only the instance that
//! has the task open answers from rows.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::about::{About, Tasks};
use super::failure::{Failure, POSITION, TASK};
use super::forward::forward;
use super::instances::{Freshness, Instances};
use super::question::{AtLeast, Question, place_text, positions_text};
use super::served::{Answered, Served};
use super::url::Url;
use crate::admin::Refusal;
use crate::admin::blocking::blocking;
use crate::base::{ErrorKind, Offset, TaskId, TopicPartition};
use crate::runtime::Handle;

/// How often a waiting question checks the positions.
const LOOK: Duration = Duration::from_millis(5);

/// How a question about a task of another instance gets there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// This instance asks the other one, and returns its answer. Clients are redirected to an instance that is
    /// reached only by `https`, since TLS is left to what stands in front of it.
    #[default]
    Forward,
    /// The client is told where to ask: 307. It must be able to reach every instance, and present the token there
    /// itself.
    Redirect,
}

/// Where questions go.
pub(super) struct Router {
    pub(super) handle: Handle,
    pub(super) instances: Arc<Instances>,
    pub(super) routing: Routing,
}

/// A question with its circumstances.
pub(super) struct Ask {
    pub(super) served: Arc<dyn Served>,
    pub(super) partition: u32,
    pub(super) question: Question,
    pub(super) at_least: AtLeast,
    /// Whether a list continues with the next partition.
    pub(super) goes_on: bool,
    /// The application whose other instance sent it here.
    pub(super) hop: Option<String>,
    /// Path and parameters, relative to the routes.
    pub(super) route: String,
    pub(super) headers: HeaderMap,
}

/// Whether a task here has reached the wanted positions.
enum Reached {
    Yes,
    NotHere,
    Behind(TopicPartition, Offset),
}

impl Router {
    pub(super) async fn answer(&self, ask: Ask) -> Result<Response, Failure> {
        let own = self.application();
        if let Some(other) = ask.hop.as_ref().filter(|application| *application != own) {
            // Without the task: of that application nothing is known.
            let message = format!("this is an instance of application {own:?}, not of {other:?}");
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, message));
        }
        let Some(tasks) = ask.served.about().tasks() else {
            return self.answer_here(ask.served, ask.question).await;
        };
        let task = tasks.task(ask.partition);
        let answer = self.answer_of(&ask, tasks, &task).await;
        answer.map_err(|failure| failure.about(&task))
    }

    /// Answers from a store that every instance has. The answer names no task and no positions: such a store is as
    /// new as this instance has read.
    async fn answer_here(
        &self,
        served: Arc<dyn Served>,
        question: Question,
    ) -> Result<Response, Failure> {
        let queries = self.handle.queries()?;
        let asked = Arc::clone(&served);
        let read = move || {
            asked
                .answer(&queries.view_of_globals(), &question)
                .map_err(Refusal::from)
        };
        let answered = blocking(read).await?;
        let (status, body) = body(served.about(), answered, |last| {
            last.map(|last| place_text(0, Some(&last)))
        });
        let json = [(CONTENT_TYPE, "application/json")];
        Ok((status, json, body.to_string()).into_response())
    }

    fn application(&self) -> &str {
        &self.handle.about().application
    }

    async fn answer_of(
        &self,
        ask: &Ask,
        tasks: &Tasks,
        task: &TaskId,
    ) -> Result<Response, Failure> {
        if ask.partition >= tasks.partitions {
            let name = &ask.served.about().name;
            let message = format!("store {name:?} has {} partitions", tasks.partitions);
            return Err(Failure::new(StatusCode::BAD_REQUEST, message));
        }
        match self.reach(task, &ask.at_least).await? {
            Reached::Yes => {}
            Reached::NotHere => return self.elsewhere(ask, task).await,
            Reached::Behind(partition, wanted) => {
                let message = format!(
                    "{partition} has not been read up to position {wanted} after {} ms; try again, or omit \
                     `at_least` for the current rows",
                    ask.at_least.wait.as_millis()
                );
                return Err(Failure::later(message));
            }
        }
        match self.read(ask, tasks.partitions, task.clone()).await? {
            Some(answer) => Ok(answer),
            // It was closed in the meantime.
            None => self.elsewhere(ask, task).await,
        }
    }

    /// Waits until a task here has committed the wanted positions.
    async fn reach(&self, task: &TaskId, at_least: &AtLeast) -> Result<Reached, Failure> {
        let env = self.handle.env();
        let until_ms = env.monotonic_ms() + at_least.wait.as_millis() as u64;
        loop {
            // Held only briefly, since it keeps the application's state alive.
            let Some(reached) = self.handle.queries()?.positions_of(task) else {
                return Ok(Reached::NotHere);
            };
            let Some((partition, wanted)) = first_behind(&reached, &at_least.positions)? else {
                return Ok(Reached::Yes);
            };
            if env.monotonic_ms() >= until_ms {
                return Ok(Reached::Behind(partition.clone(), *wanted));
            }
            sleep(LOOK).await;
        }
    }

    /// Asks a view of the task; `None` if it is no longer here.
    async fn read(
        &self,
        ask: &Ask,
        partitions: u32,
        task: TaskId,
    ) -> Result<Option<Response>, Failure> {
        let queries = self.handle.queries()?;
        let (served, question) = (Arc::clone(&ask.served), ask.question.clone());
        let read = move || {
            let view = match queries.view_of(&task) {
                Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(None),
                view => view?,
            };
            let answered = served.answer(&view, &question)?;
            Ok::<_, Refusal>(Some((answered, view.positions(), task)))
        };
        let Some((answered, positions, task)) = blocking(read).await? else {
            return Ok(None);
        };
        let response = respond(ask, partitions, answered, &positions, &task);
        Ok(Some(response))
    }

    /// Sends the question to the instance that has the task.
    async fn elsewhere(&self, ask: &Ask, task: &TaskId) -> Result<Response, Failure> {
        if ask.hop.is_some() {
            // Whether the log answers or not, the task is not here.
            let owner = self.owner(task, Freshness::Recent).await.unwrap_or(None);
            let message = format!("task {task} is no longer open in this instance");
            let failure = Failure::new(StatusCode::MISDIRECTED_REQUEST, message);
            let owner = owner.map(|owner| owner.text().to_owned());
            return Err(failure.with("owner", owner));
        }
        let mut owner = self.owner(task, Freshness::Recent).await?;
        if owner.is_none() {
            owner = self.owner(task, Freshness::New).await?;
        }
        let mut tried: Option<(Url, String)> = None;
        loop {
            let Some(url) = owner else {
                return Err(nobody(task, None));
            };
            if tried.as_ref().is_some_and(|(other, _)| *other == url) {
                return Err(nobody(task, tried));
            }
            if self.routing == Routing::Redirect || !url.is_plain() {
                return redirect(&url, &ask.route, self.application());
            }
            let own = self.application();
            let relayed = forward(&url, &ask.route, own, &ask.headers, ask.at_least.wait).await;
            let why = match relayed.and_then(|relayed| relayed.about(task)) {
                Ok(relayed) => return Ok(relayed.into_response()),
                Err(why) => why,
            };
            let is_second = tried.is_some();
            tried = Some((url, why));
            if is_second {
                return Err(nobody(task, tried));
            }
            owner = self.owner(task, Freshness::New).await?;
        }
    }

    /// The other instance that opened a task last, as far as it is recorded.
    async fn owner(&self, task: &TaskId, freshness: Freshness) -> Result<Option<Url>, Failure> {
        let owner = self.instances.owner(task, freshness).await?;
        let other = owner.filter(|url| !self.instances.is_own(url));
        // An unreadable address was written by a newer version.
        Ok(other.and_then(|url| Url::parse(&url).ok()))
    }
}

/// The first of the wanted positions that a task has not reached. Partitions of its topics that it does not read
/// itself are ignored.
///
/// # Errors
/// 400 for a topic that it does not read: its inputs cannot tell what became of a record there.
fn first_behind<'a>(
    reached: &[(TopicPartition, Offset)],
    wanted: &'a [(TopicPartition, Offset)],
) -> Result<Option<&'a (TopicPartition, Offset)>, Failure> {
    for wanted in wanted {
        let (partition, offset) = wanted;
        let mut inputs = reached.iter();
        if !inputs.any(|(input, _)| input.topic == partition.topic) {
            let inputs = positions_text(reached);
            let message = format!(
                "the task of this store does not read topic {}, so it cannot wait for its records; it has \
                 read {inputs}",
                partition.topic
            );
            return Err(Failure::new(StatusCode::BAD_REQUEST, message));
        }
        let mut reached = reached.iter();
        if reached.any(|(input, position)| input == partition && position < offset) {
            return Ok(Some(wanted));
        }
    }
    Ok(None)
}

/// Status and body of an answer; `next` makes the place where the next page begins of the bytes of the last key.
fn body(
    about: &About,
    answered: Answered,
    next: impl FnOnce(Option<Vec<u8>>) -> Option<String>,
) -> (StatusCode, Value) {
    let name = &about.name;
    let (status, mut body) = match answered {
        Answered::Missing => {
            let error = format!("store {name:?} has no row for this key");
            (StatusCode::NOT_FOUND, json!({ "error": error }))
        }
        Answered::Found(found) => (StatusCode::OK, found),
        Answered::Page(rows, last) => {
            let next = next(last);
            (StatusCode::OK, json!({ "rows": rows, "next": next }))
        }
    };
    body["store"] = name.as_str().into();
    (status, body)
}

fn respond(
    ask: &Ask,
    partitions: u32,
    answered: Answered,
    positions: &[(TopicPartition, Offset)],
    task: &TaskId,
) -> Response {
    let following = ask.partition + 1;
    let (status, mut body) = body(ask.served.about(), answered, |last| match last {
        Some(last) => Some(place_text(ask.partition, Some(&last))),
        None if ask.goes_on && following < partitions => Some(place_text(following, None)),
        None => None,
    });
    let read_to = positions
        .iter()
        .map(|(partition, offset)| (partition.to_string(), Value::from(*offset)));
    body["task"] = task.to_string().into();
    body["positions"] = Value::Object(read_to.collect());
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, text) in [
        (TASK, task.to_string()),
        (POSITION, positions_text(positions)),
    ] {
        // Names of topics and stores are valid in files and headers.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

fn nobody(task: &TaskId, tried: Option<(Url, String)>) -> Failure {
    let message = match &tried {
        None => format!(
            "task {task} is not open in this instance, and no other instance has announced it; a restore may be \
             in progress: try again"
        ),
        Some((url, why)) => {
            let url = url.text();
            format!("task {task} was last open at {url}, which {why}; try again")
        }
    };
    Failure::later(message)
}

fn redirect(owner: &Url, route: &str, application: &str) -> Result<Response, Failure> {
    let between = if route.contains('?') { '&' } else { '?' };
    let location = format!("{}{route}{between}hop={application}", owner.text());
    let location = HeaderValue::from_str(&location).map_err(|_| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "the address is not valid in a header",
        )
    })?;
    let headers = [(LOCATION, location)];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}
