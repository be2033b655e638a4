//! All routes together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{OriginalUri, Query, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::unfold;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::blocking::blocking;
use super::counter::Counter;
use super::dead_letters::{Cursor, DeadLetters};
use super::exposition::Format;
use super::feed::Feed;
use super::health::Health;
use super::metrics::Own;
use super::{
    AdminOptions, Guard, Limits, Refusal, Section, ServedStores, Server, metrics, page, state,
    stores,
};
use crate::base::Result;
use crate::runtime::Handle;

/// The most that a client may send to a route of this router, in bytes, and how long it may take.
const BODY_BYTES: usize = 4 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Dead letters per page: the default, and the maximum.
const LETTERS: usize = 50;
const LETTERS_MAX: usize = 200;

/// What all routes share.
struct Face {
    handle: Handle,
    guard: Guard,
    sections: Vec<Section>,
    counters: Vec<Counter>,
    index: String,
    /// The topology as JSON, with what the start found on the log.
    topology_json: String,
    dead_letters: DeadLetters,
}

/// The routes with what they share.
#[derive(Clone)]
struct Routes {
    face: Arc<Face>,
    feed: Arc<Feed>,
}

/// The routes for monitoring an application, each behind the guard of `options`. They are relative, so they can be
/// nested under a prefix, which is then the address of the page.
///
/// `/health/live`, `/health/ready` and the page itself need no token, since a health check has none and the page
/// asks for it; for everything else see [`Guard::check_token`]. The reasons for bad health are given only to those
/// who may read.
pub fn router(handle: Handle, mut options: AdminOptions) -> Router {
    let stores = options.stores.take();
    if let Some(host) = stores.as_ref().and_then(ServedStores::host) {
        options.guard.hosts.push(host.to_owned());
    }
    let face = Arc::new(Face {
        index: page::index(&handle.about().application, &options),
        topology_json: state::topology(handle.about()),
        dead_letters: DeadLetters::new(handle.clone()),
        sections: options.sections,
        counters: options.counters,
        guard: options.guard,
        handle,
    });
    let epoch = face.handle.env().random_u64();
    let made = Arc::clone(&face);
    let make = Box::new(move || made.state().to_string());
    let feed = Feed::new(epoch, options.event_streams, make);
    let routes = Routes { face, feed };
    let mut open = Router::new()
        .route("/", get(index))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready));
    for (name, content_type, content) in page::FILES {
        let file = move || async move { ([(CONTENT_TYPE, content_type)], content) };
        open = open.route(&format!("/{name}"), get(file));
    }
    let closed = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/topology", get(topology))
        .route("/state", get(state_now))
        .route("/events", get(events))
        .route("/dead-letters", get(letters))
        .route("/dead-letters/redrive", post(redrive));
    let guard = routes.face.guard.clone();
    let open = guard.protect_place(open.with_state(routes.clone()));
    let closed = closed.with_state(routes);
    let closed = match stores {
        Some(stores) => closed.merge(stores::routes(stores)),
        None => closed,
    };
    let closed = guard.protect(closed);
    open.merge(closed).layer(map_response(hardened))
}

/// Binds `address` and serves only the routes of [`router`] until `until` resolves. Runs on the caller's tokio
/// runtime.
///
/// ```no_run
/// # async fn main_of(application: marea::runtime::Application) -> marea::Result<()> {
/// use marea::admin::{self, AdminOptions, Guard};
///
/// let address = "127.0.0.1:8080".parse().unwrap();
/// let options = AdminOptions::new(Guard::for_address(address, None)?);
/// let stopped = async { drop(tokio::signal::ctrl_c().await) };
/// admin::serve(application.handle(), address, options, stopped).await
/// # }
/// ```
///
/// # Errors
/// `Invalid` if the address is not a loopback one and requests would need no token; `Unavailable` if it cannot be
/// bound.
pub async fn serve(
    handle: Handle,
    address: SocketAddr,
    options: AdminOptions,
    until: impl Future<Output = ()>,
) -> Result<()> {
    options.guard.check_address(address)?;
    let server = Server::bind(address, Limits::default()).await?;
    server.serve(router(handle, options), until).await
}

impl Face {
    fn as_far_as_allowed(&self, health: Health, headers: &HeaderMap) -> Health {
        match self.guard.check_token(&Method::GET, headers) {
            Ok(()) => health,
            Err(_) => health.without_reasons(),
        }
    }

    fn state(&self) -> Value {
        let (about, snapshot) = (self.handle.about(), self.handle.snapshot());
        let wall_ms = self.handle.env().wall_ms();
        let redriven = self.dead_letters.redriven();
        let mut state = state::json(about, &snapshot, wall_ms, redriven);
        state["sections"] = state::sections(&self.sections);
        state
    }
}

/// Answers are not cached, their content types not guessed, and the page not embedded in other pages.
async fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(CACHE_CONTROL, "no-store");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    set(
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    );
    response
}

async fn index(State(routes): State<Routes>, OriginalUri(uri): OriginalUri) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, page::POLICY),
    ];
    (headers, page::at(&routes.face.index, uri.path())).into_response()
}

async fn live(State(routes): State<Routes>, headers: HeaderMap) -> Health {
    let handle = &routes.face.handle;
    let health = Health::live(handle.about(), &handle.snapshot());
    routes.face.as_far_as_allowed(health, &headers)
}

async fn ready(State(routes): State<Routes>, headers: HeaderMap) -> Health {
    let handle = &routes.face.handle;
    let health = Health::ready(handle.about(), &handle.snapshot());
    routes.face.as_far_as_allowed(health, &headers)
}

async fn metrics_text(State(routes): State<Routes>, headers: HeaderMap) -> Response {
    let (face, format) = (&routes.face, Format::wanted(&headers));
    let own = Own {
        redriven: face.dead_letters.redriven(),
        streams: routes.feed.streams(),
    };
    let (about, snapshot) = (face.handle.about(), face.handle.snapshot());
    let text = metrics::text(about, &snapshot, own, &face.counters, format);
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopologyQuery {
    format: Option<String>,
}

async fn topology(
    State(routes): State<Routes>,
    Query(query): Query<TopologyQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    const DOT: &str = "text/vnd.graphviz";
    const TEXT: &str = "text/plain; charset=utf-8";
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accepts = |kind: &str| accepts.is_some_and(|accepted| accepted.contains(kind));
    let format = query.format.as_deref();
    let about = routes.face.handle.about();
    let json = ("application/json", routes.face.topology_json.clone());
    let (content_type, text) = match format {
        Some("json") => json,
        Some("dot") => (DOT, about.topology_dot.clone()),
        Some("text") => (TEXT, about.topology_text.clone()),
        Some("change") => (TEXT, about.change.to_string()),
        Some(other) => {
            let message =
                format!("topology has no format {other:?}; use json, dot, text or change");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        None if accepts(DOT) => (DOT, about.topology_dot.clone()),
        None if accepts("text/plain") => (TEXT, about.topology_text.clone()),
        None => json,
    };
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

async fn state_now(State(routes): State<Routes>) -> Response {
    json(&routes.face.state())
}

async fn events(State(routes): State<Routes>, headers: HeaderMap) -> Result<Response, Refusal> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok());
    let subscription = routes.feed.subscribe(last).ok_or_else(|| {
        let message = "too many pages are open; close some, or use /state";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let events = unfold(subscription, async |mut subscription| {
        let event = subscription.next().await?;
        Some((Ok::<_, std::convert::Infallible>(event), subscription))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    Ok((headers, Body::from_stream(events)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LettersQuery {
    before: Option<String>,
    limit: Option<usize>,
}

async fn letters(
    State(routes): State<Routes>,
    Query(query): Query<LettersQuery>,
) -> Result<Response, Refusal> {
    let before = query.before.map(|before| before.parse::<Cursor>());
    let before = before.transpose()?;
    let limit = query.limit.unwrap_or(LETTERS).clamp(1, LETTERS_MAX);
    let page = blocking(move || routes.face.dead_letters.page(before.as_ref(), limit)).await?;
    Ok(json(&page))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    partition: u32,
    offset: i64,
}

async fn redrive(State(routes): State<Routes>, request: Request) -> Result<Response, Refusal> {
    let Redrive { partition, offset } = body(request).await?;
    let sent = blocking(move || routes.face.dead_letters.redrive(partition, offset)).await?;
    Ok(json(&sent))
}

/// The body of a request, which is JSON and small.
async fn body<T: for<'a> Deserialize<'a>>(request: Request) -> Result<T, Refusal> {
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or("");
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        let message = "the body must be JSON; send it with `Content-Type: application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let bytes = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES)).await;
    let bytes = bytes.map_err(|_| {
        let message = "the body did not arrive in time";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
    })?;
    let bytes = bytes.map_err(|_| {
        let message = format!("the body could not be read; it may have at most {BODY_BYTES} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the body does not fit this request: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}

fn json(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
