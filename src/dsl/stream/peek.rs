//! `peek`, `for_each`: calls a closure with each record.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Calls a closure with each record and passes the record on. External effects of the closure are not
    /// part of the commit: after a crash it may see a record again.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.peek(|sensor, _| println!("{sensor}")).to("seen");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn peek(self, look: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let look = Arc::new(look);
        self.then(Operator::new("peek"), move || Peek {
            look: look.clone(),
            types: PhantomData,
        })
    }

    /// Calls a closure with each record and ends the stream. See [`Stream::peek`] about crashes.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.for_each(|sensor, reading| println!("{sensor} {reading}"));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn for_each(self, look: impl Fn(&K, &V) + Send + Sync + 'static) {
        let _end = self.peek(look);
    }
}

/// Calls a closure with each record and passes the record on.
struct Peek<F, K, V> {
    look: Arc<F>,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V> Process for Peek<F, K, V>
where
    F: Fn(&K, &V) + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        (self.look)(&record.key, &record.value);
        out.push(record, cx)
    }
}
