//! `flat_map_values`: makes any number of values from each record, all under its key.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Makes any number of values from each record, all under its key.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let lines = builder.stream::<String, String>("lines");
    /// lines
    ///     .flat_map_values(|_, line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    ///     .to("words");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn flat_map_values<W, I>(
        self,
        map: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> Stream<K, W>
    where
        K: Clone,
        W: 'static,
        I: IntoIterator<Item = W> + 'static,
    {
        let map = Arc::new(map);
        self.then(Operator::new("flat_map_values"), move || FlatMapValues {
            map: map.clone(),
            types: PhantomData,
        })
    }
}

/// Turns a record into the values that a closure returns; each has the record's key, timestamp and
/// headers.
struct FlatMapValues<F, K, V, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, I, K, V, W> Process for FlatMapValues<F, K, V, W>
where
    F: Fn(&K, V) -> I + 'static,
    I: IntoIterator<Item = W>,
    K: Clone + 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = W;

    fn process(&self, record: Record<K, V>, out: &Edges<K, W>, cx: &mut Context) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let mut values = (self.map)(&key, value).into_iter();
        let mut next = values.next();
        let mut place = Some((key, headers));
        while let Some(value) = next.take() {
            next = values.next();
            // The last one takes ownership of key and headers.
            let taken = match next {
                Some(_) => place.clone(),
                None => place.take(),
            };
            let Some((key, headers)) = taken else { break };
            out.push(
                Record {
                    key,
                    value,
                    timestamp_ms,
                    headers,
                },
                cx,
            )?;
        }
        Ok(())
    }
}
