//! `select_key`: gives each record another key.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Gives each record another key.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .select_key(|_sensor, reading| reading.split(';').next().unwrap_or("").to_owned())
    ///     .to("by-ocean");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn select_key<L: 'static>(
        self,
        select: impl Fn(&K, &V) -> L + Send + Sync + 'static,
    ) -> Stream<L, V> {
        let select = Arc::new(select);
        self.then(Operator::new("select_key").changes_key(), move || {
            SelectKey {
                select: select.clone(),
                types: PhantomData,
            }
        })
    }
}

/// Replaces the record's key with the one that the closure returns.
struct SelectKey<F, K, V, L> {
    select: Arc<F>,
    types: PhantomData<fn(K, V) -> L>,
}

impl<F, K, V, L> Process for SelectKey<F, K, V, L>
where
    F: Fn(&K, &V) -> L + 'static,
    K: 'static,
    V: 'static,
    L: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = L;
    type ValueOut = V;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<L, V>, cx: &mut Context) -> Result<()> {
        out.push(
            record.map(|key, value| ((self.select)(&key, &value), value)),
            cx,
        )
    }
}
