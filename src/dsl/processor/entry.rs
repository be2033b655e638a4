//! How processors and their stores are added to a topology.

use std::rc::Rc;
use std::sync::Arc;

use super::fixed_key::FixedKey;
use super::node::ProcessorNode;
use super::{FixedKeyProcessor, Processed, Processor};
use crate::base::Error;
use crate::dsl::pass::Pass;
use crate::dsl::source::StreamSource;
use crate::dsl::{Consumed, StoreDeclaration, Stream, StreamBuilder, TypedStore};
use crate::plan::{LogicalKind, LogicalNode};
use crate::task::Calls;

impl StreamBuilder {
    /// Adds a store that processors use by name; see [`Stores`](crate::dsl::Stores).
    pub fn add_store<S: TypedStore>(&self, store: StoreDeclaration<S>) {
        let (spec, open) = store.into_parts();
        self.graph.borrow_mut().add_store(spec, open);
    }

    /// Adds a store that every instance fills from all partitions of a topic, and that all processors may
    /// read by name: the processor created by `make` receives each record, in the order of its partition,
    /// and writes it to the store; no other processor may write to it. Everything in the topic at start
    /// is there before anything else is processed; later records become visible as soon as they arrive.
    /// So reads are not ordered by time, and a record that is processed again may find another row.
    ///
    /// The rows are in memory, twice, in each instance, and are read from the topic again at each start:
    /// keep the topic small by compaction. They do not count in
    /// [`Settings::memory_bytes`](crate::runtime::Settings::memory_bytes).
    pub fn add_global_store<S: TypedStore, P: Processor>(
        &self,
        store: StoreDeclaration<S>,
        topic: impl Into<String>,
        consumed: Consumed<P::KeyIn, P::ValueIn>,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) {
        let Consumed {
            key, value, gate, ..
        } = consumed;
        let topics = vec![topic.into()];
        let kind = LogicalKind::GlobalSource { topics };
        let mut node = LogicalNode::new("global_source", kind, Vec::new());
        node.make = Some(Arc::new(move |wiring, id| {
            let out = wiring.edges::<P::KeyIn, P::ValueIn>(id)?;
            let source = StreamSource::with_gate(key.clone(), value.clone(), gate.clone(), out);
            wiring.add_source(id, Rc::new(source));
            Ok(())
        }));
        let id = self.graph.borrow_mut().add(node);
        let (spec, open) = store.into_parts();
        let processed =
            Processed::named(format!("{}-filler", spec.name)).stores([spec.name.clone()]);
        self.graph.borrow_mut().add_store(spec, open);
        let source = Stream::new(self.graph.clone(), id);
        let _filled = self.add_processor::<P>([source], make, processed.without_timers());
    }

    /// Adds a processor behind several streams at once; with one stream it is [`Stream::process`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// struct Pass;
    /// impl Processor for Pass {
    ///     type KeyIn = String;
    ///     type ValueIn = String;
    ///     type KeyOut = String;
    ///     type ValueOut = String;
    ///     fn process(
    ///         &mut self,
    ///         record: Record<String, String>,
    ///         context: &mut ProcessorContext<'_, String, String>,
    ///     ) -> marea::Result<()> {
    ///         context.forward(record)
    ///     }
    /// }
    ///
    /// let builder = StreamBuilder::new();
    /// let atlantic = builder.stream::<String, String>("atlantic");
    /// let pacific = builder.stream::<String, String>("pacific");
    /// builder
    ///     .add_processor([atlantic, pacific], || Pass, "pass")
    ///     .to("oceans");
    /// # builder.build().map(|_| ())
    /// # .map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn add_processor<P: Processor>(
        &self,
        parents: impl IntoIterator<Item = Stream<P::KeyIn, P::ValueIn>>,
        make: impl Fn() -> P + Send + Sync + 'static,
        processed: impl Into<Processed>,
    ) -> Stream<P::KeyOut, P::ValueOut> {
        let processed = processed.into();
        let parents: Vec<_> = parents.into_iter().map(|parent| parent.id).collect();
        if parents.is_empty() {
            let name = &processed.name;
            let message =
                format!("processor {name:?} has no parent; connect it to at least one stream");
            self.graph.borrow_mut().report(Error::invalid(message));
        }
        let mut node = LogicalNode::new("process", LogicalKind::Operator, parents);
        node.changes_key = true;
        node.uses_stores.clone_from(&processed.stores);
        node.calls = Calls {
            begins: true,
            timers: processed.timers,
            flushes: false,
        };
        node.name = Some(processed.name);
        let stores = processed.stores;
        node.make = Some(Arc::new(move |wiring, id| {
            ProcessorNode::wire(wiring, id, make(), &stores)
        }));
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph.clone(), id)
    }
}

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Adds a processor behind this stream; `make` is called for each task. It may change the key, so
    /// groupings and joins behind it go through a repartition topic.
    pub fn process<P: Processor<KeyIn = K, ValueIn = V>>(
        self,
        make: impl Fn() -> P + Send + Sync + 'static,
        processed: impl Into<Processed>,
    ) -> Stream<P::KeyOut, P::ValueOut> {
        let builder = StreamBuilder {
            graph: self.graph.clone(),
        };
        builder.add_processor([self], make, processed)
    }

    /// Adds a processor behind this stream that keeps the key, so that operators behind it need no
    /// repartition.
    pub fn process_values<P: FixedKeyProcessor<Key = K, ValueIn = V>>(
        self,
        make: impl Fn() -> P + Send + Sync + 'static,
        processed: impl Into<Processed>,
    ) -> Stream<K, P::ValueOut> {
        let graph = self.graph.clone();
        let stream = self.process(move || FixedKey(make()), processed);
        let mut graph = graph.borrow_mut();
        let node = graph.node_mut(stream.id);
        (node.operator, node.changes_key) = ("process_values", false);
        stream
    }

    /// A child with a name, for a processor that forwards to it with
    /// [`forward_to`](super::ProcessorContext::forward_to): operators on the returned stream receive what
    /// is sent to that name, or to all children.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// struct ByDepth;
    /// impl Processor for ByDepth {
    ///     type KeyIn = String;
    ///     type ValueIn = i64;
    ///     type KeyOut = String;
    ///     type ValueOut = i64;
    ///     fn process(
    ///         &mut self,
    ///         record: Record<String, i64>,
    ///         context: &mut ProcessorContext<'_, String, i64>,
    ///     ) -> marea::Result<()> {
    ///         let child = if record.value > 200 { "deep" } else { "shallow" };
    ///         context.forward_to(child, record)
    ///     }
    /// }
    ///
    /// let builder = StreamBuilder::new();
    /// let sorted = builder.stream::<String, i64>("depths").process(|| ByDepth, "by-depth");
    /// sorted.child("deep").to("deep");
    /// sorted.child("shallow").to("shallow");
    /// # builder.build().map(|_| ())
    /// # .map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn child(&self, name: impl Into<String>) -> Self {
        let mut node = LogicalNode::new("child", LogicalKind::Operator, vec![self.id]);
        node.name = Some(name.into());
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, Pass::<K, V>::default())
        }));
        let id = self.graph.borrow_mut().add(node);
        Self::new(self.graph.clone(), id)
    }
}
