//! Which partition of the topic of tasks stands for which task.
//!
//! The group's assignor knows nothing of sub-topologies. When members start together, it deals partitions
//! in turn; when one more joins, it takes the first partitions of each of the others. With tasks in the
//! order of their names, that second worker got all tasks of one sub-topology, and did all of its work.
//! So neighbours are tasks of different sub-topologies, and the turns rotate: otherwise, dealing them to
//! as many members as there are sub-topologies would have the same effect.

use std::collections::BTreeMap;

use crate::base::TaskId;

/// For how many turns the first sub-topology stays the first, if there are more turns than that. With 1,
/// dealing to twice as many members as there are sub-topologies would give each of them half of one.
const TURNS: usize = 2;

/// The tasks in the order of their partitions, which is the same in every process.
pub(super) fn by_turns<'a>(tasks: impl IntoIterator<Item = &'a TaskId>) -> Vec<TaskId> {
    let mut by_subtopology: BTreeMap<&str, Vec<&TaskId>> = BTreeMap::new();
    for task in tasks {
        by_subtopology
            .entry(&task.subtopology)
            .or_default()
            .push(task);
    }
    let mut subtopologies: Vec<Vec<&TaskId>> = by_subtopology.into_values().collect();
    for tasks in &mut subtopologies {
        tasks.sort_unstable();
    }
    let turns = subtopologies.iter().map(Vec::len).max().unwrap_or(0);
    let stays_first = if turns > TURNS { TURNS } else { 1 };
    let mut ordered = Vec::new();
    for turn in 0..turns {
        let of_turn = subtopologies.iter().filter_map(|tasks| tasks.get(turn));
        let mut of_turn: Vec<TaskId> = of_turn.copied().cloned().collect();
        let first = turn / stays_first % of_turn.len().max(1);
        of_turn.rotate_left(first);
        ordered.append(&mut of_turn);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tasks(counts: &[(&str, u32)]) -> BTreeSet<TaskId> {
        let of = |&(name, count)| (0..count).map(move |number| TaskId::new(name, number));
        counts.iter().flat_map(of).collect()
    }

    /// By how much shares of a sub-topology differ at most.
    fn spread(shares: &[Vec<TaskId>], subtopologies: &[&str]) -> usize {
        let of = |name: &str| {
            let count = |share: &Vec<TaskId>| {
                share
                    .iter()
                    .filter(|task| &*task.subtopology == name)
                    .count()
            };
            let counts: Vec<usize> = shares.iter().map(count).collect();
            counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
        };
        subtopologies.iter().map(|name| of(name)).max().unwrap_or(0)
    }

    fn dealt(ordered: &[TaskId], members: usize) -> Vec<Vec<TaskId>> {
        let share = |member| ordered.iter().skip(member).step_by(members).cloned();
        (0..members).map(|member| share(member).collect()).collect()
    }

    #[test]
    fn each_task_has_one_place_which_does_not_depend_on_where_it_was_named() {
        let all = tasks(&[("a", 3), ("b", 7), ("c", 1)]);
        let ordered = by_turns(&all);
        assert_eq!(ordered.iter().cloned().collect::<BTreeSet<_>>(), all);
        assert_eq!(ordered.len(), all.len());
        assert_eq!(by_turns(all.iter().rev()), ordered);
        assert!(by_turns(&tasks(&[])).is_empty());
    }

    #[test]
    fn the_first_half_and_every_second_task_are_half_of_each_subtopology() {
        for (counts, names) in [
            (&[("a", 2), ("b", 2)][..], &["a", "b"][..]),
            (&[("a", 4), ("b", 4)], &["a", "b"]),
            (&[("a", 16), ("b", 16)], &["a", "b"]),
            (
                &[("a", 8), ("b", 8), ("c", 8), ("d", 8)],
                &["a", "b", "c", "d"],
            ),
        ] {
            let ordered = by_turns(&tasks(counts));
            let (first, rest) = ordered.split_at(ordered.len() / 2);
            assert_eq!(spread(&[first.to_vec(), rest.to_vec()], names), 0);
            assert_eq!(spread(&dealt(&ordered, 2), names), 0);
            assert!(spread(&dealt(&ordered, 3), names) <= 2);
            assert!(spread(&dealt(&ordered, 4), names) <= 2);
        }
    }
}
