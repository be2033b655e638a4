//! The comparison, in the order of the module's diagram.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::{MovedTimes, Orphan, OrphanFate, Piece, PieceKind, Refusal, Returned, TopologyChange};
use crate::base::{ErrorKind, Result};
use crate::log::{Log, TopicSpec};
use crate::runtime::contents::{RowCount, live_rows, unread};
use crate::runtime::moves::Plan;
use crate::runtime::own_topics::task_changelog;
use crate::runtime::record::{Notes, Record, Wanted};
use crate::state::StoreSpec;
use crate::task::TimeOf;
use crate::topology::{Topology, store_text};

/// What a topology is compared with, and by which instance.
pub(in crate::runtime) struct Present<'a> {
    pub(in crate::runtime) log: &'a dyn Log,
    pub(in crate::runtime) application: &'a str,
    pub(in crate::runtime) record: Option<&'a Record>,
    /// What may be left behind, by name.
    pub(in crate::runtime) accepts: &'a [String],
    /// The instance that compares, if it has a name already: the prefix of its members' names.
    pub(in crate::runtime) instance: Option<&'a str>,
}

/// Compares a topology, which wants these topics, with the data on the log, and returns what the start has to
/// note.
///
/// # Errors
/// Those of the log.
pub(in crate::runtime) fn compare(
    topology: &Topology,
    wanted: &Wanted,
    topics: &[TopicSpec],
    present: &Present<'_>,
) -> Result<(TopologyChange, Notes)> {
    let uses = uses(topology, wanted, present.application);
    let mut change = TopologyChange {
        application: present.application.to_owned(),
        has_record: present.record.is_some(),
        ..TopologyChange::default()
    };
    let mut notes = Notes {
        topology: number_of(&uses),
        ..Notes::default()
    };
    let shared = Shared::new(present, &notes.topology);
    let mut there = BTreeSet::new();
    for spec in topics {
        if let Some(found) = present.log.topic(&spec.name)? {
            there.insert(spec.name.as_str());
            change.refuses.extend(refusal(spec, &found));
        }
    }
    for (of, mut piece) in uses {
        let spec = topics
            .iter()
            .find(|spec| Some(&spec.name) == piece.topic.as_ref());
        piece.partitions = spec.map(|spec| spec.partitions);
        let is_recorded = || present.record.is_some_and(|record| record.homes.has(&of));
        let is_there = match (&piece.topic, piece.kind) {
            // They share a topic with others.
            (_, PieceKind::Timers) | (None, _) => is_recorded(),
            (Some(topic), _) => there.contains(topic.as_str()),
        };
        let left = present.record.and_then(|record| record.left.get(&of));
        let left = left.filter(|_| piece.topic.is_some());
        if piece.topic.is_some() {
            notes.uses.insert(of.clone());
        }
        match (left.copied(), is_there) {
            // Whoever else is there: a note says that nobody uses it.
            (Some(since_ms), true) => change.returns.push(Returned { piece, since_ms }),
            (None, true) => change.keeps.push(piece),
            (_, false) => change.adds.push(piece),
        }
    }
    let Some(record) = present.record else {
        return Ok((change, notes));
    };
    for (of, way) in Plan::between(&record.homes, wanted).moved {
        change.moves.push(MovedTimes {
            of: of.to_string(),
            from: way.from,
            to: way.to,
        });
    }
    for of in record.homes.0.keys() {
        let Some(orphan) = orphan(of, topology, wanted, present, record, &shared)? else {
            continue;
        };
        match orphan.fate {
            OrphanFate::Accepted | OrphanFate::Empty | OrphanFate::Unasked => {
                notes.leaves.insert(of.clone());
            }
            OrphanFate::Refused | OrphanFate::Before { .. } | OrphanFate::Shared => {}
        }
        change.orphans.push(orphan);
    }
    Ok((change, notes))
}

/// What outlives the instances of a topology, without numbers of partitions.
fn uses(topology: &Topology, wanted: &Wanted, application: &str) -> Vec<(TimeOf, Piece)> {
    let piece = |kind, name: &str, topic| Piece {
        kind,
        name: name.to_owned(),
        topic,
        partitions: None,
        description: None,
    };
    let store = |name: &String| {
        let store = topology.stores().iter().find(|store| store.name == *name);
        let topic = store.filter(|store| store.is_logged());
        let topic = topic.map(|store| store.changelog_topic(application));
        Piece {
            description: store.map(store_text),
            ..piece(PieceKind::Store, name, topic)
        }
    };
    let one = |(of, home): (&TimeOf, &String)| {
        let piece = match of {
            TimeOf::Store(name) => store(name),
            TimeOf::Node(name) => {
                let topic = task_changelog(application, home);
                piece(PieceKind::Timers, name, Some(topic))
            }
            TimeOf::Source(topic) => {
                let name = repartition(topic, application)?;
                piece(PieceKind::Repartition, name, Some(topic.clone()))
            }
            TimeOf::Sink(_) => return None,
        };
        Some((of.clone(), piece))
    };
    wanted.homes.iter().filter_map(one).collect()
}

/// The name that a repartition topic of the application has in its topology.
fn repartition<'a>(topic: &'a str, application: &str) -> Option<&'a str> {
    let name = topic.strip_prefix(application)?.strip_prefix('-')?;
    name.strip_suffix("-repartition")
}

/// Distinguishes topologies by what they keep (FNV-1a): other inputs or other code do not change it.
fn number_of(uses: &[(TimeOf, Piece)]) -> String {
    let mut number: u64 = 0xcbf2_9ce4_8422_2325;
    for (of, piece) in uses {
        let topic = piece.topic.as_ref().map_or("", |_| "logged");
        for byte in format!("{of} {topic}\n").bytes() {
            number = (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{number:016x}")
}

/// Why an existing topic cannot be used.
fn refusal(wanted: &TopicSpec, found: &TopicSpec) -> Option<Refusal> {
    let reason = if found.partitions != wanted.partitions {
        format!(
            "topic {} has {} partitions, but this topology requires {}: undo the change, or use another \
             application id",
            wanted.name, found.partitions, wanted.partitions
        )
    } else if found.cleanup != wanted.cleanup {
        format!(
            "topic {} has cleanup {:?}, but this topology requires {:?}: a store of another kind needs \
             another name",
            wanted.name, found.cleanup, wanted.cleanup
        )
    } else {
        return None;
    };
    Some(Refusal { reason })
}

/// What the record names and the topology does not use; `None` if the topology uses it, or if it no longer exists.
fn orphan(
    of: &TimeOf,
    topology: &Topology,
    wanted: &Wanted,
    present: &Present<'_>,
    record: &Record,
    shared: &Shared<'_>,
) -> Result<Option<Orphan>> {
    let application = present.application;
    let is_wanted = wanted.homes.contains_key(of);
    let (kind, name, topic) = match of {
        TimeOf::Store(name) => {
            let is_logged = |store: &StoreSpec| store.name == *name && store.is_logged();
            if is_wanted && topology.stores().iter().any(is_logged) {
                return Ok(None);
            }
            let topic = format!("{application}-{name}-changelog");
            (PieceKind::Store, name.as_str(), topic)
        }
        TimeOf::Node(name) if !is_wanted => {
            let home = record.homes.home(of).unwrap_or_default();
            let topic = task_changelog(application, home);
            (PieceKind::Timers, name.as_str(), topic)
        }
        TimeOf::Source(topic) if !is_wanted => match repartition(topic, application) {
            Some(name) => (PieceKind::Repartition, name, topic.clone()),
            None => return Ok(None),
        },
        TimeOf::Node(_) | TimeOf::Source(_) | TimeOf::Sink(_) => return Ok(None),
    };
    let Some(spec) = present.log.topic(&topic)? else {
        return Ok(None);
    };
    let count = || match kind {
        PieceKind::Store => live_rows(present.log, &topic, spec.partitions, |_| true),
        PieceKind::Timers => live_rows(present.log, &topic, spec.partitions, |key| {
            is_due(key) && owner(key).as_ref() == Some(of)
        }),
        PieceKind::Repartition => unread(present.log, application, &topic, spec.partitions),
    };
    let (fate, count) = match record.left.get(of) {
        Some(since_ms) => {
            let since_ms = *since_ms;
            (OrphanFate::Before { since_ms }, None)
        }
        None if present.accepts.iter().any(|accepted| accepted == name) => {
            (OrphanFate::Accepted, if_known(count())?)
        }
        None if shared.get()? => (OrphanFate::Shared, None),
        None => {
            let count = count()?;
            (fate_of(count, record), Some(count))
        }
    };
    let piece = Piece {
        kind,
        name: name.to_owned(),
        partitions: Some(spec.partitions),
        description: None,
        topic: Some(topic),
    };
    Ok(Some(Orphan { piece, fate, count }))
}

/// What was accepted is counted for the message alone. After a kill the log may give nothing for a while: until it has
/// ended the transaction that was open.
fn if_known(count: Result<RowCount>) -> Result<Option<RowCount>> {
    match count {
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok(None),
        count => count.map(Some),
    }
}

fn fate_of(count: RowCount, record: &Record) -> OrphanFate {
    match count.is_empty() {
        true => OrphanFate::Empty,
        false if record.topologies.is_empty() => OrphanFate::Unasked,
        false => OrphanFate::Refused,
    }
}

/// What a row of a task changelog belongs to.
fn owner(key: &[u8]) -> Option<TimeOf> {
    std::str::from_utf8(key).ok().and_then(TimeOf::time)
}

/// Whether a row of a task changelog says when a timer is due, rather than how it repeats.
fn is_due(key: &[u8]) -> bool {
    key.starts_with(b"timer/")
}

/// Whether other members run that may use what this topology does not: asked once, and only if it matters.
struct Shared<'a> {
    present: &'a Present<'a>,
    has_run: bool,
    answer: OnceCell<bool>,
}

impl<'a> Shared<'a> {
    fn new(present: &'a Present<'a>, topology: &str) -> Self {
        let known = present.record.map(|record| &record.topologies);
        Self {
            present,
            has_run: known.is_some_and(|known: &BTreeSet<String>| known.contains(topology)),
            answer: OnceCell::new(),
        }
    }

    fn get(&self) -> Result<bool> {
        if !self.has_run {
            return Ok(false);
        }
        if let Some(answer) = self.answer.get() {
            return Ok(*answer);
        }
        let members = self.present.log.members(self.present.application)?;
        let own = self.present.instance.map(|instance| format!("{instance}-"));
        let is_own = |member: &String| own.as_ref().is_some_and(|own| member.starts_with(own));
        // A log that cannot list members may have others.
        let answer = members.is_none_or(|members| members.iter().any(|member| !is_own(member)));
        Ok(*self.answer.get_or_init(|| answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str, is_logged: bool) -> (TimeOf, Piece) {
        let piece = Piece {
            kind: PieceKind::Store,
            name: name.to_owned(),
            topic: is_logged.then(|| format!("app-{name}-changelog")),
            partitions: Some(4),
            description: None,
        };
        (TimeOf::Store(name.to_owned()), piece)
    }

    #[test]
    fn topologies_that_keep_the_same_have_one_number_for_good() {
        let two = [store("a", true), store("b", true)];
        assert_eq!(number_of(&two), "d6a6b45d35e8b254", "it is in records");
        for other in [
            vec![store("a", true)],
            vec![store("a", true), store("b", false)],
            vec![store("a", true), store("c", true)],
            Vec::new(),
        ] {
            assert_ne!(number_of(&other), number_of(&two));
        }
    }

    #[test]
    fn a_repartition_topic_is_known_by_both_ends_of_its_name() {
        assert_eq!(repartition("app-by-repartition", "app"), Some("by"));
        for other in [
            "app-by-changelog",
            "other-by-repartition",
            "app.by-repartition",
            "app",
        ] {
            assert_eq!(repartition(other, "app"), None, "{other}");
        }
    }

    #[test]
    fn timers_are_told_by_when_they_are_due() {
        assert!(is_due(b"timer/alarms/a"));
        assert!(!is_due(b"timer-stream/alarms/a"));
        assert_eq!(
            owner(b"timer/alarms/a"),
            Some(TimeOf::Node("alarms".to_owned()))
        );
    }
}
