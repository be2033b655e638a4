//! The record of what an application has had, in the compacted topic `<application>-topology`: where times are, what
//! was left behind, and which topologies have run.
//!
//! | key | value, after the version |
//! |---|---|
//! | `store NAME`, `node NAME`, `source TOPIC`, `sink TOPIC` | sub-topologies ([`Homes`]) |
//! | `left` and one of these | since when, in milliseconds by the wall clock, as a decimal number |
//! | `topology` and 16 hexadecimal digits | nothing |
//!
//! The last two are for comparing a topology with what ran before
//! ([ADR 0034](../../../docs/adr/0034-state-is-not-left-in-silence.md)).

mod homes;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use homes::{Homes, Wanted};

use self::homes::{SEPARATOR, VERSION};
use super::own_topics::record_topic;
use super::scan::{Contents, Scan};
use crate::base::{Error, Result, TopicPartition};
use crate::log::Log;
use crate::task::TimeOf;

/// Precedes the name of something that was left behind.
const LEFT: &str = "left";
/// Precedes the digits of a topology.
const TOPOLOGY: &str = "topology";

/// What the rows of the topic say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Where times are.
    pub(super) homes: Homes,
    /// What topologies have knowingly left behind, and when, in milliseconds by the wall clock.
    pub(super) left: BTreeMap<TimeOf, i64>,
    /// The topologies that have run, each identified by a hash of what it keeps.
    pub(super) topologies: BTreeSet<String>,
}

impl Record {
    /// Reads the rows of the topic.
    ///
    /// # Errors
    /// `Corrupt` for one that this version cannot read; the message says what to do.
    pub(super) fn read(rows: &Contents, topic: &str) -> Result<Self> {
        let mut record = Self::default();
        for (key, row) in rows {
            record.take(key, row).ok_or_else(|| {
                Error::corrupt(format!(
                    "topic {topic} has a row {:?} that this version cannot read: use the version that wrote it or \
                     a newer one; if something else writes to this topic, run under another application id",
                    String::from_utf8_lossy(key)
                ))
            })?;
        }
        Ok(record)
    }

    fn take(&mut self, key: &[u8], row: &[u8]) -> Option<()> {
        let key = std::str::from_utf8(key).ok()?;
        let (version, text) = row.split_first()?;
        let text = std::str::from_utf8(text).ok()?;
        if *version != VERSION {
            return None;
        }
        match key.split_once(' ')? {
            (LEFT, of) => {
                self.left.insert(TimeOf::parse(of)?, text.parse().ok()?);
            }
            (TOPOLOGY, number) => {
                self.topologies.insert(number.to_owned());
            }
            _ if text.is_empty() => return None,
            _ => {
                let names = text.split(SEPARATOR).map(str::to_owned).collect();
                self.homes.0.insert(TimeOf::parse(key)?, names);
            }
        }
        Some(())
    }
}

/// What the record says; `None` if there is none.
///
/// # Errors
/// `Corrupt` for a record that cannot be read; those of the log.
pub(super) fn recorded(log: &dyn Log, application: &str) -> Result<Option<Record>> {
    let topic = record_topic(application);
    if log.topic(&topic)?.is_none() {
        return Ok(None);
    }
    let partition = TopicPartition::new(topic.as_str(), 0);
    let mut found = Scan::begin(log, vec![partition.clone()])?.finish(log)?;
    let rows = found.remove(&partition).unwrap_or_default();
    Record::read(&rows, &topic).map(Some)
}

/// What a start adds to the record, apart from where times are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The topology, identified by a hash of what it keeps.
    pub(super) topology: String,
    /// What it leaves behind.
    pub(super) leaves: BTreeSet<TimeOf>,
    /// What it uses: no note may say of this that it was left.
    pub(super) uses: BTreeSet<TimeOf>,
}

/// Keys of rows with their values; a key without a value is deleted.
pub(super) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Notes {
    /// The rows that the record lacks, and those to delete from it.
    pub(super) fn changes(&self, recorded: &Record, wall_ms: i64) -> Changes {
        let mut changes = Changes::new();
        if !recorded.topologies.contains(&self.topology) {
            let key = format!("{TOPOLOGY} {}", self.topology);
            changes.push((key.into_bytes(), Some(vec![VERSION])));
        }
        let key = |of: &TimeOf| format!("{LEFT} {of}").into_bytes();
        for of in &self.leaves {
            if !recorded.left.contains_key(of) {
                let row = [&[VERSION], wall_ms.to_string().as_bytes()].concat();
                changes.push((key(of), Some(row)));
            }
        }
        for of in &self.uses {
            if recorded.left.contains_key(of) {
                changes.push((key(of), None));
            }
        }
        changes
    }

    /// Those of a process that has settled once. Others may have taken back since what its start left behind; what it
    /// uses it uses still.
    pub(super) fn later(&self) -> Self {
        Self {
            leaves: BTreeSet::new(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;

    fn store(name: &str) -> TimeOf {
        TimeOf::Store(name.to_owned())
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_others_are_refused() {
        let of = store("counts");
        let names = ["b".to_owned(), "a.c".to_owned()];
        let rows: Contents = [Homes::row(&of, &names)].into_iter().collect();
        let homes = Record::read(&rows, "app-topology").expect("read").homes;
        assert_eq!(homes.home(&of), Some("b"));
        assert_eq!(homes.before("counts"), ["a.c"]);
        assert_eq!(homes.before("other"), [""; 0]);
        assert_eq!(homes.with(&of, "a.c"), ["a.c", "b"], "once each");
        let (key, value) = Homes::row(&of, &names);
        for (key, value) in [
            (b"shop counts".to_vec(), value.clone()),
            (b"counts".to_vec(), value.clone()),
            (b"left shop counts".to_vec(), b"\x017".to_vec()),
            (b"left store counts".to_vec(), b"\x01soon".to_vec()),
            (key.clone(), b"\x02b".to_vec()),
            (key.clone(), Vec::new()),
            (key, b"\x01".to_vec()),
        ] {
            let rows = [(key, value)].into_iter().collect();
            let error = Record::read(&rows, "app-topology").expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.message().contains("app-topology"), "{error}");
        }
    }

    #[test]
    fn what_is_left_is_noted_once_and_forgotten_when_it_returns() {
        let notes = Notes {
            topology: "00ff".to_owned(),
            leaves: [store("counts")].into(),
            uses: BTreeSet::new(),
        };
        let changes = notes.changes(&Record::default(), 7);
        let rows = changes
            .into_iter()
            .map(|(key, row)| (key, row.expect("a row")));
        let record = Record::read(&rows.collect(), "app-topology").expect("read");
        assert_eq!(record.left, BTreeMap::from([(store("counts"), 7)]));
        assert_eq!(record.topologies, BTreeSet::from(["00ff".to_owned()]));
        assert_eq!(notes.changes(&record, 8), Changes::new(), "once");
        let back = Notes {
            leaves: BTreeSet::new(),
            uses: [store("counts"), store("sums")].into(),
            ..notes
        };
        let changes = back.changes(&record, 9);
        assert_eq!(changes, [(b"left store counts".to_vec(), None)]);
    }
}
