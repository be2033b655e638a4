//! `present`: passes on the values that are present.

use std::marker::PhantomData;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, Option<V>> {
    /// Passes on the values that are present: from a table's changes, the rows but not the deletions.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .count("readings-per-sensor")
    ///     .to_stream()
    ///     .present()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn present(self) -> Stream<K, V> {
        self.then(Operator::new("present"), || Present(PhantomData))
    }
}

/// Forwards the records that have a value.
struct Present<K, V>(PhantomData<fn(K, V)>);

impl<K: 'static, V: 'static> Process for Present<K, V> {
    type KeyIn = K;
    type ValueIn = Option<V>;
    type KeyOut = K;
    type ValueOut = V;

    fn process(
        &self,
        record: Record<K, Option<V>>,
        out: &Edges<K, V>,
        cx: &mut Context,
    ) -> Result<()> {
        match record.filter_map_value(|_, value| value) {
            Some(record) => out.push(record, cx),
            None => Ok(()),
        }
    }
}
