//! Stores that are to be fed through another repartition topic than before.
//!
//! A record in a repartition topic is for the stores behind it. A topology that feeds one of these through another
//! topic would never read what is left in the one before, and what is left in the other it may have had already. So
//! both must have been read to their end, or the start is refused. It happens when repartitions are merged or no
//! longer are, when one gets another name, and when one is taken out.

use std::collections::BTreeSet;

use super::homes::{Homes, Wanted};
use crate::base::{Error, Result, TopicPartition};
use crate::log::{Isolation, Log};
use crate::task::TimeOf;

/// Refuses a topology in which a store has other repartition topics than before while there are records in them.
///
/// # Errors
/// `Invalid`, naming the topic and what to do; those of the log.
pub(super) fn check(
    log: &dyn Log,
    application: &str,
    recorded: &Homes,
    wanted: &Wanted,
) -> Result<()> {
    for topic in exchanged(application, recorded, wanted) {
        let unread = unread(log, application, topic)?;
        if unread > 0 {
            return Err(Error::invalid(format!(
                "topic {topic} has {unread} records that were not read, and this topology feeds the stores behind it \
                 through other topics: they would be lost, or counted twice. Run the topology before without new input \
                 until its lag is 0, then start this one; to go on without these records, delete the topic"
            )));
        }
    }
    Ok(())
}

/// The topics that some store leaves, and those that it then reads in their place.
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
        // Two sub-topologies that become one, or one that becomes two, leave each store its topics: it then has
        // others beside it, or fewer, and not others instead.
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

/// How many records of a topic the application has not read; 0 where there is no such topic.
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
        // What is no longer there stays in the record.
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
        // With its stores: nobody waits for what is in it.
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
