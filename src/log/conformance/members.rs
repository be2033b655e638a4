use super::*;
use crate::base::{ErrorKind, TaskId};
use crate::log::{CommittedOffset, GroupCommit, JoinRequest, MemberToken, Membership, TaskPlan};

const TIMEOUT_MS: u64 = 1_000;

fn request(member: &str, tasks: u32) -> JoinRequest {
    let plan = |partition| TaskPlan {
        task: TaskId::new("sub", partition),
        inputs: vec![at("t", partition)],
    };
    JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: (0..tasks).map(plan).collect(),
        session_timeout_ms: TIMEOUT_MS,
    }
}

fn join(log: &dyn Log, member: &str) -> Box<dyn Membership> {
    log.join(request(member, 4)).expect("joined")
}

/// The partitions of the tasks of a new assignment.
fn polled(member: &mut dyn Membership) -> Option<Vec<u32>> {
    let assignment = member.poll().expect("a member")?;
    assert_eq!(assignment.generation, member.token().generation);
    Some(assignment.tasks.iter().map(|task| task.partition).collect())
}

fn tasks(partitions: &[u32]) -> Vec<TaskId> {
    partitions
        .iter()
        .map(|partition| TaskId::new("sub", *partition))
        .collect()
}

/// Appends a record and records progress on an input.
fn commit_as(log: &dyn Log, token: MemberToken, input: u32) -> Result<(), CommitError> {
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
    let mut writer = log.writer("w").expect("a writer");
    try_commit(&mut *writer, commit).map(|_| ())
}

fn assert_fenced(log: &dyn Log, token: MemberToken, input: u32) {
    let before = end(log, &at("out", 0));
    let refused = commit_as(log, token, input).expect_err("fenced");
    let CommitError::Fenced(error) = refused else {
        panic!("fenced, not {refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(end(log, &at("out", 0)), before, "nothing of it happened");
}

fn start_group(factory: Factory<'_>) -> (Arc<ManualEnv>, Arc<dyn Log>) {
    let (env, log) = start(factory);
    log.create_topics(&[TopicSpec::new("t", 4), TopicSpec::new("out", 1)])
        .expect("created");
    (env, log)
}

/// A new member gets a task only after the old owner gave it back; shares end up even.
pub fn tasks_are_handed_over_only_when_released(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    assert_eq!(polled(&mut *a), Some(vec![0, 1, 2, 3]));
    assert_eq!(polled(&mut *a), None, "nothing changed");
    let mut b = join(&*log, "b");
    assert_eq!(polled(&mut *b), Some(vec![]), "all tasks are still a's");
    let kept = polled(&mut *a).expect("fewer");
    assert_eq!(kept.len(), 2);
    let lost: Vec<u32> = (0..4)
        .filter(|partition| !kept.contains(partition))
        .collect();
    assert_eq!(polled(&mut *b), None);
    a.release(&tasks(&lost[..1])).expect("a member");
    assert_eq!(polled(&mut *b), Some(lost[..1].to_vec()));
    a.release(&tasks(&lost[1..])).expect("a member");
    assert_eq!(polled(&mut *b), Some(lost.clone()));
    assert_eq!(polled(&mut *a), None);
    b.leave();
    assert_eq!(polled(&mut *a), Some(vec![0, 1, 2, 3]), "free at once");
}

/// Commits count only from the task's owner: not before it, not after, not under an old name.
pub fn a_zombie_cannot_commit(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    assert_fenced(&*log, a.token(), 0);
    polled(&mut *a);
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
    assert_eq!(polled(&mut *again).expect("an assignment").len(), 4);
    commit_as(&*log, again.token(), 0).expect("its own");
    a.leave();
    commit_as(&*log, again.token(), 0).expect("a zombie that leaves takes nobody along");
    // Gave a task away.
    let mut b = join(&*log, "b");
    polled(&mut *b);
    let kept = polled(&mut *again).expect("fewer");
    let lost = (0..4)
        .find(|partition| !kept.contains(partition))
        .expect("two of them");
    commit_as(&*log, again.token(), lost).expect("still its own until it is released");
    assert_fenced(&*log, b.token(), lost);
    again.release(&tasks(&[lost])).expect("a member");
    assert_fenced(&*log, again.token(), lost);
    polled(&mut *b).expect("the task");
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
}

/// Others may come and go: the token of a member that keeps its task stays good.
pub fn a_member_that_goes_on_is_not_fenced_by_others(factory: Factory<'_>) {
    let (_, log) = start_group(factory);
    let mut a = join(&*log, "a");
    polled(&mut *a);
    let token = a.token();
    let b = join(&*log, "b");
    let c = join(&*log, "c");
    commit_as(&*log, token.clone(), 0).expect("not told yet");
    b.leave();
    c.leave();
    assert_eq!(polled(&mut *a), None, "all is as it was");
    assert_eq!(a.token(), token);
    commit_as(&*log, token, 0).expect("still its own");
}

/// A member that does not poll is expelled when others do, and cannot come back with its old token.
pub fn a_silent_member_loses_its_tasks(factory: Factory<'_>) {
    let (env, log) = start_group(factory);
    let mut a = join(&*log, "a");
    polled(&mut *a);
    let mut b = join(&*log, "b");
    assert_eq!(polled(&mut *b), Some(vec![]));
    env.advance_ms(TIMEOUT_MS as i64);
    assert_eq!(polled(&mut *b), None, "not yet");
    commit_as(&*log, a.token(), 0).expect("not yet");
    env.advance_ms(1);
    assert_eq!(polled(&mut *b), Some(vec![0, 1, 2, 3]));
    assert_fenced(&*log, a.token(), 0);
    assert_eq!(a.poll().expect_err("expelled").kind(), ErrorKind::Fenced);
    commit_as(&*log, b.token(), 0).expect("its own");
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
    assert_eq!(polled(&mut *b), Some(vec![0, 1, 2]));
}
