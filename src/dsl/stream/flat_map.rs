//! `flat_map`: makes any number of records from each record.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Makes any number of keys and values from each record. The key counts as changed.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths
    ///     .flat_map(|sensor, metres| (0..metres / 100).map(move |level| (level, sensor.clone())))
    ///     .to("levels");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn flat_map<L, W, I>(self, map: impl Fn(K, V) -> I + Send + Sync + 'static) -> Stream<L, W>
    where
        L: 'static,
        W: 'static,
        I: IntoIterator<Item = (L, W)> + 'static,
    {
        let map = Arc::new(map);
        self.then(Operator::new("flat_map").changes_key(), move || FlatMap {
            map: map.clone(),
            types: PhantomData,
        })
    }
}

/// Turns a record into the pairs that a closure returns; each has the record's timestamp and headers.
struct FlatMap<F, K, V, L, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> (L, W)>,
}

impl<F, I, K, V, L, W> Process for FlatMap<F, K, V, L, W>
where
    F: Fn(K, V) -> I + 'static,
    I: IntoIterator<Item = (L, W)>,
    K: 'static,
    V: 'static,
    L: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = L;
    type ValueOut = W;

    fn process(&self, record: Record<K, V>, out: &Edges<L, W>, cx: &mut Context) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        for (key, value) in (self.map)(key, value) {
            out.push(
                Record {
                    key,
                    value,
                    timestamp_ms,
                    headers: headers.clone(),
                },
                cx,
            )?;
        }
        Ok(())
    }
}
