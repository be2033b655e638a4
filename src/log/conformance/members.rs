use super::{
    Arc, Commit, CommitError, Env, Factory, LONG, LOOK, Log, ManualEnv, SystemEnv, TopicSpec,
    appends, at, eventually, start, start_with, try_commit, values,
};
use crate::base::{ErrorKind, TaskId};
use crate::log::{CommittedOffset, GroupCommit, JoinRequest, MemberToken, Membership, TaskPlan};

/// After this time a member is expelled, in cases about just that.
pub(super) const TIMEOUT_MS: u64 = 5_000;
/// In all other cases no member is expelled, even if it is not polled while the case waits for a slow log.
const SESSION_MS: u64 = 30_000;
const INTERVAL_MS: u64 = 300_000;

pub(super) fn request(member: &str, tasks: u32) -> JoinRequest {
    let plan = |partition| TaskPlan {
        task: TaskId::new("sub", partition),
        inputs: vec![at("t", partition)],
    };
    JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: (0..tasks).map(plan).collect(),
        session_timeout_ms: SESSION_MS,
        max_poll_interval_ms: INTERVAL_MS,
    }
}

pub(super) fn join(log: &dyn Log, member: &str) -> Box<dyn Membership> {
    log.join(request(member, 4)).expect("joined")
}

/// The partitions of the tasks of a new assignment.
pub(super) fn polled(member: &mut dyn Membership) -> Option<Vec<u32>> {
    let assignment = member.poll().expect("a member")?;
    assert_eq!(assignment.generation, member.token().generation);
    Some(assignment.tasks.iter().map(|task| task.partition).collect())
}

pub(super) fn tasks(partitions: &[u32]) -> Vec<TaskId> {
    partitions
        .iter()
        .map(|partition| TaskId::new("sub", *partition))
        .collect()
}

/// Polls until the assignment is as expected.
pub(super) fn settle(member: &mut dyn Membership, wanted: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let mut last = None;
    let env = SystemEnv::shared();
    let until_ms = env.monotonic_ms() + LONG.as_millis() as u64;
    loop {
        if let Some(tasks) = polled(member) {
            if wanted(&tasks) {
                return tasks;
            }
            last = Some(tasks);
        }
        assert!(
            env.monotonic_ms() < until_ms,
            "the last assignment was {last:?}"
        );
        env.sleep(LOOK);
    }
}

/// The members of a group are listed by name, if the log can list them.
pub fn a_groups_members_are_known_by_name(factory: Factory<'_>) {
    let log = start_with(factory, "t", 4);
    let members = || log.members("g").expect("known");
    let Some(none) = members() else {
        return;
    };
    assert_eq!(none, [""; 0], "nobody yet");
    let mut first = join(&*log, "first");
    settle(&mut *first, |tasks| tasks.len() == 4);
    assert_eq!(members(), Some(vec!["first".to_owned()]));
    first.leave();
    eventually("it is gone", || members() == Some(Vec::new()));
}

/// Appends a record and records progress on an input.
fn commit_of(token: MemberToken, input: u32) -> Commit {
    let mut commit = appends(&[(&at("out", 0), &["x"])]);
    let committed = CommittedOffset {
        offset: 1,
        metadata: String::new(),
    };
    commit.group = Some(GroupCommit {
        group: "g".into(),
        token: Some(token),
        offsets: vec![(at("t", input), committed)],
    });
    commit
}

pub(super) fn commit_as(log: &dyn Log, token: MemberToken, input: u32) -> Result<(), CommitError> {
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    try_commit(&mut *writer, commit_of(token, input)).map(|_| ())
}

pub(super) fn assert_fenced(log: &dyn Log, token: MemberToken, input: u32) {
    let before = values(log, &at("out", 0)).len();
    let refused = commit_as(log, token, input).expect_err("fenced");
    let CommitError::Fenced(error) = refused else {
        panic!("fenced, not {refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let after = values(log, &at("out", 0)).len();
    assert_eq!(after, before, "nothing of it happened");
}

pub(super) fn start_group(factory: Factory<'_>) -> (Arc<ManualEnv>, Arc<dyn Log>) {
    let (env, log) = start(factory);
    log.create_topics(&[TopicSpec::new("t", 4), TopicSpec::new("out", 1)])
        .expect("created");
    (env, log)
}

/// A new member gets a task only after the old owner gave it back; shares end up even.
pub fn tasks_are_handed_over_only_when_released(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    settle(&mut *a, |tasks| *tasks == [0, 1, 2, 3]);
    assert_eq!(polled(&mut *a), None, "nothing changed");
    let mut b = join(&*log, "b");
    settle(&mut *b, <[u32]>::is_empty);
    let kept = settle(&mut *a, |tasks| tasks.len() == 2);
    let lost: Vec<u32> = (0..4)
        .filter(|partition| !kept.contains(partition))
        .collect();
    assert_eq!(polled(&mut *b), None, "all tasks are still a's");
    a.release(&tasks(&lost)).expect("a member");
    settle(&mut *b, |tasks| tasks == lost);
    assert_eq!(polled(&mut *a), None);
    b.leave();
    settle(&mut *a, |tasks| *tasks == [0, 1, 2, 3]);
    a.leave();
}

/// Commits count only from the task's owner: not before it, not after, not under an old name.
pub fn a_zombie_cannot_commit(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    assert_fenced(&*log, a.token(), 0);
    settle(&mut *a, |tasks| tasks.len() == 4);
    let old = a.token();
    commit_as(&*log, old.clone(), 0).expect("its own");
    // Replaced by another of the same name.
    let mut again = join(&*log, "a");
    assert_fenced(&*log, old.clone(), 0);
    assert_eq!(a.poll().expect_err("replaced").kind(), ErrorKind::Fenced);
    assert_eq!(
        a.release(&[]).expect_err("replaced").kind(),
        ErrorKind::Fenced
    );
    assert!(again.token().generation > old.generation);
    settle(&mut *again, |tasks| tasks.len() == 4);
    commit_as(&*log, again.token(), 0).expect("its own");
    a.leave();
    commit_as(&*log, again.token(), 0).expect("a zombie that leaves takes nobody along");
    // Gave a task away.
    let mut b = join(&*log, "b");
    settle(&mut *b, <[u32]>::is_empty);
    let kept = settle(&mut *again, |tasks| tasks.len() == 2);
    let both: Vec<u32> = (0..4)
        .filter(|partition| !kept.contains(partition))
        .collect();
    let lost = both[0];
    commit_as(&*log, again.token(), lost).expect("still its own until it is released");
    assert_fenced(&*log, b.token(), lost);
    again.release(&tasks(&both)).expect("a member");
    assert_fenced(&*log, again.token(), lost);
    settle(&mut *b, |tasks| tasks == both);
    commit_as(&*log, b.token(), lost).expect("now its own");
    assert_fenced(&*log, again.token(), lost);
    // Left, or never was.
    let token = again.token();
    again.leave();
    assert_fenced(&*log, token.clone(), kept[0]);
    let stranger = MemberToken {
        member: "nobody".into(),
        ..token
    };
    assert_fenced(&*log, stranger, 0);
    b.leave();
}

/// Other members may join and leave: the token of a member stays valid for the tasks that it keeps.
pub fn a_member_that_goes_on_is_not_fenced_by_others(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    settle(&mut *a, |tasks| tasks.len() == 4);
    let token = a.token();
    let b = join(&*log, "b");
    for partition in 0..4 {
        commit_as(&*log, token.clone(), partition).expect("still its own until it is released");
    }
    let kept = settle(&mut *a, |tasks| tasks.len() == 2);
    let lost: Vec<u32> = (0..4)
        .filter(|partition| !kept.contains(partition))
        .collect();
    a.release(&tasks(&lost)).expect("a member");
    for partition in &kept {
        commit_as(&*log, token.clone(), *partition).expect("still its own");
    }
    b.leave();
    settle(&mut *a, |tasks| tasks.len() == 4);
    commit_as(&*log, token, kept[0]).expect("still its own");
    a.leave();
}

/// A member that does not poll is expelled, and cannot return with its old token.
pub fn a_silent_member_loses_its_tasks(factory: Factory<'_>) {
    let (env, log) = start_group(factory);
    // From when the other one joins nothing is called that may wait for the log.
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let mut b = join(&*log, "b");
    settle(&mut *b, |tasks| tasks.len() == 4);
    let silent = JoinRequest {
        max_poll_interval_ms: TIMEOUT_MS,
        ..request("a", 4)
    };
    let mut a = log.join(silent).expect("joined");
    let mut own = Vec::new();
    eventually("it has its share", || {
        own = polled(&mut *a).unwrap_or_default();
        if let Some(kept) = polled(&mut *b) {
            let lost: Vec<u32> = (0..4).filter(|task| !kept.contains(task)).collect();
            b.release(&tasks(&lost)).expect("a member");
        }
        own.len() == 2
    });
    let clock = SystemEnv::shared();
    let polled_ms = clock.monotonic_ms();
    assert_eq!(polled(&mut *a), None, "nothing changed");
    let committed = try_commit(&mut *writer, commit_of(a.token(), own[0]));
    // A log that goes by the same clock, and took that long to answer, may have expelled it.
    if clock.monotonic_ms() - polled_ms < TIMEOUT_MS {
        committed.expect("not yet");
    }
    // Whichever clock the log uses.
    env.advance_ms(TIMEOUT_MS as i64 + 1);
    settle(&mut *b, |tasks| *tasks == [0, 1, 2, 3]);
    assert_fenced(&*log, a.token(), own[0]);
    assert_eq!(a.poll().expect_err("expelled").kind(), ErrorKind::Fenced);
    commit_as(&*log, b.token(), own[0]).expect("its own");
    b.leave();
}

/// A heartbeat for a place that is lost reports this to its sender.
pub fn a_heartbeat_ends_with_its_place(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    settle(&mut *a, |tasks| tasks.len() == 4);
    let heartbeat = a.heartbeat();
    heartbeat.beat().expect("a member");
    let mut again = join(&*log, "a");
    let replaced = heartbeat.beat().expect_err("replaced");
    assert_eq!(replaced.kind(), ErrorKind::Fenced);
    settle(&mut *again, |tasks| tasks.len() == 4);
    let heartbeat = again.heartbeat();
    heartbeat.beat().expect("a member");
    again.leave();
    let left = heartbeat.beat().expect_err("it has left");
    assert_eq!(left.kind(), ErrorKind::Fenced);
}

/// Two members with different topologies would work on different tasks.
pub fn members_must_agree_on_the_tasks(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let a = join(&*log, "a");
    let error = log
        .join(request("b", 3))
        .map(|_| ())
        .expect_err("other tasks");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    a.leave();
    let mut b = log.join(request("b", 3)).expect("alone it may");
    settle(&mut *b, |tasks| *tasks == [0, 1, 2]);
    b.leave();
}
