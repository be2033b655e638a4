//! Nodes that no operator of the DSL makes, assembled by hand.

use std::rc::Rc;
use std::sync::Arc;

use marea::codec::{I64, SharedCodec, Utf8};
use marea::dsl::ends::{NullKeys, Sink, StreamSource};
use marea::plan::{Graph, LogicalId, LogicalKind, LogicalNode};
use marea::task::{Process, TopicName, Wiring};

pub fn codecs() -> (SharedCodec<String>, SharedCodec<i64>) {
    (Arc::new(Utf8), Arc::new(I64))
}

/// Reads texts and numbers.
pub fn source(graph: &mut Graph, topic: &str) -> LogicalId {
    let kind = LogicalKind::Source {
        topics: vec![topic.to_owned()],
        idle: Default::default(),
    };
    let mut node = LogicalNode::new("source", kind, Vec::new());
    node.make = Some(Arc::new(|wiring, id| {
        let out = wiring.edges::<String, i64>(id)?;
        let (key, value) = codecs();
        wiring.add_source(id, Rc::new(StreamSource::new(key, value, out)));
        Ok(())
    }));
    graph.add(node)
}

/// Writes texts and numbers.
pub fn sink(graph: &mut Graph, parent: LogicalId, topic: &str) -> LogicalId {
    let name = TopicName::External(topic.to_owned());
    let kind = LogicalKind::Sink {
        topic: topic.to_owned(),
    };
    let mut node = LogicalNode::new("to", kind, vec![parent]);
    node.make = Some(Arc::new(move |wiring, id| {
        let (key, value) = codecs();
        let output = wiring.output(&name)?;
        let sink = Sink::new(key, value, output, NullKeys::Keep, None);
        wiring.provide::<String, i64>(id, Rc::new(sink));
        Ok(())
    }));
    graph.add(node)
}

/// A node of a process that is wired for each task, not yet added.
pub fn node<P: Process>(
    operator: &'static str,
    parent: LogicalId,
    process: impl Fn(&mut Wiring<'_>) -> marea::Result<P> + Send + Sync + 'static,
) -> LogicalNode {
    let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
    node.make = Some(Arc::new(move |wiring, id| {
        let process = process(wiring)?;
        wiring.add_process(id, process)
    }));
    node
}
