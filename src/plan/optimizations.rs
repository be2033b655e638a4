//! Rewrites that the user can enable.

/// Rewrites for [`StreamBuilder::build_with`](crate::dsl::StreamBuilder::build_with) that make a topology cheaper. They
/// change which internal topics and stores it has. None is on by default, because a running application already has
/// the topics and stores of the topology that it was started with.
///
/// ```
/// use marea::prelude::*;
///
/// let builder = StreamBuilder::new();
/// let by_length = builder
///     .stream::<String, String>("words")
///     .select_key(|_, word| word.len() as i64);
/// by_length.clone().group_by_key("count-by").count("counts");
/// by_length.group_by_key("first-by").reduce(|word, first: String| word.min(first), "first");
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
    /// No optimization.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sends records through one repartition topic instead of several if one stream with a changed key is grouped,
    /// joined or made a table several times. The topic has the name of the first one in the program;
    /// [`Stream::repartition`](crate::dsl::Stream::repartition) always keeps its own topic. Kafka Streams'
    /// `merge.repartition.topics`.
    ///
    /// To turn this on or off for an existing application, stop its input and let it read its repartition topics to
    /// their end first. Otherwise it does not start, because it would lose or repeat records.
    #[must_use]
    pub fn merge_repartitions(mut self) -> Self {
        self.merge_repartitions = true;
        self
    }

    /// Keeps an inner join of a stream with itself in one store, `<name>-this-join-store`, instead of two with the
    /// same rows. The results and their order stay the same, with one exception: a record that is older than what the
    /// store shows does not meet itself. Kafka Streams' `single.store.self.join`.
    ///
    /// To turn it on for an existing application, name the store that it does not use any more,
    /// `<name>-other-join-store`, in [`Settings::accept_orphans`](crate::runtime::Settings::accept_orphans): without that
    /// the start is refused. Nothing is lost, since the other store has the same rows. After it is turned off again,
    /// one of the two stores lacks the records of the time in between, so results are missing until they are older than
    /// the window.
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
