//! Who leads which partitions, as a client is made to learn it.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::client::Client;

use super::config::Quiet;

/// Up to how many topics are asked for one by one; more are all asked for at once.
const TOPICS_ASKED_ALONE: usize = 8;

/// Makes a client learn who leads the partitions of topics, waiting for each answer at most that long.
/// Whether it has learnt of all: by itself it looks for what it does not know, or finds to be wrong, late
/// or never.
pub(super) fn learn_leaders(
    client: &Client<Quiet>,
    topics: &BTreeSet<&str>,
    wait: Duration,
) -> bool {
    let asked: Vec<Option<&str>> = match topics.len() > TOPICS_ASKED_ALONE {
        true => vec![None],
        false => topics.iter().copied().map(Some).collect(),
    };
    asked.into_iter().all(|topic| {
        let answer = client.fetch_metadata(topic, wait);
        if let Err(cause) = &answer {
            tracing::debug!(%cause, topic, "asking for leaders");
        }
        answer.is_ok()
    })
}
