//! Streams of records, and operators on single records: one operator per file.

mod filter;
mod filter_map_values;
mod flat_map;
mod flat_map_values;
mod map;
mod map_values;
mod merge;
mod peek;
mod present;
mod repartition;
mod select_key;
mod source;
mod split;
mod to;
mod to_dynamic;

use std::marker::PhantomData;
use std::sync::Arc;

pub use split::Split;

use super::builder::SharedGraph;
use super::operator::Operator;
use crate::base::Record;
use crate::plan::LogicalId;
use crate::task::Process;

/// A stream of records: each describes an event.
///
/// Methods consume the handle; clone it to use the stream twice. Records go to the copies in the order in
/// which they are used.
#[must_use = "a stream does nothing until it ends in `to`, `for_each` or a table"]
pub struct Stream<K, V> {
    pub(in crate::dsl) graph: SharedGraph,
    pub(in crate::dsl) id: LogicalId,
    types: PhantomData<fn(K, V)>,
}

impl<K: Clone + 'static, V: Clone + 'static> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        let copy: fn(&Record<K, V>) -> Record<K, V> = Record::clone;
        self.graph.borrow_mut().node_mut(self.id).copier = Some(Arc::new(copy));
        Self::new(self.graph.clone(), self.id)
    }
}

impl<K: 'static, V: 'static> Stream<K, V> {
    pub(in crate::dsl) fn new(graph: SharedGraph, id: LogicalId) -> Self {
        Self {
            graph,
            id,
            types: PhantomData,
        }
    }

    /// Adds an operator behind this stream; `build` makes its process, once for each task.
    pub(in crate::dsl) fn then<P>(
        self,
        operator: Operator,
        build: impl Fn() -> P + Send + Sync + 'static,
    ) -> Stream<P::KeyOut, P::ValueOut>
    where
        P: Process<KeyIn = K, ValueIn = V>,
    {
        let id = operator
            .of([self.id])
            .add(&self.graph, move |_, _| Ok(build()));
        Stream::new(self.graph, id)
    }

    /// Names the operator that made this stream, for descriptions. Names are never required here: an
    /// operator that keeps state takes its name as an argument.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.filter(|_, reading| reading != "").named("present").to("out");
    /// assert!(builder.build()?.describe().contains("filter(present)"));
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn named(self, name: impl Into<String>) -> Self {
        self.graph.borrow_mut().node_mut(self.id).name = Some(name.into());
        self
    }
}
