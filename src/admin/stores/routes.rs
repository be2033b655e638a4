//! The routes of served stores.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::ServedStores;
use super::about::Tasks;
use super::ask::{Ask, Router};
use super::changes::{Beginning, Changes};
use super::failure::Failure;
use super::forward::HOP;
use super::instances::Instances;
use super::question::{Parameters, Question};
use super::served::Served;
use crate::admin::blocking::blocking;

/// The maximum number of streams of changes; each has a reader of the log.
const STREAMS: usize = 16;

#[derive(Clone)]
struct Routes {
    stores: Arc<ServedStores>,
    router: Arc<Router>,
    streams: Arc<Semaphore>,
}

/// The routes of served stores, for requests with access.
pub(in crate::admin) fn routes(stores: ServedStores) -> axum::Router {
    let (handle, advertised) = (stores.handle.clone(), stores.advertised.clone());
    let router = Router {
        instances: Instances::begin(handle.clone(), advertised),
        routing: stores.routing,
        handle,
    };
    let routes = Routes {
        stores: Arc::new(stores),
        router: Arc::new(router),
        streams: Arc::new(Semaphore::new(STREAMS)),
    };
    axum::Router::new()
        .route("/stores", get(list))
        .route("/stores/{name}/key/{key}", get(key))
        .route("/stores/{name}/rows", get(rows))
        .route("/stores/{name}/changes", get(changes))
        .with_state(routes)
}

type AskedPath<T> = Result<Path<T>, PathRejection>;
type AskedQuery<T> = Result<Query<T>, QueryRejection>;

async fn list(State(routes): State<Routes>) -> Result<Response, Failure> {
    let here = routes.stores.handle.queries()?.tasks();
    let about = |served: &Arc<dyn Served>| {
        let about = served.about();
        let tasks = about.tasks();
        let of = |tasks: &Tasks| {
            let here = here.iter();
            let here = here.filter(|task| task.subtopology == tasks.subtopology);
            here.map(|task| task.partition).collect::<Vec<u32>>()
        };
        json!({
            "name": about.name,
            "kind": about.kind.word(),
            "is_global": tasks.is_none(),
            "partitions": tasks.map(|tasks| tasks.partitions),
            "here": tasks.map(of),
            "has_changes": tasks.is_some_and(|tasks| tasks.changelog.is_some()),
        })
    };
    let stores: Vec<Value> = routes.stores.served.values().map(about).collect();
    Ok(json_response(&json!({ "stores": stores })))
}

async fn key(
    State(routes): State<Routes>,
    path: AskedPath<(String, String)>,
    query: AskedQuery<Parameters>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (Path((name, key)), Query(parameters)) = (path?, query?);
    let served = routes.served(&name)?;
    let question = parameters.key(served.about(), key.clone())?;
    let partition = match (parameters.partition, served.about().tasks()) {
        (Some(partition), _) => partition,
        (None, Some(tasks)) => served.partition_of(&key, tasks.partitions)?,
        (None, None) => 0,
    };
    let ask = ask(served, partition, question, &parameters, &uri, headers)?;
    routes.router.answer(ask).await
}

async fn rows(
    State(routes): State<Routes>,
    path: AskedPath<String>,
    query: AskedQuery<Parameters>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (Path(name), Query(parameters)) = (path?, query?);
    let served = routes.served(&name)?;
    let (partition, page) = parameters.page(served.about())?;
    let question = Question::Page(page);
    let ask = ask(served, partition, question, &parameters, &uri, headers)?;
    routes.router.answer(ask).await
}

fn ask(
    served: Arc<dyn Served>,
    partition: u32,
    question: Question,
    parameters: &Parameters,
    uri: &Uri,
    headers: HeaderMap,
) -> Result<Ask, Failure> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let route = uri.path_and_query().map_or("/", |route| route.as_str());
    Ok(Ask {
        served,
        partition,
        question,
        at_least: parameters.at_least()?,
        goes_on: parameters.partition.is_none(),
        hop: headers.get(HOP).map(text).or(parameters.hop.clone()),
        route: route.to_owned(),
        headers,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    from: Option<String>,
}

async fn changes(
    State(routes): State<Routes>,
    path: AskedPath<String>,
    query: AskedQuery<Begin>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (Path(name), Query(begin)) = (path?, query?);
    let served = routes.served(&name)?;
    let last = headers.get("last-event-id");
    let from = match (last, begin.from.as_deref()) {
        (Some(id), _) => Beginning::Event(String::from_utf8_lossy(id.as_bytes()).into_owned()),
        (None, None | Some("now")) => Beginning::Now,
        (None, Some("start")) => Beginning::Start,
        (None, Some(other)) => {
            let message = format!("changes start from `now` or from `start`, not from {other:?}");
            return Err(Failure::new(StatusCode::BAD_REQUEST, message));
        }
    };
    let permit = Arc::clone(&routes.streams).try_acquire_owned();
    let permit = permit.map_err(|_| {
        let message = format!("{STREAMS} streams of changes are open here; close one");
        Failure::later(message)
    })?;
    let handle = routes.stores.handle.clone();
    let opened = blocking(move || Changes::open(served, handle, &from, permit)).await?;
    let events = unfold(opened, async |mut changes| {
        let chunk = changes.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), changes))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    Ok((headers, Body::from_stream(events)).into_response())
}

impl Routes {
    fn served(&self, name: &str) -> Result<Arc<dyn Served>, Failure> {
        self.stores.served.get(name).map(Arc::clone).ok_or_else(|| {
            let message =
                format!("store {name:?} is not served here; `/stores` lists those that are");
            Failure::new(StatusCode::NOT_FOUND, message)
        })
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

fn json_response(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
