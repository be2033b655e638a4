//! Stores that would be fed through another repartition topic than before.
//!
//! Records in a repartition topic are on their way to the stores behind it. If a topology feeds one of these stores
//! through another topic, it never reads what is left in the old topic, and the store may have seen what is left in
//! the new one already. So both must have been read to their end, or the start is refused. This happens if
//! repartitions are merged or separated, and if one is renamed or removed.

use std::collections::BTreeSet;

use super::homes::{Homes, Wanted};
use crate::base::{Error, Result, TopicPartition};
use crate::log::{Isolation, Log};
use crate::task::TimeOf;

/// Refuses a topology in which a store reads other repartition topics than before while these hold unread records.
///
/// # Errors
/// `Invalid` with the topic and the remedy; those of the log.
pub(super) fn check(
    log: &dyn Log,
    application: &str,
    recorded: &Homes,
    wanted: &Wanted,
    is_judged: impl Fn(&str) -> bool,
) -> Result<()> {
    let exchanged = exchanged(application, recorded, wanted).into_iter();
    for topic in exchanged.filter(|topic| !is_judged(topic)) {
        let unread = unread(log, application, topic)?;
        if unread > 0 {
            return Err(Error::invalid(format!(
                "topic {topic} has {unread} unread records, and this topology feeds the stores behind it through other \
                 topics: the records would be lost or processed twice. Run the previous topology without new input \
                 until its lag is 0, then start this one; to give the records up, delete the topic"
            )));
        }
    }
    Ok(())
}

/// The topics that a store no longer reads, and those that it reads instead.
fn exchanged<'a>(application: &str, recorded: &'a Homes, wanted: &'a Wanted) -> BTreeSet<&'a str> {
    let prefix = format!("{application}-");
    let own = |of: &'a TimeOf| match of {
        TimeOf::Source(topic) if topic.starts_with(&prefix) && topic.ends_with("-repartition") => {
            Some(topic.as_str())
        }
        _ => None,
    };
    let mut exchanged = BTreeSet::new();
    for (store, now) in &wanted.homes {
        let (TimeOf::Store(_), Some(before)) = (store, recorded.home(store)) else {
            continue;
        };
        let reads_now = |of: &TimeOf| wanted.homes.get(of) == Some(now);
        let read_before = |of: &TimeOf| recorded.home(of) == Some(before);
        let left = recorded.0.keys();
        let left: Vec<_> = left
            .filter(|of| read_before(of) && !reads_now(of))
            .collect();
        let joined = wanted.homes.keys();
        let joined = joined.filter(|of| reads_now(of) && !read_before(of));
        let joined: Vec<_> = joined.filter_map(own).collect();
        // If sub-topologies are joined or split, each store keeps its topics: its sub-topology then has more of them,
        // or fewer, but not others instead.
        let instead = !joined.is_empty();
        let left = left.into_iter();
        let left = left.filter(|of| instead || !wanted.homes.contains_key(of));
        let left: Vec<_> = left.filter_map(own).collect();
        if !left.is_empty() {
            exchanged.extend(left);
            exchanged.extend(joined);
        }
    }
    exchanged
}

/// The number of unread records in a topic; 0 if it does not exist.
fn unread(log: &dyn Log, application: &str, topic: &str) -> Result<i64> {
    let Some(found) = log.topic(topic)? else {
        return Ok(0);
    };
    let partitions = (0..found.partitions).map(|number| TopicPartition::new(topic, number));
    let partitions: Vec<_> = partitions.collect();
    let committed = log.committed(application, &partitions)?;
    let ends = log.end_offsets(&partitions, Isolation::ReadCommitted)?;
    let mut unread = 0;
    for ((partition, committed), end) in partitions.iter().zip(committed).zip(ends) {
        let next = match committed {
            Some(committed) => committed.offset,
            None => log.start_offset(partition)?,
        };
        unread += end.saturating_sub(next).max(0);
    }
    Ok(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores and sources with their sub-topologies: `s` and a name, or `t` and that of a repartition topic.
    fn homes(all: &[(&str, &str, &str)]) -> Vec<(TimeOf, String)> {
        let of = |(kind, name, home): &(&str, &str, &str)| {
            let of = match *kind {
                "s" => TimeOf::Store((*name).to_owned()),
                _ => TimeOf::Source(format!("app-{name}-repartition")),
            };
            (of, (*home).to_owned())
        };
        all.iter().map(of).collect()
    }

    fn found(before: &[(&str, &str, &str)], now: &[(&str, &str, &str)]) -> Vec<String> {
        let before = homes(before).into_iter();
        let recorded = Homes(before.map(|(of, home)| (of, vec![home])).collect());
        let wanted = Wanted {
            homes: homes(now).into_iter().collect(),
            ..Wanted::default()
        };
        let topics = exchanged("app", &recorded, &wanted).into_iter();
        let name = |topic: &str| topic.trim_start_matches("app-").replace("-repartition", "");
        topics.map(name).collect()
    }

    const APART: &[(&str, &str, &str)] = &[
        ("s", "a", "a"),
        ("t", "one", "a"),
        ("s", "b", "b"),
        ("t", "two", "b"),
    ];

    #[test]
    fn stores_whose_repartitions_are_merged_or_no_longer_are_change_topics() {
        let merged = &[("s", "a", "a"), ("t", "one", "a"), ("s", "b", "a")];
        assert_eq!(found(APART, merged), ["one", "two"]);
        let by_the_other = &[("s", "a", "a"), ("t", "two", "a"), ("s", "b", "a")];
        assert_eq!(found(APART, by_the_other), ["one", "two"]);
        assert_eq!(found(merged, APART), ["one", "two"]);
        // The record keeps what a topology no longer has.
        let after = &[
            ("s", "a", "a"),
            ("t", "one", "a"),
            ("s", "b", "a"),
            ("t", "two", "b"),
        ];
        assert_eq!(found(after, APART), ["one", "two"]);
        assert!(found(after, merged).is_empty());
    }

    #[test]
    fn one_that_goes_or_gets_another_name_is_left() {
        let renamed = &[
            ("s", "a", "a"),
            ("t", "other", "a"),
            ("s", "b", "b"),
            ("t", "two", "b"),
        ];
        assert_eq!(found(APART, renamed), ["one", "other"]);
        let gone = &[("s", "a", "a"), ("s", "b", "b"), ("t", "two", "b")];
        assert_eq!(found(APART, gone), ["one"]);
        // Together with its stores: nobody needs its records.
        assert!(found(APART, &[("s", "a", "a"), ("t", "one", "a")]).is_empty());
    }

    #[test]
    fn sub_topologies_that_are_renamed_joined_or_split_keep_their_topics() {
        let renamed = &[
            ("s", "0", "0"),
            ("s", "a", "0"),
            ("t", "one", "0"),
            ("s", "b", "b"),
            ("t", "two", "b"),
        ];
        assert!(found(APART, renamed).is_empty());
        let joined = &[
            ("s", "a", "a"),
            ("t", "one", "a"),
            ("s", "b", "a"),
            ("t", "two", "a"),
        ];
        assert!(found(APART, joined).is_empty());
        assert!(found(joined, APART).is_empty());
    }
}
