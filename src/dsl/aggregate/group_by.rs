//! `group_by_key`, `group_by`: brings records with equal keys together.

use super::GroupedStream;
use crate::dsl::repartition::repartition;
use crate::dsl::sink::NullKeys;
use crate::dsl::{Grouped, Stream};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Groups by the records' keys.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .count("readings-per-sensor")
    ///     .to_stream()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by_key(self, grouped: impl Into<Grouped<K, V>>) -> GroupedStream<K, V> {
        let Grouped { name, key, value } = grouped.into();
        let codecs = (key.clone(), value.clone());
        let id = repartition(&self.graph, self.id, name, codecs, NullKeys::Drop);
        GroupedStream::new(self.graph, id, key, value)
    }

    /// Groups by another key: [`Stream::select_key`], then [`Stream::group_by_key`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by("by-length", |_sensor, reading| reading.len() as i64)
    ///     .count("lengths")
    ///     .to_stream()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by<L: 'static>(
        self,
        grouped: impl Into<Grouped<L, V>>,
        select: impl Fn(&K, &V) -> L + Send + Sync + 'static,
    ) -> GroupedStream<L, V> {
        self.select_key(select).group_by_key(grouped)
    }
}
