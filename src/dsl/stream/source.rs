//! `stream`, `streams`: reads topics as a stream.

use super::Stream;
use crate::codec::OwnCodec;
use crate::dsl::source::add_source;
use crate::dsl::{Consumed, StreamBuilder};

impl StreamBuilder {
    /// Reads a topic as a stream: each record describes an event. Keys and values have the codecs of
    /// their types.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// builder.stream::<String, f64>("amounts").to("copies");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn stream<K: OwnCodec, V: OwnCodec>(&self, topic: impl Into<String>) -> Stream<K, V> {
        self.stream_with(topic, Consumed::own())
    }

    /// As [`StreamBuilder::stream`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// let readings = Consumed::with(Utf8, Utf8).accept(|reading| !reading.value.is_empty());
    /// builder.stream_with("readings", readings).to("valid");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn stream_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        self.streams_with([topic.into()], consumed)
    }

    /// Reads several topics as one stream; partition `i` of each goes to the same task.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// builder.streams::<String, String>(["atlantic", "pacific"]).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn streams<K: OwnCodec, V: OwnCodec>(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Stream<K, V> {
        self.streams_with(topics, Consumed::own())
    }

    /// As [`StreamBuilder::streams`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// builder.streams_with(["atlantic", "pacific"], Consumed::with(Utf8, Utf8)).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn streams_with<K: 'static, V: 'static>(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        let topics = topics.into_iter().map(Into::into).collect();
        let id = add_source(&self.graph, "source", topics, consumed);
        Stream::new(self.graph.clone(), id)
    }
}
