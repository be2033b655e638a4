//! Counters of the application itself, which `/metrics` shows after marea's.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::exposition::{Exposition, Kind};
use crate::base::{Error, Result};

/// Names that begin like this are marea's.
const TAKEN: [&str; 2] = ["marea_", "process_"];

/// A counter of the application.
#[derive(Clone)]
pub(super) struct Counter {
    pub(super) name: String,
    help: String,
    read: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Counter {
    /// # Errors
    /// `Invalid` for a name that a scraper refuses or that may be one of marea's, and for an empty text.
    pub(super) fn new(
        name: String,
        help: String,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self> {
        let is_legal =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(is_legal)
            && !name.ends_with("_total")
            && !TAKEN.iter().any(|taken| name.starts_with(taken));
        if !is_name || help.is_empty() {
            return Err(Error::invalid(format!(
                "{name:?} cannot name a counter of an application; use a-z, 0-9 and '_', a prefix of your own \
                 and no `_total`, which is added, and say what it counts"
            )));
        }
        Ok(Self {
            name,
            help,
            read: Arc::new(read),
        })
    }

    /// Writes its family; without a value if the application's function panics.
    pub(super) fn write(&self, out: &mut Exposition) {
        let value = catch_unwind(AssertUnwindSafe(|| (self.read)()));
        let mut family = out.family(&self.name, Kind::Counter, &self.help);
        if let Ok(value) = value {
            family.sample(&[], value);
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_scraper_accepts_and_nobody_has() {
        let made = |name: &str, help: &str| Counter::new(name.to_owned(), help.to_owned(), || 0);
        assert!(made("shop_orders", "Orders.").is_ok());
        for name in [
            "",
            "Orders",
            "9_orders",
            "shop-orders",
            "shop_orders_total",
            "marea_commits",
        ] {
            assert!(made(name, "Orders.").is_err(), "{name}");
        }
        assert!(made("shop_orders", "").is_err());
    }
}
