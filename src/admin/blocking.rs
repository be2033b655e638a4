//! Runs blocking work outside the server's threads.

use axum::http::StatusCode;

use super::Refusal;

/// Runs a call to the log or a disk on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.unwrap_or_else(|_| {
        let message = "a defect in marea: answering a request panicked";
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    })
}
