//! Monitoring of an application over HTTP: metrics, health, state and a live page. Feature `admin`.
//!
//! ```text
//!  Application -- handle --> router ---> /                 the page: is it healthy, where is it stuck?
//!                              |         /metrics          OpenMetrics, for a scraper
//!                              |         /health/live, /health/ready    for health checks
//!                              |         /topology  /state  /events     JSON, DOT, server-sent events
//!                              |         /dead-letters     lists what failed, and sends it again
//!                              |         /stores           rows and changes of the registered stores
//!                            Guard       Host, Origin, token: before anything else looks at a request
//!                              |
//!                            Server      connections, header time-out, body size
//! ```
//!
//! Nothing here is on the path of a record: workers publish their counts every tenth of a second, and a request
//! reads those ([`Application::snapshot`](crate::runtime::Application::snapshot)).
//!
//! There are two ways to use it. [`serve`] binds an address and serves only this. A service with routes of its own
//! merges [`router`] with them, protects its own routes with the same [`Guard`], and serves everything with
//! [`Server`]:
//!
//! ```no_run
//! # async fn main_of(application: marea::runtime::Application) -> marea::Result<()> {
//! use std::future::pending;
//! use marea::admin::{self, AdminOptions, Guard, Limits, Server};
//!
//! let server = Server::bind("127.0.0.1:8080".parse().unwrap(), Limits::default()).await?;
//! let guard = Guard::for_address(server.address(), None)?;
//! let own = axum::Router::new().route("/readings", axum::routing::get(async || "[]"));
//! let own = guard.protect(own);
//! let face = admin::router(application.handle(), AdminOptions::new(guard));
//! server.serve(face.merge(own), pending()).await
//! # }
//! ```

mod token;
mod refusal;
mod records;
mod blocking;
mod guard;
mod timed;
mod room;
mod server;
mod stores;
mod exposition;
mod counter;
mod feed;
mod options;
mod words;
mod process;
mod metrics;
mod health;
mod state;
mod dead_letters;
mod page;
mod router;

pub use guard::{Guard, Reads};
pub use options::{AdminOptions, Section};
pub use refusal::Refusal;
pub use router::{router, serve};
pub use server::{Limits, Server};
pub use stores::{Routing, ServedStores};
pub use token::Token;
