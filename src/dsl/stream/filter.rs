//! `filter`, `filter_not`: forwards the records for which a predicate holds.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Keeps the records for which `accepts` returns true.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.filter(|_sensor, metres| *metres > 200).to("deep");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter(self, accepts: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let accepts = Arc::new(accepts);
        self.then(Operator::new("filter"), move || Filter::new(&accepts, true))
    }

    /// Keeps the records for which `rejects` returns false.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.filter_not(|_sensor, metres| *metres < 0).to("valid");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter_not(self, rejects: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let rejects = Arc::new(rejects);
        self.then(Operator::new("filter_not"), move || {
            Filter::new(&rejects, false)
        })
    }
}

/// Forwards the records for which the predicate has the wanted result.
struct Filter<F, K, V> {
    predicate: Arc<F>,
    wanted: bool,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V> Filter<F, K, V> {
    fn new(predicate: &Arc<F>, wanted: bool) -> Self {
        Self {
            predicate: predicate.clone(),
            wanted,
            types: PhantomData,
        }
    }
}

impl<F, K, V> Process for Filter<F, K, V>
where
    F: Fn(&K, &V) -> bool + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        match (self.predicate)(&record.key, &record.value) == self.wanted {
            true => out.push(record, cx),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dsl::tests::run;

    #[test]
    fn what_the_predicate_accepts_passes_and_nothing_else() {
        let found = run(&[("a", 1), ("b", 2), ("a", 3)], |stream| {
            stream.filter(|_, value| value % 2 == 1)
        });
        assert_eq!(found, [("a", 1), ("a", 3)].map(crate::dsl::tests::owned));
        let found = run(&[("a", 1), ("b", 2)], |stream| {
            stream.filter_not(|key, _| key == "a")
        });
        assert_eq!(found, [("b", 2)].map(crate::dsl::tests::owned));
    }
}
