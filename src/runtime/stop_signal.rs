//! SIGINT and SIGTERM: as a flag to check, and as a future.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{self, SignalKind};

use crate::base::{Error, ErrorKind, Result};

/// Set by the first SIGINT or SIGTERM. The second ends the process at once, as without this type: a
/// shutdown that hangs can still be aborted from the keyboard.
#[derive(Clone, Debug)]
pub struct StopSignal {
    caught: Arc<AtomicBool>,
}

impl StopSignal {
    /// Starts listening, for the rest of the process.
    ///
    /// # Errors
    /// `Unavailable` if the system refuses.
    pub fn listen() -> Result<Self> {
        let caught = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let refused = |cause| {
                Error::new(ErrorKind::Unavailable, "listening for signals").with_source(cause)
            };
            // In this order, because the first signal must find the flag still unset.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&caught))
                .map_err(refused)?;
            signal_hook::flag::register(signal, Arc::clone(&caught)).map_err(refused)?;
        }
        Ok(Self { caught })
    }

    /// Whether a signal has arrived.
    pub fn is_set(&self) -> bool {
        self.caught.load(Ordering::Acquire)
    }
}

/// The same for tasks of a tokio runtime.
pub(super) struct Signal {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signal {
    /// Starts listening; the second signal ends the process, as with [`StopSignal`].
    pub(super) fn listen() -> Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::invalid(
                "`run` needs a tokio runtime; call it from `#[tokio::main]`, or call `run_until`, which blocks",
            ));
        }
        StopSignal::listen()?;
        let listen = |kind| {
            unix::signal(kind).map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "listening for signals").with_source(cause)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Resolves with the next one.
    pub(super) async fn caught(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
