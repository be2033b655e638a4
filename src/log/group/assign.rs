//! Which member gets which task: a pure function, so that it can be tested separately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::TaskId;

/// Gives each task to a member. The members' shares of each sub-topology differ by at most one, and
/// so do their shares of all tasks; within that, tasks stay with the member that had them.
///
/// Tasks of the same sub-topology cost about the same, and those of different sub-topologies do not,
/// hence the balance by sub-topology. Without members the result is empty. The same arguments give the
/// same result in any process, so processes that know them need not communicate.
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
/// use marea::base::TaskId;
/// use marea::log::group::assign;
///
/// let tasks: BTreeSet<TaskId> = (0..4).map(|n| TaskId::new("sums", n)).collect();
/// let alone = assign(&tasks, &BTreeSet::from(["a".to_owned()]), &BTreeMap::new());
/// let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
/// let shared = assign(&tasks, &both, &alone);
/// let stays = |task: &&TaskId| shared[*task] == "a";
/// assert_eq!(tasks.iter().filter(stays).count(), 2);
/// ```
pub fn assign(
    tasks: &BTreeSet<TaskId>,
    members: &BTreeSet<String>,
    previous: &BTreeMap<TaskId, String>,
) -> BTreeMap<TaskId, String> {
    let mut assigned = BTreeMap::new();
    let Some(first) = members.first() else {
        return assigned;
    };
    let mut totals: BTreeMap<&String, usize> = members.iter().map(|name| (name, 0)).collect();
    let mut by_subtopology: BTreeMap<&Arc<str>, Vec<&TaskId>> = BTreeMap::new();
    for task in tasks {
        by_subtopology
            .entry(&task.subtopology)
            .or_default()
            .push(task);
    }
    for tasks in by_subtopology.into_values() {
        let (share, extra) = (tasks.len() / members.len(), tasks.len() % members.len());
        let mut had: BTreeMap<&String, usize> = BTreeMap::new();
        for member in tasks.iter().filter_map(|task| previous.get(*task)) {
            *had.entry(member).or_default() += 1;
        }
        // The tasks that do not divide evenly go to the members with the fewest tasks so far, and
        // among those to the ones that already have one more.
        let mut ranked: Vec<&String> = members.iter().collect();
        ranked.sort_by_key(|name| (totals[*name], had.get(*name).is_none_or(|n| *n <= share)));
        let mut room: BTreeMap<&String, usize> = ranked
            .into_iter()
            .enumerate()
            .map(|(rank, name)| (name, share + usize::from(rank < extra)))
            .collect();
        for (name, quota) in &room {
            *totals.entry(name).or_default() += quota;
        }
        let mut homeless = Vec::new();
        for task in tasks {
            match previous.get(task).and_then(|name| room.get_key_value(name)) {
                Some((&name, &quota)) if quota > 0 => {
                    room.insert(name, quota - 1);
                    assigned.insert(task.clone(), name.clone());
                }
                _ => homeless.push(task),
            }
        }
        let mut free = room
            .into_iter()
            .flat_map(|(name, quota)| std::iter::repeat_n(name, quota));
        for task in homeless {
            // Quotas add up to the number of tasks, so there is always one free.
            let name = free.next().unwrap_or(first);
            assigned.insert(task.clone(), name.clone());
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread<'a>(
        members: &'a BTreeSet<String>,
        assigned: impl Iterator<Item = &'a String>,
    ) -> usize {
        let mut counts: BTreeMap<&String, usize> = members.iter().map(|name| (name, 0)).collect();
        for name in assigned {
            *counts.get_mut(name).expect("a member") += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        most - counts.values().min().copied().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn shares_are_even_and_tasks_stay_where_they_can(
            sizes in prop::collection::vec(0_u32..9, 1..5),
            members in prop::collection::btree_set("[a-f]", 1..6),
            others in prop::collection::btree_set("[a-f]", 1..6),
        ) {
            let tasks: BTreeSet<TaskId> = sizes
                .iter()
                .enumerate()
                .flat_map(|(n, size)| (0..*size).map(move |p| TaskId::new(format!("s{n}"), p)))
                .collect();
            let before = assign(&tasks, &others, &BTreeMap::new());
            let after = assign(&tasks, &members, &before);
            prop_assert_eq!(after.keys().collect::<Vec<_>>(), tasks.iter().collect::<Vec<_>>());
            prop_assert!(spread(&members, after.values()) <= 1);
            prop_assert_eq!(&assign(&tasks, &members, &after), &after, "nothing moves for nothing");
            for n in 0..sizes.len() {
                let name = format!("s{n}");
                let of = |map: &BTreeMap<TaskId, String>, member: &String| {
                    let mine = map.iter().filter(|(task, owner)| {
                        *task.subtopology == *name && *owner == member
                    });
                    mine.map(|(task, _)| task.clone()).collect::<BTreeSet<_>>()
                };
                let part = after.iter().filter(|(task, _)| *task.subtopology == *name);
                prop_assert!(spread(&members, part.map(|(_, owner)| owner)) <= 1);
                for member in &members {
                    let (had, has) = (of(&before, member), of(&after, member));
                    let kept = had.intersection(&has).count();
                    prop_assert_eq!(kept, had.len().min(has.len()), "moved without need");
                }
            }
        }
    }
}
