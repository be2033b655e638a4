//! Waiting for a log that is away.

use std::time::Duration;

use marea::base::{Env, ErrorKind, Result};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the log answers, or `stopped` says that nobody wants to know any more: an outage may last.
///
/// # Errors
/// Those that waiting does not heal; the last one of the outage once it was stopped.
pub fn wait_out<T>(
    env: &dyn Env,
    stopped: impl Fn() -> bool,
    doing: &str,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match ask() {
            Err(error) if error.kind() == ErrorKind::Unavailable && !stopped() => {
                tracing::warn!(%error, doing, "waiting for the log");
                env.sleep(PAUSE);
            }
            answered => return answered,
        }
    }
}
