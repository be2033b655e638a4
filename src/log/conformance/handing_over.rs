use std::collections::BTreeMap;
use std::sync::Arc;

use super::members::{commit_as, join, settle, start_group, tasks};
use super::{
    Commit, Duration, Env, Factory, Isolation, LOOK, Log, Offset, SystemEnv, TopicPartition,
    appends, at, eventually, start_with, try_commit, values,
};
use crate::log::{CommittedOffset, GroupCommit, Membership};

/// A record, and the group's progress up to it.
fn counted(place: &TopicPartition, mark: &TopicPartition, count: Offset) -> Commit {
    let mut commit = appends(&[(place, &["x"])]);
    let committed = CommittedOffset {
        offset: count,
        metadata: String::new(),
    };
    commit.group = Some(GroupCommit {
        group: "g".into(),
        token: None,
        offsets: vec![(mark.clone(), committed)],
    });
    commit
}

fn progress(log: &dyn Log, mark: &TopicPartition) -> Offset {
    let found = log.committed("g", std::slice::from_ref(mark));
    let found = found.expect("an answer").remove(0);
    found.map_or(0, |committed| committed.offset)
}

/// A commit whose writer disappeared before its answer has happened or not happened once the writer's id
/// is open again: what its successor sees then does not change later, and records and offsets agree.
pub fn opening_a_writer_settles_what_its_id_left_open(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (place, mark) = (at("t", 0), at("t", 1));
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let mut known = 0;
    for round in 0..6 {
        // An answer may still arrive while the next one opens.
        let handed = writer.submit(counted(&place, &mark, known + 1));
        handed.expect("nobody has the id");
        if round % 2 == 0 {
            let _ = writer.poll(LOOK);
        }
        let next = log.writer("w", 1 << 20).expect("a writer");
        let seen = progress(&*log, &mark);
        assert!((known..=known + 1).contains(&seen), "{known}, then {seen}");
        for _ in 0..5 {
            let there = values(&*log, &place).len() as Offset;
            assert_eq!(
                (there, progress(&*log, &mark)),
                (seen, seen),
                "round {round}"
            );
            SystemEnv::shared().sleep(LOOK);
        }
        known = seen;
        writer = next;
    }
    try_commit(&mut *writer, counted(&place, &mark, known + 1)).expect("committed");
    assert_eq!(values(&*log, &place).len() as Offset, known + 1);
}

/// A client that has read a group's offsets finds, up to the end of all records that it asks for after
/// that, every record of the commits that produced them: a restore up to there is as far as the offsets
/// are.
pub fn the_end_of_a_restore_covers_what_offsets_tell(factory: Factory<'_>) {
    const COMMITS: Offset = 60;
    let log = start_with(factory, "t", 2);
    let (place, mark) = (at("t", 0), at("t", 1));
    let env = SystemEnv::shared();
    let (writing, to, with) = (Arc::clone(&log), place.clone(), mark.clone());
    let body = move || {
        let mut writer = writing.writer("w", 1 << 20).expect("a writer");
        for count in 1..=COMMITS {
            try_commit(&mut *writer, counted(&to, &with, count)).expect("committed");
        }
    };
    let thread = crate::base::Env::spawn(&*env, "writer", Box::new(body)).expect("a thread");
    // Once after its end as well.
    let mut has_ended = false;
    while !has_ended {
        has_ended = thread.is_finished();
        let known = progress(&*log, &mark);
        let end = log.end_offset(&place, Isolation::ReadUncommitted);
        let end = end.expect("it exists");
        assert!(
            end >= known,
            "the offsets report {known} records, the end is {end}"
        );
        // The writer needs the same locks.
        env.sleep(Duration::from_micros(10));
    }
    assert!(crate::base::Thread::join(thread));
    assert_eq!(progress(&*log, &mark), COMMITS);
    assert_eq!(values(&*log, &place).len() as Offset, COMMITS);
}

/// A member, its last assignment, and what it has not given back.
struct Holding {
    member: Box<dyn Membership>,
    given: Vec<u32>,
    held: Vec<u32>,
}

impl Holding {
    fn follow(&mut self, gives_back: bool) {
        if let Some(assignment) = self.member.poll().expect("a member") {
            self.given = assignment.tasks.iter().map(|task| task.partition).collect();
            let new = self.given.iter().filter(|task| !self.held.contains(task));
            self.held.extend(new.copied().collect::<Vec<_>>());
        }
        let lost = |task: &&u32| !self.given.contains(task);
        let lost: Vec<u32> = self.held.iter().filter(lost).copied().collect();
        if gives_back && !lost.is_empty() {
            self.held.retain(|task| !lost.contains(task));
            self.member.release(&tasks(&lost)).expect("a member");
        }
    }
}

/// One turn of every member; one of them may be slow to give back. No member gets what another one holds.
fn turn(members: &mut BTreeMap<&'static str, Holding>, slow: Option<&str>) {
    let names: Vec<&'static str> = members.keys().copied().collect();
    for name in names {
        if let Some(holding) = members.get_mut(name) {
            holding.follow(slow != Some(name));
        }
        let mut all: Vec<u32> = members.values().flat_map(|one| one.held.clone()).collect();
        let tasks = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(
            all.len(),
            tasks,
            "after a turn of {name} a task has two owners"
        );
    }
}

/// However members join, leave, and are slow to give back: no task has two owners, and eventually each
/// has one.
pub fn a_task_has_one_owner_whoever_comes_and_goes(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut members = BTreeMap::new();
    let env = SystemEnv::shared();
    let steps = ["+a", "+b", "+c", "-a", "+a", "-b", "-c", "+b"];
    for (number, step) in steps.into_iter().enumerate() {
        let name = &step[1..];
        if step.starts_with('+') {
            let holding = Holding {
                member: join(&*log, name),
                given: Vec::new(),
                held: Vec::new(),
            };
            members.insert(name, holding);
        } else if let Some(Holding { member, .. }) = members.remove(name) {
            member.leave();
        }
        let slow = members.keys().nth(number % members.len().max(1)).copied();
        for _ in 0..15 {
            turn(&mut members, slow);
            env.sleep(LOOK);
        }
    }
    eventually("each task has an owner", || {
        turn(&mut members, None);
        let mut owned: Vec<u32> = members.values().flat_map(|one| one.held.clone()).collect();
        owned.sort_unstable();
        owned == [0, 1, 2, 3] && members.values().all(|one| one.held.len() == 2)
    });
    for one in members.into_values() {
        commit_as(&*log, one.member.token(), one.held[0]).expect("its own");
        one.member.leave();
    }
}

/// A member releases tasks it does not want, held or not: other members keep theirs, and so does it.
pub fn releasing_what_is_not_held_changes_nothing(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    settle(&mut *a, |tasks| tasks.len() == 4);
    let mut b = join(&*log, "b");
    let kept = settle(&mut *a, |tasks| tasks.len() == 2);
    let lost: Vec<u32> = (0..4).filter(|task| !kept.contains(task)).collect();
    a.release(&tasks(&lost)).expect("a member");
    settle(&mut *b, |tasks| tasks == lost);
    a.release(&tasks(&lost)).expect("once more");
    b.release(&tasks(&kept)).expect("another's");
    b.release(&tasks(&[17])).expect("of nobody");
    for (member, own) in [(&a, &kept), (&b, &lost)] {
        for task in own {
            commit_as(&*log, member.token(), *task).expect("still its own");
        }
    }
    a.leave();
    b.leave();
}
