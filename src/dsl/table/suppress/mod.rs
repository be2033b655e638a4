//! `suppress`: holds back the rows of a table, and sends only their last state.

mod until_time_limit;
mod until_window_closes;

use std::time::Duration;

pub use until_time_limit::UntilTimeLimit;
pub(in crate::dsl) use until_window_closes::HoldSpec;
pub use until_window_closes::UntilWindowCloses;

use super::Table;
use crate::base::Error;
use crate::codec::{Codec, OwnCodec, shared};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Holds back rows, as [`Suppressed`] says: until their window closes, or for a time.
    ///
    /// Rows of windows that were deleted in the meantime are never sent. Time advances with the records;
    /// at the end of a bounded input, draining the application closes open windows.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count("per-minute")
    ///     .suppress(Suppressed::until_window_closes("final"))
    ///     .to_stream()
    ///     .to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn suppress(self, suppression: impl Suppression<K, V>) -> Self {
        if self.history_ms().is_some() {
            let message = "a versioned table is suppressed, which would hold back its history too; put `materialized` \
                           before `suppress`, or leave `versioned` out";
            self.graph.borrow_mut().report(Error::invalid(message));
        }
        suppression.suppress(self)
    }
}

/// How rows are held back. Implemented by the values that [`Suppressed`] makes.
#[diagnostic::on_unimplemented(
    message = "the rows of this table cannot be held back like this",
    note = "`Suppressed::until_window_closes` needs a table in windows: `windowed_by` before the aggregate"
)]
pub trait Suppression<K, V>: Sized {
    /// The table that sends the rows later.
    fn suppress(self, table: Table<K, V>) -> Table<K, V>;
}

/// When the rows of a table are sent.
///
/// ```
/// # use std::time::Duration;
/// # use marea::prelude::*;
/// # let builder = StreamBuilder::new();
/// # let readings = builder.stream::<String, String>("readings");
/// readings
///     .group_by_key("by-sensor")
///     .count("counts")
///     .suppress(Suppressed::until_time_limit("calm", Duration::from_secs(10)))
///     .to_stream()
///     .to("counts-out");
/// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Suppressed;

impl Suppressed {
    /// Holds each row until its window closes, in a store called `<name>-store`, with the row type's own
    /// codec.
    pub fn until_window_closes<V: OwnCodec>(name: impl Into<String>) -> UntilWindowCloses<V> {
        Self::until_window_closes_with(name, V::codec())
    }

    /// As [`Suppressed::until_window_closes`], with this codec of the rows.
    pub fn until_window_closes_with<V: 'static>(
        name: impl Into<String>,
        row: impl Codec<V>,
    ) -> UntilWindowCloses<V> {
        UntilWindowCloses {
            name: name.into(),
            row: shared(row),
        }
    }

    /// Holds each row until time has passed the update that started the wait by `limit`; an update of a
    /// held row does not extend the wait. Held rows are in the stores `<name>-store` and
    /// `<name>-early-store`.
    pub fn until_time_limit<V: OwnCodec>(
        name: impl Into<String>,
        limit: Duration,
    ) -> UntilTimeLimit<V> {
        Self::until_time_limit_with(name, limit, V::codec())
    }

    /// As [`Suppressed::until_time_limit`], with this codec of the rows.
    pub fn until_time_limit_with<V: 'static>(
        name: impl Into<String>,
        limit: Duration,
        row: impl Codec<V>,
    ) -> UntilTimeLimit<V> {
        UntilTimeLimit {
            name: name.into(),
            row: shared(row),
            limit,
            max_rows: None,
        }
    }
}
