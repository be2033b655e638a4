//! `map_values`: makes another value from each record.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Makes another value from each record; the key stays, and so does its partition.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.map_values(|_sensor, metres| metres * 1000).to("millimetres");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map_values<W: 'static>(
        self,
        map: impl Fn(&K, V) -> W + Send + Sync + 'static,
    ) -> Stream<K, W> {
        let map = Arc::new(map);
        self.then(Operator::new("map_values"), move || MapValues {
            map: map.clone(),
            types: PhantomData,
        })
    }
}

/// Turns the value into another; key, timestamp and headers stay the same.
struct MapValues<F, K, V, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, K, V, W> Process for MapValues<F, K, V, W>
where
    F: Fn(&K, V) -> W + 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = W;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<K, W>, cx: &mut Context) -> Result<()> {
        out.push(record.map_value(&*self.map), cx)
    }
}
