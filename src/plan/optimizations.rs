//! What the plan may change beyond what it must.

/// Rewrites of a topology that make it cheaper and change which internal topics and stores it has, for
/// [`StreamBuilder::build_with`](crate::dsl::StreamBuilder::build_with). None is on by default, since an application that
/// runs already has the topics and stores of the topology that it was started with.
///
/// ```
/// use marea::prelude::*;
///
/// let builder = StreamBuilder::new();
/// let by_length = builder
///     .stream::<String, String>("words")
///     .select_key(|_, word| word.len() as i64);
/// by_length.clone().group_by_key("count-by").count("counts");
/// by_length.group_by_key("longest-by").reduce(|_, word| word, "longest");
/// let topology = builder.build_with(Optimizations::none().merge_repartitions())?;
/// assert_eq!(topology.repartitions().len(), 1, "one topic for both");
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimizations {
    merge_repartitions: bool,
    single_store_self_joins: bool,
}

impl Optimizations {
    /// None of them.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sends records that are repartitioned several times by one key through one topic: what is grouped, joined or
    /// made a table behind one operator that changes the key. The first one that is written gives the topic its
    /// name; [`Stream::repartition`](crate::dsl::Stream::repartition) keeps a topic of its own. Kafka Streams'
    /// `merge.repartition.topics`.
    ///
    /// Before this is turned on or off for an application that runs, its repartition topics must have been read to
    /// their end: what is left in one that is no longer there is not read.
    #[must_use]
    pub fn merge_repartitions(mut self) -> Self {
        self.merge_repartitions = true;
        self
    }

    /// Keeps an inner join of a stream with itself in one store, `<name>-this-join-store`, instead of two with the same
    /// rows. The results are the same, and come in the same order, but for a record that is so late that the store
    /// no longer shows it: it does not meet itself. Kafka Streams' `single.store.self.join`.
    ///
    /// It may be turned on for an application that runs, as long as no repartition topic stands before the join.
    /// Turning it off again loses the partners that one of the two stores has not seen.
    #[must_use]
    pub fn single_store_self_joins(mut self) -> Self {
        self.single_store_self_joins = true;
        self
    }

    pub(super) fn merges_repartitions(self) -> bool {
        self.merge_repartitions
    }

    pub(super) fn keeps_self_joins_in_one_store(self) -> bool {
        self.single_store_self_joins
    }
}
