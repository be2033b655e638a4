use super::*;
use crate::base::ErrorKind;

fn request(member: &str) -> JoinRequest {
    let plan = |p| TaskPlan {
        task: TaskId::new("sub", p),
        inputs: vec![TopicPartition::new("in", p)],
    };
    JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: (0..4).map(plan).collect(),
        session_timeout_ms: 1_000,
        max_poll_interval_ms: 5_000,
    }
}

fn polled(groups: &mut Groups, local: &mut LocalMember, now_ms: u64) -> Vec<u32> {
    let assignment = groups
        .poll(local, now_ms)
        .expect("a member")
        .expect("a change");
    assignment.tasks.iter().map(|task| task.partition).collect()
}

#[test]
fn a_generation_never_shrinks_and_comes_back_after_a_restart() {
    let mut groups = Groups::restore([("g".to_owned(), 41)]);
    let local = groups.join(&request("a"), 0).expect("joined");
    assert_eq!(local.token().generation, 42);
    groups.leave(&local);
    assert_eq!(groups.generation("g"), 43);
    assert_eq!(groups.generation("unknown"), 0);
}

#[test]
fn a_task_wanted_back_before_it_was_released_is_offered_again() {
    let mut groups = Groups::default();
    let mut a = groups.join(&request("a"), 0).expect("joined");
    assert_eq!(polled(&mut groups, &mut a, 0), [0, 1, 2, 3]);
    let b = groups.join(&request("b"), 0).expect("joined");
    let kept = polled(&mut groups, &mut a, 0);
    assert_eq!(kept.len(), 2);
    groups.leave(&b);
    assert_eq!(polled(&mut groups, &mut a, 0), [0, 1, 2, 3]);
    // It was on its way to give them back, and does so.
    let lost: Vec<TaskId> = (0..4)
        .filter(|p| !kept.contains(p))
        .map(|p| TaskId::new("sub", p))
        .collect();
    groups.release(&a, &lost).expect("a member");
    assert_eq!(polled(&mut groups, &mut a, 0), [0, 1, 2, 3]);
    assert_eq!(groups.poll(&mut a, 0).expect("a member"), None);
}

#[test]
fn a_silent_member_is_expelled_when_another_speaks() {
    let mut groups = Groups::default();
    let mut a = groups.join(&request("a"), 0).expect("joined");
    polled(&mut groups, &mut a, 0);
    let mut b = groups.join(&request("b"), 1_000).expect("joined");
    assert!(polled(&mut groups, &mut b, 1_000).is_empty());
    assert_eq!(polled(&mut groups, &mut b, 1_001), [0, 1, 2, 3]);
    let error = groups.poll(&mut a, 1_002).expect_err("expelled");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let commit = GroupCommit {
        group: "g".into(),
        token: Some(a.token()),
        offsets: Vec::new(),
    };
    assert_eq!(
        groups.check_commit(&commit).expect_err("expelled").kind(),
        ErrorKind::Fenced
    );
}
