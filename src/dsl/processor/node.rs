//! A processor as a node of the graph.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::api::Processor;
use super::context::Parts;
use crate::base::{Record, Result};
use crate::task::{Context, Edges, ExpiredPuts, NodeId, Process, Tick, Wiring};

/// Runs a processor.
pub(super) struct ProcessorNode<P: Processor> {
    processor: RefCell<P>,
    parts: Parts<P::KeyOut, P::ValueOut>,
}

impl<P: Processor> ProcessorNode<P> {
    /// Wires a processor to its children and its stores.
    pub(super) fn wire(
        wiring: &mut Wiring<'_>,
        id: NodeId,
        processor: P,
        stores: &[String],
    ) -> Result<()> {
        let expired = ExpiredPuts::default();
        let open = |name: &String| Ok((name.clone(), wiring.typed_store(name, &expired)?));
        let parts = Parts {
            id,
            outlets: wiring.outlets(id)?,
            stores: stores.iter().map(open).collect::<Result<_>>()?,
            expired,
        };
        let processor = RefCell::new(processor);
        wiring.add_choosing_process(id, Self { processor, parts });
        Ok(())
    }
}

/// Its children are in its parts: the node has no edges.
type NoEdges<P> = Edges<<P as Processor>::KeyOut, <P as Processor>::ValueOut>;

impl<P: Processor> Process for ProcessorNode<P> {
    type KeyIn = P::KeyIn;
    type ValueIn = P::ValueIn;
    type KeyOut = P::KeyOut;
    type ValueOut = P::ValueOut;

    fn process(
        &self,
        record: Record<P::KeyIn, P::ValueIn>,
        _out: &NoEdges<P>,
        cx: &mut Context,
    ) -> Result<()> {
        let mut context = self.parts.context(cx, true);
        let done = self.processor.borrow_mut().process(record, &mut context);
        self.parts.count_expired(cx);
        done
    }

    fn tick(&self, tick: Tick, _out: &NoEdges<P>, cx: &mut Context) -> Result<()> {
        self.parts.outlets.tick(tick, cx)
    }

    fn init(&self, _out: &NoEdges<P>, cx: &mut Context) -> Result<()> {
        let mut context = self.parts.context(cx, false);
        self.processor.borrow_mut().init(&mut context)
    }

    fn punctuate(
        &self,
        timer: &str,
        time_ms: i64,
        _out: &NoEdges<P>,
        cx: &mut Context,
    ) -> Result<()> {
        let mut context = self.parts.context(cx, true);
        let mut processor = self.processor.borrow_mut();
        let done = processor.punctuate(timer, time_ms, &mut context);
        self.parts.count_expired(cx);
        done
    }
}

impl<P: Processor> Drop for ProcessorNode<P> {
    fn drop(&mut self) {
        let processor = self.processor.get_mut();
        // It may be dropped because of a panic: a second panic would abort the process.
        if catch_unwind(AssertUnwindSafe(|| processor.close())).is_err() {
            tracing::warn!("a processor panicked while it was closed");
        }
    }
}
