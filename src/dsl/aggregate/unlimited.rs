//! Aggregates in a single window that has a start but no end.

use super::fold::{Aggregation, Grouping, Groups, WithoutMerge};
use super::{TimeWindowSpec, UnlimitedWindows, time_window};
use crate::codec::Windowed;
use crate::dsl::Table;

impl WithoutMerge for UnlimitedWindows {}

impl<K: Clone + 'static, V: Clone + 'static> Grouping<K, V> for UnlimitedWindows {
    type Key = Windowed<K>;

    fn build<A: 'static>(
        self,
        groups: Groups<K, V>,
        aggregation: Aggregation<K, V, A>,
    ) -> Table<Windowed<K>, A> {
        time_window::build(self.spec(), groups, aggregation)
    }
}

impl UnlimitedWindows {
    /// One window, whose end is the end of time; older records are in no window, and are not counted as
    /// dropped.
    pub(super) fn spec(self) -> TimeWindowSpec {
        TimeWindowSpec {
            size_ms: i64::MAX,
            advance_ms: i64::MAX,
            grace_ms: 0,
            only_from_ms: Some(self.start_ms()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_in_the_window_from_its_start_on() {
        let spec = UnlimitedWindows::from(20).spec();
        let starts = |timestamp_ms| spec.starts(timestamp_ms).collect::<Vec<_>>();
        assert_eq!(starts(19), [] as [i64; 0]);
        assert_eq!(starts(20), [20]);
        assert_eq!(starts(i64::MAX), [20]);
        assert_eq!(spec.end_ms(20), i64::MAX);
    }
}
