//! `to`: writes a topic.

use std::rc::Rc;

use super::Stream;
use crate::codec::OwnCodec;
use crate::dsl::Produced;
use crate::dsl::operator::Operator;
use crate::dsl::sink::{NullKeys, Sink};
use crate::plan::LogicalKind;
use crate::task::TopicName;

impl<K: 'static, V: 'static> Stream<K, V> {
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
        let name = TopicName::External(topic.clone());
        let operator = Operator::of_kind("sink", LogicalKind::Sink { topic }).of([self.id]);
        operator.make(&self.graph, move |wiring, id| {
            let output = wiring.output(&name)?;
            let (key, value) = (produced.key.clone(), produced.value.clone());
            let sink = Sink::new(key, value, output, NullKeys::Keep, None);
            let sink = sink.partitioned_by(produced.partitioner.clone());
            wiring.provide::<K, V>(id, Rc::new(sink));
            Ok(())
        });
    }
}
