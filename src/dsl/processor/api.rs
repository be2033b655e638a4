//! What users implement: a processor, and its options.

use super::context::ProcessorContext;
use crate::base::{Record, Result};

/// A user-defined step of a topology. One is created for each task, and stays on the task's thread.
///
/// Fields do not survive an abort or a restart; stores and timers do. An error or a panic follows the
/// policy for processing ([`ErrorPolicies`](crate::task::ErrorPolicies)): if the record is skipped or sent
/// to the dead letters, what it did to stores, timers and children is undone, but what it did to fields
/// is not.
///
/// ```
/// use std::time::Duration;
/// use marea::codec::{I64, Utf8};
/// use marea::prelude::*;
/// use marea::dsl::{Clock, Consumed, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
///     StreamBuilder};
///
/// /// Counts, and sends all counts every minute.
/// #[derive(Default)]
/// struct Totals;
///
/// impl Processor for Totals {
///     type KeyIn = String;
///     type ValueIn = String;
///     type KeyOut = String;
///     type ValueOut = i64;
///
///     fn init(&mut self, context: &mut ProcessorContext<'_, String, i64>) -> marea::Result<()> {
///         context.schedule("minute", Duration::from_secs(60), Clock::Stream)
///     }
///
///     fn process(
///         &mut self,
///         record: Record<String, String>,
///         context: &mut ProcessorContext<'_, String, i64>,
///     ) -> marea::Result<()> {
///         let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
///         let count = counts.get(&record.key)?.unwrap_or(0) + 1;
///         counts.put(&record.key, &count)
///     }
///
///     fn punctuate(
///         &mut self,
///         _timer: &str,
///         time_ms: i64,
///         context: &mut ProcessorContext<'_, String, i64>,
///     ) -> marea::Result<()> {
///         let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
///         for row in counts.all()? {
///             let (key, count) = row?;
///             context.forward(Record::new(key, count, time_ms))?;
///         }
///         Ok(())
///     }
/// }
///
/// let builder = StreamBuilder::new();
/// builder.add_store(Stores::key_value("counts", Utf8, I64));
/// builder
///     .stream::<String, String>("lines")
///     .process(Totals::default, Processed::named("totals").stores(["counts"]))
///     .to("out");
///
/// let mut driver = Driver::new(builder.build()?)?;
/// let lines = driver.input_topic::<String, String>("lines");
/// lines.pipe(&mut driver, Record::new("buoy-7".to_owned(), "calm".to_owned(), 1_000))?;
/// lines.pipe(&mut driver, Record::new("buoy-7".to_owned(), "swell".to_owned(), 61_000))?;
/// let out = driver.output_topic::<String, i64>("out");
/// let counts: Vec<i64> = out.read(&mut driver)?.into_iter().map(|record| record.value).collect();
/// assert_eq!(counts, [1, 2], "with the first record, and when a minute of stream time had passed");
/// # Ok::<(), marea::Error>(())
/// ```
pub trait Processor: 'static {
    /// Type of the incoming key.
    type KeyIn: 'static;
    /// Type of the incoming value.
    type ValueIn: 'static;
    /// Type of the outgoing key.
    type KeyOut: 'static;
    /// Type of the outgoing value.
    type ValueOut: 'static;

    /// Called before the first record, and again after an abort: the place to set timers. Nothing can be
    /// forwarded yet.
    ///
    /// # Errors
    /// Any error that keeps it from starting; the application fails.
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, Self::KeyOut, Self::ValueOut>,
    ) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Handles a record and forwards any number of records.
    ///
    /// # Errors
    /// Any error in handling the record; the policy for processing decides what happens to it.
    fn process(
        &mut self,
        record: Record<Self::KeyIn, Self::ValueIn>,
        context: &mut ProcessorContext<'_, Self::KeyOut, Self::ValueOut>,
    ) -> Result<()>;

    /// Handles a timer that is due: `time_ms` is the current stream time or wall clock, which may be
    /// later than the time for which the timer was set. If several intervals have passed, it fires once.
    ///
    /// # Errors
    /// As [`Processor::process`]. A timer that was skipped fires again at its next time.
    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut ProcessorContext<'_, Self::KeyOut, Self::ValueOut>,
    ) -> Result<()> {
        let _ = (timer, time_ms, context);
        Ok(())
    }

    /// Called when its task is closed or aborts. Nothing can be written or forwarded any more.
    fn close(&mut self) {}
}

/// The name of a processor, and the stores that it uses. Can be converted from a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    pub(super) name: String,
    pub(super) stores: Vec<String>,
    pub(super) timers: bool,
}

impl Processed {
    /// The name identifies the processor among all operators; its timers are stored under it.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stores: Vec::new(),
            timers: true,
        }
    }

    /// Connects stores by name. Processors that share a store belong to the same sub-topology.
    #[must_use]
    pub fn stores<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.stores.extend(names.into_iter().map(Into::into));
        self
    }

    /// Declares that it sets no timers, so that they need no topic: a task with timers or a store has a
    /// topic in which times are stored.
    #[must_use]
    pub fn without_timers(mut self) -> Self {
        self.timers = false;
        self
    }
}

impl From<&str> for Processed {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<String> for Processed {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}
