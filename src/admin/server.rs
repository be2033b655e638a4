//! Serves a router, within limits: whatever a client does or fails to do costs a bounded amount of memory and
//! time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use futures::future::{Either, select};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::room::{Arriving, Leaving, Place, Room};
use super::timed::TimedStream;
use crate::base::{Error, ErrorKind, Result};

/// The limits on what clients may use of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of connections. When another one arrives, the one that has waited longest for its client
    /// is closed, whether for a request or for the rest of a body; if none waits, the new one waits until it can
    /// be served.
    pub connections: usize,
    /// How long a client may take to send the head of a request, in milliseconds; then its connection is closed.
    /// So is a connection without a request for this long.
    pub header_timeout_ms: u64,
    /// How long a client may leave data unread, in milliseconds; then its connection is closed.
    pub write_timeout_ms: u64,
    /// The largest head of a request, in bytes.
    pub header_bytes: usize,
    /// The largest body, in bytes. Reading a larger one fails, whatever a route allows.
    pub body_bytes: usize,
    /// How long requests may take to finish once the server is told to stop, in milliseconds.
    pub stop_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header_timeout_ms: 10_000,
            write_timeout_ms: 10_000,
            header_bytes: 16 << 10,
            body_bytes: 64 << 10,
            stop_ms: 2_000,
        }
    }
}

/// The pause after the system has refused a connection, perhaps because there are too many.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a connection that was told to close is given before the next one is told.
const GOING: Duration = Duration::from_millis(20);

/// A bound address, to serve a router on.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
}

impl Server {
    /// Binds an address; port 0 chooses a free one. Runs on the caller's tokio runtime, as all of this does.
    ///
    /// # Errors
    /// `Unavailable` if the address cannot be bound.
    pub async fn bind(address: SocketAddr, limits: Limits) -> Result<Self> {
        let unable = |cause: std::io::Error| {
            let message = format!(
                "{address} cannot be bound; choose another port, or stop the program that uses it"
            );
            Error::new(ErrorKind::Unavailable, message).with_source(cause)
        };
        let listener = TcpListener::bind(address).await.map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;
        Ok(Self {
            listener,
            address,
            limits,
        })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `until` resolves: then no more connections are accepted, and requests in progress
    /// have [`Limits::stop_ms`] to finish. Handlers find the address of a client in the extension
    /// [`ConnectInfo<SocketAddr>`](ConnectInfo).
    ///
    /// # Errors
    /// None yet: a failed connection affects only itself.
    pub async fn serve(self, router: Router, until: impl Future<Output = ()>) -> Result<()> {
        let limits = self.limits;
        let permits = Arc::new(Semaphore::new(limits.connections.max(1)));
        let room = Arc::new(Room::default());
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut until = pin!(until);
        loop {
            let next = async {
                let accepted = self.listener.accept().await;
                // Nobody else takes a permit.
                if permits.available_permits() == 0 {
                    room.make();
                }
                loop {
                    let free = Arc::clone(&permits).acquire_owned();
                    match timeout(GOING, free).await {
                        // The semaphore is never closed.
                        Ok(permit) => break (permit.ok(), accepted),
                        Err(_) => room.make(),
                    }
                }
            };
            let (permit, accepted) = match select(&mut until, pin!(next)).await {
                Either::Left(_) => break,
                Either::Right((accepted, _)) => accepted,
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, peer)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            let (router, stopped, place) = (router.clone(), stopped.clone(), room.enter());
            connections.spawn(async move {
                let own = Arc::clone(&place);
                {
                    let served = connection(stream, peer, router, limits, stopped, place);
                    select(pin!(served), pin!(own.gone())).await;
                }
                drop(permit);
            });
        }
        drop(stop);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(Duration::from_millis(limits.stop_ms), ended)
            .await
            .is_err()
        {
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// Serves one connection to its end, or until `stopped` says that the server is gone.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
    place: Arc<Place>,
) {
    // Events are small and infrequent.
    let _ = stream.set_nodelay(true);
    let patience = Duration::from_millis(limits.write_timeout_ms);
    let stream = TokioIo::new(TimedStream::new(stream, patience));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, place) = (router.clone(), Arc::clone(&place));
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let body = |body| Arriving::new(Limited::new(body, limits.body_bytes), &place);
            let request = request.map(|whole| Body::new(body(whole)));
            let answer = tower_service::Service::call(&mut router.clone(), request).await;
            let answer = answer.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(answer.map(|body| Leaving::new(body, &place)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_buf_size(limits.header_bytes.max(8 << 10))
        .serve_connection(stream, service);
    let mut serving = pin!(serving);
    let ended = {
        let gone = pin!(async { while stopped.changed().await.is_ok() {} });
        match select(serving.as_mut(), gone).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right(_) => None,
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}
