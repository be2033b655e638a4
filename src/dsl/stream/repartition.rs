//! `repartition`: sends a stream through an internal topic of the application.

use super::Stream;
use crate::dsl::Repartitioned;
use crate::dsl::repartition::partitioned_node;
use crate::dsl::sink::NullKeys;

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Sends the records through an internal topic of the application, so that each reaches the task of
    /// its key. Records with a null key are dropped and counted under a separate reason.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .repartition(Repartitioned::named("spread").partitions(8))
    ///     .to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn repartition(self, repartitioned: impl Into<Repartitioned<K, V>>) -> Self {
        let Repartitioned {
            name,
            key,
            value,
            partitions,
            partitioner,
        } = repartitioned.into();
        let node = partitioned_node(
            self.id,
            name,
            (key, value),
            NullKeys::Drop,
            true,
            partitions,
            partitioner,
        );
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph, id)
    }
}
