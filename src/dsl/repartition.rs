//! The logical node of a repartition: makers of both halves, including their codecs.

use std::rc::Rc;
use std::sync::Arc;

use super::builder::SharedGraph;
use super::sink::{NullKeys, Partitioner, Sink};
use super::source::StreamSource;
use crate::codec::SharedCodec;
use crate::plan::{LogicalId, LogicalKind, LogicalNode, MakeSink, Repartition};
use crate::task::{Make, TopicName};

/// Inserts a repartition behind `parent`, which the plan removes if the key has not changed.
pub(super) fn repartition<K: 'static, V: 'static>(
    graph: &SharedGraph,
    parent: LogicalId,
    name: String,
    codecs: (SharedCodec<K>, SharedCodec<V>),
    null_keys: NullKeys,
) -> LogicalId {
    let node = repartition_node(parent, name, codecs, null_keys, false, None);
    graph.borrow_mut().add(node)
}

/// The node of a repartition without user-defined partitioning.
pub(super) fn repartition_node<K: 'static, V: 'static>(
    parent: LogicalId,
    name: String,
    codecs: (SharedCodec<K>, SharedCodec<V>),
    null_keys: NullKeys,
    forced: bool,
    partitions: Option<u32>,
) -> LogicalNode {
    partitioned_node(parent, name, codecs, null_keys, forced, partitions, None)
}

pub(super) fn partitioned_node<K: 'static, V: 'static>(
    parent: LogicalId,
    name: String,
    (key, value): (SharedCodec<K>, SharedCodec<V>),
    null_keys: NullKeys,
    forced: bool,
    partitions: Option<u32>,
    partitioner: Option<Partitioner<K, V>>,
) -> LogicalNode {
    let codecs = (key.name(), value.name());
    let (sink_key, sink_value) = (key.clone(), value.clone());
    let make_sink: MakeSink = Arc::new(move |repartition| {
        let topic = TopicName::Repartition(repartition.name.clone());
        let null_keys = match repartition.keeps_null_keys {
            true => NullKeys::Keep,
            false => NullKeys::Drop,
        };
        let (key, value) = (sink_key.clone(), sink_value.clone());
        let partitioner = partitioner.clone();
        Arc::new(move |wiring, id| {
            let output = wiring.output(&topic)?;
            let time = wiring.sink_time(id, output);
            let sink = Sink::new(key.clone(), value.clone(), output, null_keys, time);
            let sink = sink.partitioned_by(partitioner.clone());
            wiring.provide::<K, V>(id, Rc::new(sink));
            Ok(())
        })
    });
    let make_source: Make = Arc::new(move |wiring, id| {
        let out = wiring.edges::<K, V>(id)?;
        wiring.add_source(
            id,
            Rc::new(StreamSource::new(key.clone(), value.clone(), out)),
        );
        Ok(())
    });
    let repartition = Repartition {
        name,
        partitions,
        forced,
        codecs,
        keeps_null_keys: null_keys == NullKeys::Keep,
        make_sink,
        make_source,
    };
    LogicalNode::new(
        "repartition",
        LogicalKind::Repartition(repartition),
        vec![parent],
    )
}
