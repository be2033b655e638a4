//! What an application can configure of its page.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::counter::Counter;
use super::feed::STREAMS;
use super::{Guard, ServedStores};
use crate::base::{Error, Result};

/// What [`router`](super::router) serves, and to whom.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Who has access.
    pub guard: Guard,
    /// The title of the page; the application's id if there is none.
    pub title: Option<String>,
    /// The application's own sections of the page, at its top, in this order.
    pub sections: Vec<Section>,
    /// The stores that can be queried.
    pub stores: Option<ServedStores>,
    /// How many pages can be open at a time: each has a stream of states, which occupies a connection. 64 unless set.
    pub event_streams: usize,
    pub(super) counters: Vec<Counter>,
}

impl AdminOptions {
    /// For those whom `guard` admits, without sections.
    pub fn new(guard: Guard) -> Self {
        Self {
            guard,
            title: None,
            sections: Vec::new(),
            stores: None,
            event_streams: STREAMS,
            counters: Vec::new(),
        }
    }

    /// Sets the title of the page.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets how many pages can be open at a time.
    #[must_use]
    pub fn event_streams(mut self, most: usize) -> Self {
        self.event_streams = most;
        self
    }

    /// Adds a section of the application.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Adds a counter of the application to `/metrics`: `name` without the suffix `_total`, what it counts, and a
    /// function that reads it. It is called for each scrape, and must return at once.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use marea::admin::{AdminOptions, Guard};
    ///
    /// let refused = Arc::new(AtomicU64::new(0));
    /// let read = Arc::clone(&refused);
    /// let options = AdminOptions::new(Guard::for_address(([127, 0, 0, 1], 8080).into(), None)?);
    /// let options = options.counter("shop_refused_orders", "Orders that were refused.", move || {
    ///     read.load(Ordering::Relaxed)
    /// })?;
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for a name that a scraper would refuse, one that begins with `marea_` or `process_`, or one that is
    /// there already.
    pub fn counter(
        mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self> {
        let counter = Counter::new(name.into(), help.into(), read)?;
        if self.counters.iter().any(|other| other.name == counter.name) {
            let name = &counter.name;
            return Err(Error::invalid(format!(
                "there are two counters {name:?}; give each its own name"
            )));
        }
        self.counters.push(counter);
        Ok(self)
    }

    /// Sets the stores that can be queried.
    #[must_use]
    pub fn stores(mut self, stores: ServedStores) -> Self {
        self.stores = Some(stores);
        self
    }
}

/// A section of the page that the application itself fills.
///
/// The page loads `module`, which the application serves beside [`router`](super::router), and calls its default
/// export once: `export default function (element, page)`. `element` is an empty element in the section; `page`
/// has
///
/// - `page.onState(callback)`: calls back with each state, as `/state` returns it. What [`Section::data`] returned
///   is in `state.sections[id]`, null if it returned nothing;
/// - `page.onStale(callback)`: calls back with true when the stream of states breaks, and with false when it
///   resumes;
/// - `page.fetch(path, options)`: like `fetch`, relative to the page, with the token if the user has entered one;
/// - `page.format`: formats numbers, sizes, durations and times like the page;
/// - `page.announce(text)`: announces a text to screen readers.
///
/// The page's policy allows only scripts and styles of its own origin, and no inline ones.
#[derive(Clone)]
pub struct Section {
    /// Letters, digits and hyphens; unique on the page.
    pub id: String,
    /// The heading of the section.
    pub title: String,
    /// The path of the script module, relative to the page.
    pub module: String,
    /// The path of its styles, relative to the page.
    pub style: Option<String>,
    pub(super) data: Option<Arc<Data>>,
}

/// What a section shows, as JSON.
pub(super) type Data = dyn Fn() -> Value + Send + Sync;

impl Section {
    /// A section that `module` fills.
    pub fn new(id: impl Into<String>, title: impl Into<String>, module: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            module: module.into(),
            style: None,
            data: None,
        }
    }

    /// Sets the path of its styles, relative to the page.
    #[must_use]
    pub fn style(mut self, style: impl Into<String>) -> Self {
        self.style = Some(style.into());
        self
    }

    /// Adds data to each state that is sent: called once per second while anybody reads, on a thread of the
    /// server. It must return at once.
    #[must_use]
    pub fn data(mut self, data: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.data = Some(Arc::new(data));
        self
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("id", &self.id)
            .field("title", &self.title)
            .field("module", &self.module)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}
