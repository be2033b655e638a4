//! Who has access: checked before anything else in a request.
//!
//! ```text
//!  request --> Host   a name of this server, or an address
//!          --> Origin this page itself, if a page sends it at all
//!          --> token  for every change; for reads too, unless they are open
//! ```
//!
//! The first two are there because a browser gets around a firewall. A page of any site can send requests to
//! `localhost`, and a name that its owner points there (DNS rebinding) makes the answers readable. Such a request
//! has the foreign name as its `Host`; one sent across origins has an `Origin` or `Sec-Fetch-Site` that says so.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::{Refusal, Token};
use crate::base::{Error, Result};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether reading needs the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reads {
    /// It does, like changes.
    #[default]
    WithToken,
    /// Anyone who can reach the address may read. For an address that only this machine can reach.
    Open,
}

/// Who has access. [`Guard::for_address`] makes the right one for an address.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The token that a request must present. Without one nothing can be changed, and nothing read unless reads
    /// are open.
    pub token: Option<Token>,
    /// Whether reading needs the token.
    pub reads: Reads,
    /// The names of this server, without a port: `marea.example.org`. Addresses and `localhost` are always
    /// accepted, since nobody can point those elsewhere.
    pub hosts: Vec<String>,
}

impl Guard {
    /// The guard of a server bound to `address`: on loopback anyone on this machine may read, and a token, if
    /// there is one, is needed for changes; elsewhere everything needs the token.
    ///
    /// # Errors
    /// `Invalid` if the address is not a loopback one and there is no token.
    pub fn for_address(address: SocketAddr, token: Option<Token>) -> Result<Self> {
        let guard = Self {
            token,
            reads: match address.ip().is_loopback() {
                true => Reads::Open,
                false => Reads::WithToken,
            },
            hosts: Vec::new(),
        };
        guard.check_address(address)?;
        Ok(guard)
    }

    /// Adds a name of this server, without a port.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Refuses to serve a network openly.
    ///
    /// # Errors
    /// `Invalid` if the address is not a loopback one and there is no token, or reads do not need it.
    pub fn check_address(&self, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() || (self.token.is_some() && self.reads == Reads::WithToken) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{address} can be reached from other machines: set a token, which every request must then \
             send, or bind to 127.0.0.1"
        )))
    }

    /// Accepts requests that use a name of this server and were not sent by a page of another origin.
    ///
    /// # Errors
    /// 421 for a foreign `Host`, 403 for a foreign origin.
    pub fn check_place(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = self.check_host(uri, headers)?;
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        let is_foreign = match text(ORIGIN) {
            Some(origin) => {
                let own = ["http://", "https://"];
                let own = own.iter().filter_map(|scheme| origin.strip_prefix(scheme));
                !own.into_iter().any(|from| from.eq_ignore_ascii_case(&host))
            }
            // A user follows a link: the answer is a page of ours, which no other page can read.
            None if text(SEC_FETCH_MODE) == Some("navigate") => {
                text(SEC_FETCH_DEST) != Some("document")
            }
            // Browsers that do not send it send `Origin` with anything that could be read across origins.
            None => !matches!(text(SEC_FETCH_SITE), None | Some("same-origin" | "none")),
        };
        match is_foreign {
            false => Ok(()),
            true => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the request comes from a page of another origin; open this server's own page",
            )),
        }
    }

    /// The host that the request names, with its port.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
        let mut named = headers.get_all(HOST).iter();
        let host = match (named.next(), named.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let authority = host.and_then(|host| Authority::from_str(host).ok());
        // In a request to a proxy both name the host.
        let agrees = |authority: &Authority| uri.authority().is_none_or(|uri| uri == authority);
        let authority =
            authority.filter(|authority| agrees(authority) && !host.unwrap_or("").contains('@'));
        let Some(authority) = authority else {
            let message = "the request names no host, or several; send one `Host` header";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        };
        let name = authority.host().trim_end_matches('.');
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_known = IpAddr::from_str(bare).is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(name));
        match is_known {
            true => Ok(authority.to_string()),
            false => Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "this server is not known as {name}; use its address, or add the name to \
                     `Guard::hosts`"
                ),
            )),
        }
    }

    /// Accepts requests that present the token, and reads if they are open.
    ///
    /// # Errors
    /// 401 without the token, 403 for a change if no token is set.
    pub fn check_token(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let reads = method.is_safe();
        if reads && self.reads == Reads::Open {
            return Ok(());
        }
        let Some(token) = &self.token else {
            let message = match reads {
                true => {
                    "no token is set, so nothing is shown here; start the program with a token, or bind it \
                     to 127.0.0.1"
                }
                false => {
                    "no token is set, so nothing can be changed here; start the program with a token"
                }
            };
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        };
        match token.is_shown_in(headers) {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this requires the token; send it as `Authorization: Bearer TOKEN`",
            )),
        }
    }

    /// The routes of `router`, for requests that use a name of this server and come from no other origin; no token
    /// is needed. For a page, and for health checks.
    pub fn protect_place(&self, router: Router) -> Router {
        let guard = Arc::new(self.clone());
        router.layer(from_fn_with_state(guard, place))
    }

    /// The routes of `router`, for requests with access: [`Guard::check_place`], then [`Guard::check_token`].
    pub fn protect(&self, router: Router) -> Router {
        let guard = Arc::new(self.clone());
        self.protect_place(router.layer(from_fn_with_state(guard, token)))
    }
}

async fn place(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check_place(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn token(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check_token(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
