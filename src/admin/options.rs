//! What an application can configure of its page.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Guard, ServedStores};

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
}

impl AdminOptions {
    /// For those whom `guard` admits, without sections.
    pub fn new(guard: Guard) -> Self {
        Self {
            guard,
            title: None,
            sections: Vec::new(),
            stores: None,
        }
    }

    /// Sets the title of the page.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Adds a section of the application.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
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
