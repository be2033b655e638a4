//! `to_dynamic`: writes each record to the topic that it names.

use std::rc::Rc;
use std::sync::Arc;

use super::Stream;
use crate::base::{Record, Result};
use crate::codec::OwnCodec;
use crate::dsl::operator::Operator;
use crate::dsl::sink::{Encoder, NullKeys};
use crate::dsl::{Produced, RecordMetadata};
use crate::plan::LogicalKind;
use crate::task::{Context, Push, Tick};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Writes each record to the topic that `topic` names, given key, value and the record's origin
    /// (`None` for results of a timer). The topics must exist when the application starts: any other name
    /// is an error of processing, and the policy decides what happens to its record. The application's
    /// own changelogs and repartition topics cannot be named.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// builder
    ///     .stream::<String, i64>("depths")
    ///     .to_dynamic(|_buoy, depth, _record| if *depth > 200 { "deep" } else { "shallow" });
    ///
    /// let mut driver = Driver::new(builder.build()?)?;
    /// let depths = driver.input_topic::<String, i64>("depths");
    /// depths.pipe(&mut driver, Record::new("buoy-7".to_owned(), 500, 0))?;
    /// assert_eq!(driver.output_topic::<String, i64>("deep").read(&mut driver)?.len(), 1);
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn to_dynamic<T: AsRef<str>>(
        self,
        topic: impl Fn(&K, &V, Option<RecordMetadata<'_>>) -> T + Send + Sync + 'static,
    ) where
        K: OwnCodec,
        V: OwnCodec,
    {
        self.to_dynamic_with(topic, Produced::own());
    }

    /// As [`Stream::to_dynamic`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::{I64, Utf8};
    /// # let builder = StreamBuilder::new();
    /// builder.stream::<String, i64>("in").to_dynamic_with(
    ///     |key, _, record| format!("{key}-{}", record.map_or(0, |record| record.partition)),
    ///     Produced::with(Utf8, I64),
    /// );
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_dynamic_with<T: AsRef<str>>(
        self,
        topic: impl Fn(&K, &V, Option<RecordMetadata<'_>>) -> T + Send + Sync + 'static,
        produced: Produced<K, V>,
    ) {
        let topic = Arc::new(topic);
        let operator = Operator::of_kind("dynamic_sink", LogicalKind::DynamicSink).of([self.id]);
        operator.make(&self.graph, move |wiring, id| {
            let (key, value) = (produced.key.clone(), produced.value.clone());
            let partitioner = produced.partitioner.clone();
            let sink = DynamicSink {
                topic: topic.clone(),
                encoder: Encoder::new(key, value, NullKeys::Keep, partitioner),
            };
            wiring.provide::<K, V>(id, Rc::new(sink));
            Ok(())
        });
    }
}

/// Writes each record to the topic that a function returns.
struct DynamicSink<F, K, V> {
    topic: Arc<F>,
    encoder: Encoder<K, V>,
}

impl<F, T, K: 'static, V: 'static> Push<K, V> for DynamicSink<F, K, V>
where
    F: Fn(&K, &V, Option<RecordMetadata<'_>>) -> T,
    T: AsRef<str>,
{
    fn push(&self, record: Record<K, V>, cx: &mut Context) -> Result<()> {
        let topic = (self.topic)(&record.key, &record.value, RecordMetadata::of(cx));
        let output = cx.effects().named(topic.as_ref())?;
        self.encoder.write(record, output, None, cx)
    }

    fn tick(&self, _tick: Tick, _cx: &mut Context) -> Result<()> {
        Ok(())
    }
}
