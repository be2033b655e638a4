//! The rows of a window store's table by segment: they leave memory together with it, and for a segment
//! that began in this process and has lost no row since, memory is complete.

use std::collections::BTreeMap;

use super::{RowTable, State};

/// The entries of a table by the segments at the start of their keys.
#[derive(Debug)]
pub(in crate::state) struct Groups {
    by_number: BTreeMap<i64, Group>,
    /// How many segments are one group: those of an in-memory store are as short as its times.
    width: i64,
}

#[derive(Debug, Default)]
struct Group {
    /// Entries that were made for it; some may belong to others by now.
    ids: Vec<u32>,
    /// Whether all its rows are in the table.
    whole: bool,
}

impl Groups {
    fn of(&self, key: &[u8]) -> i64 {
        let segment = key.first_chunk::<8>().copied().unwrap_or_default();
        i64::from_be_bytes(segment).div_euclid(self.width)
    }

    fn lose(&mut self, key: &[u8]) {
        let number = self.of(key);
        if let Some(group) = self.by_number.get_mut(&number) {
            group.whole = false;
        }
    }

    /// From now on, no group is known completely.
    pub(in crate::state) fn lose_all(&mut self) {
        let groups = self.by_number.values_mut();
        groups.for_each(|group| group.whole = false);
    }
}

impl RowTable {
    /// Keeps entries by segment from now on.
    pub(in crate::state) fn know_groups(&mut self, width: i64) {
        self.groups = Some(Groups {
            by_number: BTreeMap::new(),
            width: width.max(1),
        });
    }

    /// The segments that are one group with this one.
    pub(in crate::state) fn group_of(&self, segment: i64) -> std::ops::Range<i64> {
        let width = self.groups.as_ref().map_or(1, |groups| groups.width);
        let first = segment.div_euclid(width).saturating_mul(width);
        first..first.saturating_add(width)
    }

    /// There is no row in the group of this segment yet, neither here nor in the backend.
    pub(in crate::state) fn begin_group(&mut self, segment: i64) {
        if let Some(groups) = &mut self.groups {
            let number = segment.div_euclid(groups.width);
            groups.by_number.entry(number).or_default().whole = true;
        }
    }

    /// Whether all rows of the key's segment are in the table.
    pub(in crate::state) fn is_whole(&self, key: &[u8]) -> bool {
        let group = |groups: &Groups| Some(groups.by_number.get(&groups.of(key))?.whole);
        self.groups.as_ref().and_then(group).unwrap_or(false)
    }

    /// An entry was made for a key.
    pub(in crate::state) fn join_group(&mut self, id: u32, key: &[u8]) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        let number = groups.of(key);
        let group = groups.by_number.entry(number).or_default();
        group.ids.push(id);
        if group.ids.len() > 2 * self.entries.len() + 1024 {
            // Most of them were evicted and added again.
            let mut ids = std::mem::take(&mut group.ids);
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|id| {
                let entry = &self.entries[*id as usize];
                entry.state != State::Free && groups.of(entry.key()) == number
            });
            groups.by_number.entry(number).or_default().ids = ids;
        }
    }

    /// A committed row leaves memory, or may have left it.
    pub(in crate::state) fn lose_row(&mut self, id: u32) {
        if let Some(groups) = &mut self.groups {
            groups.lose(self.entries[id as usize].key());
        }
    }

    /// Drops the committed rows of the groups that end at or before this segment.
    pub(in crate::state) fn drop_groups_below(&mut self, first_live: i64) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        let live = groups
            .by_number
            .split_off(&first_live.div_euclid(groups.width));
        let dead = std::mem::replace(&mut groups.by_number, live);
        for (number, group) in dead {
            for id in group.ids {
                let entry = &self.entries[id as usize];
                let groups = self.groups.as_ref();
                if entry.state == State::Clean
                    && groups.is_some_and(|groups| groups.of(entry.key()) == number)
                {
                    self.clean_bytes -= entry.cost();
                    self.remove(id);
                }
            }
        }
    }
}
