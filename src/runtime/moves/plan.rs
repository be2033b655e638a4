//! What moves, and what is written to each changelog for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Error, Result};
use crate::log::Log;
use crate::runtime::own_topics::{record_topic, task_changelog};
use crate::runtime::record::{Homes, Wanted};
use crate::runtime::scan::Contents;
use crate::task::{OF_TASKS, TimeOf};

/// From the task changelog of one sub-topology to that of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::runtime) struct Way {
    pub(in crate::runtime) from: String,
    pub(in crate::runtime) to: String,
}

/// What differs between the record and a topology.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Plan {
    /// Owners whose times are elsewhere.
    pub(in crate::runtime) moved: BTreeMap<TimeOf, Way>,
    /// The rows of the record that change, including those of `moved`.
    pub(super) rows: BTreeMap<TimeOf, Vec<String>>,
}

/// Times to set, and times to remove, by the sub-topology whose task changelog has them and by name.
pub(super) type Rows = BTreeMap<String, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

impl Plan {
    pub(in crate::runtime) fn between(recorded: &Homes, wanted: &Wanted) -> Self {
        let mut plan = Self::default();
        for (of, home) in &wanted.homes {
            let known = recorded.home(of);
            if known == Some(home) {
                continue;
            }
            plan.rows.insert(of.clone(), recorded.with(of, home));
            if let Some(from) = known {
                let (from, to) = (from.to_owned(), home.clone());
                plan.moved.insert(of.clone(), Way { from, to });
            }
        }
        plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The ways that something moves.
    pub(super) fn ways(&self) -> BTreeSet<&Way> {
        self.moved.values().collect()
    }

    /// The sub-topologies that something moves from or to.
    pub(super) fn parts(&self) -> BTreeSet<&str> {
        let ways = self.moved.values();
        ways.flat_map(|way| [way.from.as_str(), way.to.as_str()])
            .collect()
    }

    /// Refuses what cannot move. Each partition of a changelog belongs to one task, so times of 4 tasks cannot
    /// become those of 8.
    ///
    /// # Errors
    /// `Invalid`; the message says what it is about and what to do.
    pub(super) fn check(&self, log: &dyn Log, application: &str, wanted: &Wanted) -> Result<()> {
        for way in self.ways() {
            let topic = task_changelog(application, &way.from);
            let tasks = wanted.tasks.get(&way.to).copied().unwrap_or_default();
            let Some(found) = log.topic(&topic)? else {
                continue;
            };
            if found.partitions == tasks {
                continue;
            }
            let moved = self.moved.iter().filter(|(_, other)| *other == way);
            let names: Vec<String> = moved.map(|(of, _)| of.to_string()).collect();
            return Err(Error::invalid(format!(
                "times and timers of {} are in {topic}, which has {} partitions, but sub-topology {} of \
                 this topology, which would keep them, has {tasks} tasks: they cannot move. Undo the \
                 change, or give the inputs of {} {} partitions; to continue without these times, delete \
                 topic {}",
                names.join(", "),
                found.partitions,
                way.to,
                way.to,
                found.partitions,
                record_topic(application),
            )));
        }
        Ok(())
    }

    /// What is written for one partition, given the contents of the task changelogs.
    pub(super) fn moves(&self, wanted: &Wanted, held: &BTreeMap<&str, Contents>) -> Rows {
        let mut rows = Rows::new();
        for (part, times) in held {
            for (name, time) in times {
                let of = std::str::from_utf8(name).ok().and_then(TimeOf::time);
                let Some(Way { from, to }) = of.and_then(|of| self.moved.get(&of)) else {
                    continue;
                };
                if from == part {
                    put(&mut rows, to, name, Some(time));
                    put(&mut rows, from, name, None);
                } else if rows.get(*part).is_none_or(|rows| !rows.contains_key(name)) {
                    // From before there was a record, when nothing moved with its owner.
                    put(&mut rows, part, name, None);
                }
            }
        }
        for name in OF_TASKS {
            self.move_of_tasks(name.as_bytes(), wanted, held, &mut rows);
        }
        rows
    }

    /// A task that takes something over has processed everything that the earlier task had.
    fn move_of_tasks(
        &self,
        name: &[u8],
        wanted: &Wanted,
        held: &BTreeMap<&str, Contents>,
        rows: &mut Rows,
    ) {
        let time = |part: &str| held.get(part).and_then(|times| times.get(name));
        for Way { from, to } in self.ways() {
            let known = rows.get(to).and_then(|rows| rows.get(name)?.as_ref());
            let known = known.or_else(|| time(to));
            // Times are not negative, so the order of their bytes is the order of the numbers.
            if let Some(theirs) = time(from).filter(|theirs| Some(*theirs) > known) {
                put(rows, to, name, Some(theirs));
            }
            if time(from).is_some() && !wanted.tasks.contains_key(from) {
                put(rows, from, name, None);
            }
        }
    }
}

fn put(rows: &mut Rows, part: &str, name: &[u8], time: Option<&Vec<u8>>) {
    let rows = rows.entry(part.to_owned()).or_default();
    rows.insert(name.to_vec(), time.cloned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ErrorKind, ManualEnv};
    use crate::log::{Cleanup, MemoryLog, TopicSpec};

    fn of(text: &str) -> TimeOf {
        TimeOf::parse(text).expect("a kind and a name")
    }

    fn homes(rows: &[(&str, &[&str])]) -> Homes {
        let row = |(text, names): &(&str, &[&str])| {
            let names = names.iter().map(ToString::to_string);
            (of(text), names.collect())
        };
        Homes(rows.iter().map(row).collect())
    }

    fn wanted(parts: &[(&str, u32, &[&str])]) -> Wanted {
        let mut wanted = Wanted::default();
        for (part, tasks, all) in parts {
            wanted.tasks.insert((*part).to_owned(), *tasks);
            for text in *all {
                wanted.homes.insert(of(text), (*part).to_owned());
            }
        }
        wanted
    }

    fn times(times: &[(&str, i64)]) -> Contents {
        let time =
            |(name, time): &(&str, i64)| (name.as_bytes().to_vec(), time.to_be_bytes().to_vec());
        times.iter().map(time).collect()
    }

    /// What is written, as text.
    fn written(rows: &Rows) -> Vec<String> {
        let mut written = Vec::new();
        for (part, rows) in rows {
            for (name, time) in rows {
                let name = String::from_utf8_lossy(name);
                let time = time.as_ref().map(|time| {
                    let time = time.as_slice().try_into().expect("8 bytes");
                    i64::from_be_bytes(time)
                });
                written.push(format!("{part} {name} {time:?}"));
            }
        }
        written
    }

    #[test]
    fn what_is_new_is_noted_and_what_has_another_home_moves() {
        let recorded = homes(&[
            ("store b", &["b"]),
            ("source in", &["b"]),
            ("node n", &["b"]),
        ]);
        let wanted = wanted(&[("a", 1, &["store a", "store b", "source in"])]);
        let plan = Plan::between(&recorded, &wanted);
        let moved: Vec<String> = plan.moved.keys().map(ToString::to_string).collect();
        assert_eq!(moved, ["store b", "source in"]);
        let rows: Vec<_> = plan.rows.values().map(|names| names.join(" ")).collect();
        assert_eq!(rows, ["a", "a b", "a b"]);
        let mut done = recorded.clone();
        done.0.extend(plan.rows);
        assert!(Plan::between(&done, &wanted).is_empty(), "done once");
        // The removed node stays known, in case it comes back.
        assert_eq!(done.home(&of("node n")), Some("b"));
    }

    #[test]
    fn all_times_go_with_what_they_are_of_and_the_old_ones_are_deleted() {
        let recorded = homes(&[
            ("store b", &["b"]),
            ("source in", &["b"]),
            ("node n", &["b"]),
        ]);
        let wanted = wanted(&[("a", 1, &["store a", "store b", "source in"])]);
        let plan = Plan::between(&recorded, &wanted);
        let b = times(&[
            ("operator/b", 7),
            ("partition/in", 9),
            ("task", 9),
            ("timer/n/x", 3),
            ("wall", 5),
        ]);
        // Left from before there was a record.
        let a = times(&[("operator/b/closed", 1), ("task", 4), ("wall", 6)]);
        let held = [("a", a), ("b", b)].into_iter().collect();
        assert_eq!(
            written(&plan.moves(&wanted, &held)),
            [
                "a operator/b Some(7)",
                "a operator/b/closed None",
                "a partition/in Some(9)",
                "a task Some(9)",
                "b operator/b None",
                "b partition/in None",
                "b task None",
                "b wall None",
            ]
        );
    }

    #[test]
    fn two_become_one_and_one_becomes_two() {
        let one = wanted(&[("a", 1, &["store a", "store b"])]);
        let two = homes(&[("store a", &["a"]), ("store b", &["b"])]);
        let held = [
            ("a", times(&[("operator/a", 1), ("task", 8)])),
            ("b", times(&[("operator/b", 2), ("task", 5)])),
        ];
        let merged = Plan::between(&two, &one);
        assert_eq!(
            written(&merged.moves(&one, &held.into_iter().collect())),
            ["a operator/b Some(2)", "b operator/b None", "b task None"],
            "its own time is the later one"
        );
        let two = wanted(&[("a", 1, &["store a"]), ("b", 1, &["store b"])]);
        let one = homes(&[("store a", &["a"]), ("store b", &["a", "b"])]);
        let a = times(&[("operator/a", 1), ("operator/b", 2), ("task", 8)]);
        let held = [("a", a), ("b", Contents::new())].into_iter().collect();
        assert_eq!(
            written(&Plan::between(&one, &two).moves(&two, &held)),
            [
                "a operator/b None",
                "b operator/b Some(2)",
                "b task Some(8)"
            ],
            "the one that stays keeps its time"
        );
    }

    #[test]
    fn names_that_are_handed_on_do_not_meet() {
        // What was called b is called a, and what was called c is called b.
        let recorded = homes(&[("store x", &["b"]), ("store y", &["c"])]);
        let wanted = wanted(&[("a", 1, &["store x"]), ("b", 1, &["store y"])]);
        let held = [
            ("a", Contents::new()),
            ("b", times(&[("operator/x", 1), ("task", 8)])),
            ("c", times(&[("operator/y", 2), ("task", 5)])),
        ];
        let plan = Plan::between(&recorded, &wanted);
        assert_eq!(
            written(&plan.moves(&wanted, &held.into_iter().collect())),
            [
                "a operator/x Some(1)",
                "a task Some(8)",
                "b operator/x None",
                "b operator/y Some(2)",
                "c operator/y None",
                "c task None",
            ]
        );
    }

    #[test]
    fn another_number_of_tasks_is_refused_with_both_and_the_cure() {
        let log = MemoryLog::new(ManualEnv::new(0, 1));
        let topic = TopicSpec::new("app-b-task-changelog", 2).with_cleanup(Cleanup::Compact);
        log.create_topics(&[topic]).expect("created");
        let recorded = homes(&[("node n", &["b"])]);
        let plan = |tasks| {
            let wanted = wanted(&[("a", tasks, &["node n"])]);
            Plan::between(&recorded, &wanted).check(&log, "app", &wanted)
        };
        plan(2).expect("as many");
        let error = plan(4).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for part in [
            "node n",
            "app-b-task-changelog",
            "2 partitions",
            "4 tasks",
            "app-topology",
        ] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
}
