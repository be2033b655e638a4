//! The leaders of partitions, and how a client is made to learn them.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::client::Client;

use super::config::Quiet;

/// The maximum number of topics that are requested one by one; beyond that, all are requested at once.
const TOPICS_ASKED_ALONE: usize = 8;

/// Makes a client learn the leaders of the topics' partitions, waiting at most this long for each answer.
/// Returns whether it has learned all: by itself it looks for leaders it does not know, or finds to be
/// wrong, late or never.
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
            tracing::debug!(%cause, topic, "requesting leaders");
        }
        answer.is_ok()
    })
}
