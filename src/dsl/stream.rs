//! Streams of records, and what can be done to each record alone.

use std::marker::PhantomData;
use std::sync::Arc;

use super::builder::SharedGraph;
use super::repartition::repartition_node;
use super::{Grouped, GroupedStream, Produced, Repartitioned, Split};
use crate::base::Record;
use crate::codec::OwnCodec;
use crate::operator::{Filter, FlatMap, Map, NullKeys, Pass, Peek, Sink};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::task::Process;

/// A stream of records: each says that something happened.
///
/// Methods take the handle; clone it to use the stream twice, in the order in which the copies are
/// used.
#[must_use = "a stream does nothing until it ends in `to`, `for_each` or a table"]
pub struct Stream<K, V> {
    pub(super) graph: SharedGraph,
    pub(super) id: LogicalId,
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
    pub(super) fn new(graph: SharedGraph, id: LogicalId) -> Self {
        Self {
            graph,
            id,
            types: PhantomData,
        }
    }

    /// Puts a process behind this stream; `shared` is built into a process for each task.
    pub(super) fn then<P, S>(
        self,
        operator: &'static str,
        changes_key: bool,
        shared: S,
        process: fn(&S) -> P,
    ) -> Stream<P::KeyOut, P::ValueOut>
    where
        P: Process<KeyIn = K, ValueIn = V>,
        S: Send + Sync + 'static,
    {
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![self.id]);
        node.changes_key = changes_key;
        node.make = Some(Arc::new(move |wiring, id| {
            wiring.add_process(id, process(&shared))
        }));
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph, id)
    }

    /// Names the operator that made this stream, for descriptions. Names are never needed here: an
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

    /// Passes the records for which `accepts` holds.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.filter(|_sensor, metres| *metres > 200).to("deep");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter(self, accepts: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.then("filter", false, Arc::new(accepts), |accepts| {
            let accepts = accepts.clone();
            Filter::new(move |key: &K, value: &V| accepts(key, value))
        })
    }

    /// Passes the records for which `rejects` does not hold.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.filter_not(|_sensor, metres| *metres < 0).to("valid");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter_not(self, rejects: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.then("filter_not", false, Arc::new(rejects), |rejects| {
            let rejects = rejects.clone();
            Filter::new(move |key: &K, value: &V| !rejects(key, value))
        })
    }

    /// Makes another key and value of each record. The key counts as changed: what groups or joins
    /// behind this goes through a repartition topic.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.map(|sensor, metres| (metres, sensor)).to("by-depth");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map<L: 'static, W: 'static>(
        self,
        map: impl Fn(K, V) -> (L, W) + Send + Sync + 'static,
    ) -> Stream<L, W> {
        self.then("map", true, Arc::new(map), |map| {
            let map = map.clone();
            Map::new(move |key: K, value: V| map(key, value))
        })
    }

    /// Makes another value of each record; the key stays, and so does its partition.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths.map_values(|_sensor, metres| metres * 1000).to("millimetres");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map_values<W: 'static>(
        self,
        map: impl Fn(&K, V) -> W + Send + Sync + 'static,
    ) -> Stream<K, W> {
        self.then("map_values", false, Arc::new(map), |map| {
            let map = map.clone();
            Map::new(move |key: K, value: V| {
                let value = map(&key, value);
                (key, value)
            })
        })
    }

    /// Makes any number of keys and values of each record. The key counts as changed.
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
        self.then("flat_map", true, Arc::new(map), |map| {
            let map = map.clone();
            FlatMap::new(move |key: K, value: V| map(key, value))
        })
    }

    /// Makes any number of values of each record, all under its key.
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
        self.then("flat_map_values", false, Arc::new(map), |map| {
            let map = map.clone();
            FlatMap::new(move |key: K, value: V| {
                let values = map(&key, value);
                values.into_iter().map(move |value| (key.clone(), value))
            })
        })
    }

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
        self.then("select_key", true, Arc::new(select), |select| {
            let select = select.clone();
            Map::new(move |key: K, value: V| (select(&key, &value), value))
        })
    }

    /// Looks at each record and passes it on. What the closure does outside is not part of the
    /// commit: after a crash it may see a record again.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.peek(|sensor, _| println!("{sensor}")).to("seen");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn peek(self, look: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.then("peek", false, Arc::new(look), |look| {
            let look = look.clone();
            Peek::new(move |key: &K, value: &V| look(key, value))
        })
    }

    /// Looks at each record and ends the stream. See [`Stream::peek`] about crashes.
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

    /// Puts the records of two streams together, in no order between them.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let atlantic = builder.stream::<String, String>("atlantic");
    /// # let pacific = builder.stream::<String, String>("pacific");
    /// atlantic.merge(pacific).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn merge(self, other: Self) -> Self {
        let parents = vec![self.id, other.id];
        let mut node = LogicalNode::new("merge", LogicalKind::Operator, parents);
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, Pass::<K, V>::default())
        }));
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph, id)
    }

    /// Cuts the stream into branches: each record goes to the first whose predicate holds.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// let mut split = depths.split();
    /// let deep = split.branch(|_, metres| *metres > 200);
    /// let shallow = split.default_branch();
    /// deep.to("deep");
    /// shallow.to("shallow");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn split(self) -> Split<K, V> {
        Split::new(self)
    }

    /// Writes the records to a topic, which must exist when the application starts.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// builder.stream::<String, String>("in").to("out");
    /// assert_eq!(builder.build()?.sink_topics(), ["out"]);
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn to(self, topic: impl Into<String>)
    where
        K: OwnCodec,
        V: OwnCodec,
    {
        self.to_with(topic, Produced::own());
    }

    /// As [`Stream::to`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::{I64, Utf8};
    /// # let builder = StreamBuilder::new();
    /// builder.stream::<String, i64>("in").to_with("out", Produced::with(Utf8, I64));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_with(self, topic: impl Into<String>, produced: Produced<K, V>) {
        let topic = topic.into();
        let kind = LogicalKind::Sink {
            topic: topic.clone(),
        };
        let mut node = LogicalNode::new("sink", kind, vec![self.id]);
        let topic = crate::task::TopicName::External(topic);
        node.make = Some(Arc::new(move |wiring, id| {
            let output = wiring.output(&topic)?;
            let (key, value) = (produced.key.clone(), produced.value.clone());
            let sink = Sink::new(key, value, output, NullKeys::Keep, None);
            wiring.provide::<K, V>(id, std::rc::Rc::new(sink));
            Ok(())
        }));
        self.graph.borrow_mut().add(node);
    }

    /// Sends the records through a topic of the application's own, so that each comes to the task of
    /// its key. Records with a null key are dropped, under a reason of their own.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .repartition(Repartitioned::named("spread").partitions(8))
    ///     .to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn repartition(self, repartitioned: impl Into<Repartitioned<K, V>>) -> Self {
        let Repartitioned {
            name,
            key,
            value,
            partitions,
        } = repartitioned.into();
        let node = repartition_node(
            self.id,
            name,
            (key, value),
            NullKeys::Drop,
            true,
            partitions,
        );
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph, id)
    }

    /// Groups by the key that the records have.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .count("readings-per-sensor")
    ///     .to_stream()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by_key(self, grouped: impl Into<Grouped<K, V>>) -> GroupedStream<K, V> {
        let Grouped { name, key, value } = grouped.into();
        let codecs = (key.clone(), value.clone());
        let node = repartition_node(self.id, name, codecs, NullKeys::Drop, false, None);
        let id = self.graph.borrow_mut().add(node);
        GroupedStream::new(self.graph, id, key, value)
    }

    /// Groups by another key: [`Stream::select_key`], then [`Stream::group_by_key`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by(|_sensor, reading| reading.len() as i64, "by-length")
    ///     .count("lengths")
    ///     .to_stream()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by<L: 'static>(
        self,
        select: impl Fn(&K, &V) -> L + Send + Sync + 'static,
        grouped: impl Into<Grouped<L, V>>,
    ) -> GroupedStream<L, V> {
        self.select_key(select).group_by_key(grouped)
    }
}

impl<K: 'static, V: 'static> Stream<K, Option<V>> {
    /// Passes the values that are there: of a table's changes, the rows but not the deletions.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .count("readings-per-sensor")
    ///     .to_stream()
    ///     .present()
    ///     .to("counts");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn present(self) -> Stream<K, V> {
        self.then("present", false, (), |()| {
            FlatMap::new(|key: K, value: Option<V>| value.map(|value| (key, value)))
        })
    }
}
