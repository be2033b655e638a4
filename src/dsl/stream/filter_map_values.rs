//! `filter_map_values`: replaces the value of each record, or drops the record.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Replaces the value of each record, and drops those for which the closure returns `None`. Same as
    /// [`Stream::filter`] followed by [`Stream::map_values`], with one look at the value.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let lines = builder.stream::<String, String>("lines");
    /// lines
    ///     .filter_map_values(|_, line| line.parse::<i64>().ok())
    ///     .to("numbers");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter_map_values<W: 'static>(
        self,
        map: impl Fn(&K, V) -> Option<W> + Send + Sync + 'static,
    ) -> Stream<K, W> {
        let map = Arc::new(map);
        self.then(Operator::new("filter_map_values"), move || {
            FilterMapValues {
                map: map.clone(),
                types: PhantomData,
            }
        })
    }
}

/// Replaces values by what a closure makes of them, if anything; key, timestamp and headers stay.
struct FilterMapValues<F, K, V, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, K, V, W> Process for FilterMapValues<F, K, V, W>
where
    F: Fn(&K, V) -> Option<W> + 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = W;

    fn process(&self, record: Record<K, V>, out: &Edges<K, W>, cx: &mut Context) -> Result<()> {
        match record.filter_map_value(&*self.map) {
            Some(record) => out.push(record, cx),
            None => Ok(()),
        }
    }
}
