//! `map`: makes one record from each record.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Makes another key and value from each record. The key counts as changed: groupings and joins
    /// behind this go through a repartition topic.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.map(|sensor, metres| (metres, sensor)).to("by-depth");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map<L: 'static, W: 'static>(
        self,
        map: impl Fn(K, V) -> (L, W) + Send + Sync + 'static,
    ) -> Stream<L, W> {
        let map = Arc::new(map);
        self.then(Operator::new("map").changes_key(), move || Map {
            map: map.clone(),
            types: PhantomData,
        })
    }
}

/// Turns key and value into another key and value; timestamp and headers stay the same.
struct Map<F, K, V, L, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> (L, W)>,
}

impl<F, K, V, L, W> Process for Map<F, K, V, L, W>
where
    F: Fn(K, V) -> (L, W) + 'static,
    K: 'static,
    V: 'static,
    L: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = L;
    type ValueOut = W;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<L, W>, cx: &mut Context) -> Result<()> {
        out.push(record.map(&*self.map), cx)
    }
}
