//! All routes together.

use std::net::SocketAddr;

use axum::Router;

use super::{AdminOptions, Limits, Server};
use crate::base::Result;
use crate::runtime::Handle;

/// The routes of an application's face, each behind the guard of `options`. They are relative: nested under a prefix,
/// the page is at `PREFIX/`.
pub fn router(handle: Handle, options: AdminOptions) -> Router {
    let _ = handle;
    options.guard.protect(Router::new())
}

/// Binds `address` and serves the application's face alone until `until` resolves. Runs on the caller's
/// tokio runtime.
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
/// `Invalid` if the address is not a loopback one and a request would not need a token; `Unavailable` if it cannot be
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
