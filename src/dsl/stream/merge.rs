//! `merge`: two streams as one.

use super::Stream;
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Merges the records of two streams, in no particular order between them.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let atlantic = builder.stream::<String, String>("atlantic");
    /// # let pacific = builder.stream::<String, String>("pacific");
    /// atlantic.merge(pacific).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn merge(self, other: Self) -> Self {
        let operator = Operator::new("merge").of([self.id, other.id]);
        let id = operator.add(&self.graph, |_, _| Ok(Pass::<K, V>::default()));
        Stream::new(self.graph, id)
    }
}
