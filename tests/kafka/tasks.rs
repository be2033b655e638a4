//! The topic of a group's tasks: it follows their number, and instances that start at once agree on it.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use marea::base::{TaskId, TopicPartition};
use marea::log::{JoinRequest, Log, Membership, TaskPlan, TopicSpec};

use crate::broker::Broker;
use crate::cases::Case;
use crate::patience::LONG;

pub const CASES: &[(&str, Case)] = &[
    (
        "the_topic_of_tasks_follows_their_number_once_nobody_is_there",
        the_topic_of_tasks_follows_their_number_once_nobody_is_there,
    ),
    (
        "instances_that_begin_at_once_agree_on_their_topics",
        instances_that_begin_at_once_agree_on_their_topics,
    ),
    (
        "a_member_that_joins_gets_tasks_of_every_subtopology",
        a_member_that_joins_gets_tasks_of_every_subtopology,
    ),
    (
        "a_member_that_gives_tasks_back_late_keeps_its_place",
        a_member_that_gives_tasks_back_late_keeps_its_place,
    ),
];

/// Not even a member that nobody polls while others start loses its tasks, in milliseconds.
pub const SESSION_MS: u64 = 30_000;
pub const POLL_MS: u64 = 300_000;

fn join(log: &dyn Log, member: &str, tasks: u32) -> Box<dyn Membership> {
    join_for(log, member, &[("sub", "t")], tasks)
}

/// Joins for `tasks` tasks of each sub-topology, which reads the topic beside it.
fn join_for(
    log: &dyn Log,
    member: &str,
    subtopologies: &[(&str, &str)],
    tasks: u32,
) -> Box<dyn Membership> {
    let plan = |(name, topic): &(&str, &str), number| TaskPlan {
        task: TaskId::new(*name, number),
        inputs: vec![TopicPartition::new(*topic, number)],
    };
    let plans = |subtopology| (0..tasks).map(move |number| plan(subtopology, number));
    let request = JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: subtopologies.iter().flat_map(plans).collect(),
        session_timeout_ms: SESSION_MS,
        max_poll_interval_ms: POLL_MS,
    };
    log.join(request).expect("joined")
}

/// Follows assignments until all members together have all tasks, and each its share. Members that are not new have
/// what the last call returned.
fn share(
    members: &mut [Box<dyn Membership>],
    mut had: Vec<Vec<TaskId>>,
    tasks: usize,
) -> Vec<Vec<TaskId>> {
    let until = Instant::now() + LONG;
    had.resize(members.len(), Vec::new());
    loop {
        for (member, had) in members.iter_mut().zip(&mut had) {
            if let Some(given) = member.poll().expect("a member") {
                had.retain(|task| !given.tasks.contains(task));
                member.release(had).expect("a member");
                *had = given.tasks;
            }
        }
        let shares: Vec<usize> = had.iter().map(Vec::len).collect();
        let most = shares.iter().max().copied().unwrap_or(0);
        let least = shares.iter().min().copied().unwrap_or(0);
        if shares.iter().sum::<usize>() == tasks && most - least <= 1 {
            return had;
        }
        assert!(Instant::now() < until, "{shares:?} of {tasks}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn partitions(log: &dyn Log) -> u32 {
    let topic = log.topic("g-marea-tasks").expect("known");
    topic.expect("there is one").partitions
}

/// With partitions left over from a larger topology, members would have shares that contain no tasks.
fn the_topic_of_tasks_follows_their_number_once_nobody_is_there(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 9)])
        .expect("created");
    for tasks in [8, 3, 5, 4] {
        let mut members = [join(&*log, "a", tasks), join(&*log, "b", tasks)];
        share(&mut members, Vec::new(), tasks as usize);
        assert_eq!(partitions(&*log), tasks);
        members.into_iter().for_each(|member| member.leave());
        // Each starts as another process would.
        assert!(log.committed("g", &[]).expect("an answer").is_empty());
    }
}

/// Each instance finds topics that another one is creating, growing or deleting at that moment.
fn instances_that_begin_at_once_agree_on_their_topics(broker: &Broker) {
    const INSTANCES: usize = 4;
    broker.fresh_log();
    for tasks in [4, 9, 6] {
        let logs: Vec<Arc<dyn Log>> = (0..INSTANCES).map(|_| broker.log()).collect();
        let begin = Barrier::new(INSTANCES);
        let begun: Vec<Box<dyn Membership>> = std::thread::scope(|scope| {
            let one = |(number, log): (usize, &Arc<dyn Log>)| {
                let (log, begin) = (Arc::clone(log), &begin);
                scope.spawn(move || {
                    begin.wait();
                    let specs = ["t", "x", "y"].map(|name| TopicSpec::new(name, 9));
                    log.create_topics(&specs).expect("created");
                    join(&*log, &format!("m{number}"), tasks)
                })
            };
            let threads: Vec<_> = logs.iter().enumerate().map(one).collect();
            let members = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            members.collect()
        });
        let mut members = begun;
        share(&mut members, Vec::new(), tasks as usize);
        assert_eq!(partitions(&*logs[0]), tasks);
        members.into_iter().for_each(|member| member.leave());
    }
}

/// In the order of their names, the second member would get all tasks of one sub-topology.
fn a_member_that_joins_gets_tasks_of_every_subtopology(broker: &Broker) {
    const TASKS: u32 = 8;
    const SUBTOPOLOGIES: [(&str, &str); 2] = [("a", "t"), ("b", "u")];
    let log = broker.fresh_log();
    let specs = ["t", "u"].map(|name| TopicSpec::new(name, TASKS));
    log.create_topics(&specs).expect("created");
    let (mut members, mut shares) = (Vec::new(), Vec::new());
    for name in ["m1", "m2", "m3", "m4"] {
        members.push(join_for(&*log, name, &SUBTOPOLOGIES, TASKS));
        shares = share(&mut members, shares, 2 * TASKS as usize);
        for (subtopology, _) in SUBTOPOLOGIES {
            let of = |share: &Vec<TaskId>| {
                let of_it = share
                    .iter()
                    .filter(|task| &*task.subtopology == subtopology);
                of_it.count()
            };
            let counts: Vec<usize> = shares.iter().map(of).collect();
            println!("    {name} has joined: {counts:?} tasks of {subtopology}");
            let (most, least) = (counts.iter().max(), counts.iter().min());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least <= 2),
                "{counts:?} tasks of {subtopology}"
            );
        }
    }
    members.into_iter().for_each(|member| member.leave());
}

/// To the brokers, tasks that it still closes belong to nobody, as if a rebalance had been interrupted.
fn a_member_that_gives_tasks_back_late_keeps_its_place(broker: &Broker) {
    const TASKS: u32 = 4;
    /// Longer than members take to notice a task without an owner: they check after pauses that double up to
    /// some seconds, and then a few times in a row.
    const LATE: Duration = Duration::from_secs(10);
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", TASKS)])
        .expect("created");
    let mut members = vec![join(&*log, "a", TASKS)];
    let shares = share(&mut members, Vec::new(), TASKS as usize);
    members.push(join(&*log, "b", TASKS));
    let until = Instant::now() + LONG;
    let kept = loop {
        if let Some(given) = members[0].poll().expect("a member") {
            break given.tasks;
        }
        assert!(Instant::now() < until, "it is to give tasks back");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(kept.len(), TASKS as usize / 2);
    let late = Instant::now() + LATE;
    while Instant::now() < late {
        for member in &mut members {
            member.poll().expect("a member");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let lost: Vec<TaskId> = shares[0]
        .iter()
        .filter(|task| !kept.contains(task))
        .cloned()
        .collect();
    members[0].release(&lost).expect("a member");
    share(&mut members, vec![kept], TASKS as usize);
    members.into_iter().for_each(|member| member.leave());
}
