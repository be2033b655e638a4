//! Waiting for a log that is unavailable.

use std::time::Duration;

use marea::base::{Env, ErrorKind, Result};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Repeats a request until the log answers, or `stopped` says that the answer is no longer needed: an
/// outage may last.
///
/// # Errors
/// Errors that waiting does not fix; the last error of the outage once it was stopped.
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
