//! Stores that would be fed through another repartition topic than before.
//!
//! Records in a repartition topic are on their way to the stores behind it. If a topology feeds one of these stores
//! through another topic, it never reads what is left in the old topic, and the store may have seen what is left in
//! the new one already. So both must have been read to their end, or the start is refused. This happens if
//! repartitions are merged or separated, and if one is renamed or removed.

use std::collections::BTreeSet;

use crate::base::{Error, Result, TopicPartition};
use crate::log::{Isolation, Log};
use crate::runtime::contents::{self, RowCount};
use crate::runtime::record::{Homes, Wanted};
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
        if let Some(unread) = unread(log, application, topic)? {
            let at_least = if unread.is_at_least { "at least " } else { "" };
            let unread = unread.number;
            return Err(Error::invalid(format!(
                "topic {topic} has {at_least}{unread} unread records, but this topology feeds the stores \
                 behind it through other topics: the records would be lost or processed twice. Run the \
                 previous topology without new input until its lag is 0, then start this one; to discard \
                 the records, delete the topic"
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

/// The unread records in a topic; `None` if there are none. Most topics have been read to their end, and in these
/// nothing is looked at; elsewhere offsets alone do not tell, since clocks and the marks of transactions have some too.
fn unread(log: &dyn Log, application: &str, topic: &str) -> Result<Option<RowCount>> {
    let Some(found) = log.topic(topic)? else {
        return Ok(None);
    };
    let partitions = (0..found.partitions).map(|number| TopicPartition::new(topic, number));
    let partitions: Vec<_> = partitions.collect();
    let committed = log.committed(application, &partitions)?;
    let ends = log.end_offsets(&partitions, Isolation::ReadCommitted)?;
    for ((partition, committed), end) in partitions.iter().zip(committed).zip(ends) {
        let next = match committed {
            Some(committed) => committed.offset,
            None => log.start_offset(partition)?,
        };
        if next < end {
            let count = contents::unread(log, application, topic, found.partitions)?;
            return Ok((!count.is_empty()).then_some(count));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ManualEnv;
    use crate::log::{BatchBuilder, Commit, MemoryLog, TopicSpec};
    use crate::task::CLOCK_HEADER;

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

    /// The mark of a clock alone.
    const CLOCK: [u8; 13] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// Appends one record to the topic that is exchanged, a clock alone or one with a value.
    fn append(log: &MemoryLog, is_clock: bool) {
        let mut batch = BatchBuilder::default();
        match is_clock {
            true => batch.push_marked(None, None, 0, &[], (CLOCK_HEADER, &CLOCK)),
            false => batch.push(Some(b"a"), Some(b"1"), 0, &[]),
        }
        let place = TopicPartition::new("app-one-repartition", 0);
        let mut writer = log.writer("w", 0).expect("a writer");
        let commit = Commit {
            appends: vec![(place, batch.seal().expect("a record"))],
            group: None,
        };
        writer.submit(commit).expect("submitted");
        let wait = std::time::Duration::from_millis(100);
        assert!(writer.poll(wait).expect("committed").is_some());
    }

    #[test]
    fn clocks_that_nobody_took_are_no_unread_records() {
        let log = MemoryLog::new(ManualEnv::new(0, 1));
        log.create_topics(&[TopicSpec::new("app-one-repartition", 1)])
            .expect("created");
        let before = homes(APART).into_iter();
        let recorded = Homes(before.map(|(of, home)| (of, vec![home])).collect());
        let merged = &[("s", "a", "a"), ("t", "two", "a"), ("s", "b", "a")];
        let wanted = Wanted {
            homes: homes(merged).into_iter().collect(),
            ..Wanted::default()
        };
        let check = || check(&log, "app", &recorded, &wanted, |_| false);
        append(&log, true);
        check().expect("not refused");
        append(&log, false);
        let error = check().expect_err("refused");
        let part = "app-one-repartition has 1 unread record";
        assert!(error.message().contains(part), "{error}");
    }
}
