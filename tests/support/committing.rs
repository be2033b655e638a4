//! Commits of tests, on logs that may answer late.

use std::time::{Duration, Instant};

use marea::log::{Commit, CommitError, Receipt, Writer};

/// Longer than a log on a loaded machine takes to answer: only bounds a hang.
pub const LONG: Duration = Duration::from_secs(120);

/// The definite outcome of a commit: a log that does not answer within one call is asked again.
pub fn outcome(
    writer: &mut dyn Writer,
    commit: Commit,
) -> std::result::Result<Receipt, CommitError> {
    writer.submit(commit)?;
    let until = Instant::now() + LONG;
    loop {
        match writer.poll(Duration::from_secs(1)) {
            Ok(Some(receipt)) => return Ok(receipt),
            // It stays in flight.
            unknown @ (Ok(None) | Err(CommitError::Unknown(_))) => {
                assert!(
                    Instant::now() < until,
                    "a commit has no outcome: {unknown:?}"
                );
            }
            Err(error) => return Err(error),
        }
    }
}

/// Commits, and repeats what was rolled back because the log was not available for a while.
///
/// # Panics
/// If the commit is refused.
pub fn commit(writer: &mut dyn Writer, commit: Commit) -> Receipt {
    let until = Instant::now() + LONG;
    loop {
        match outcome(writer, commit.clone()) {
            Ok(receipt) => return receipt,
            // Nothing of it has happened.
            Err(CommitError::Aborted(error)) => {
                let may_pass =
                    error.kind() == marea::ErrorKind::Unavailable && Instant::now() < until;
                assert!(may_pass, "a commit: {error}");
            }
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
