//! Commits of tests, on logs that may answer late.

use std::time::{Duration, Instant};

use marea::log::{Commit, CommitError, Receipt, Writer};

/// How long a log may take to answer: longer than a broker on a loaded machine ever does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Commits, and waits for the outcome: a log that does not answer within one call is asked again.
pub fn commit(writer: &mut dyn Writer, commit: Commit) -> Receipt {
    writer.submit(commit).expect("submitted");
    let since = Instant::now();
    loop {
        let why = match writer.poll(Duration::from_secs(1)) {
            Ok(Some(receipt)) => return receipt,
            Ok(None) => "no answer".to_owned(),
            // It stays in flight.
            Err(CommitError::Unknown(error)) => error.to_string(),
            Err(error) => panic!("{error}"),
        };
        assert!(since.elapsed() < PATIENCE, "waited for a commit: {why}");
    }
}
