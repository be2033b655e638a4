//! What an application can say about its page.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Guard, ServedStores};

/// What [`router`](super::router) serves, and to whom.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Who may ask.
    pub guard: Guard,
    /// The title of the page; the application's id if there is none.
    pub title: Option<String>,
    /// The application's own sections of the page, at its top, in this order.
    pub sections: Vec<Section>,
    /// The stores that can be asked.
    pub stores: Option<ServedStores>,
}

impl AdminOptions {
    /// For those whom `guard` lets through, without sections.
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

    /// Adds a section of the application's own.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Sets the stores that can be asked.
    #[must_use]
    pub fn stores(mut self, stores: ServedStores) -> Self {
        self.stores = Some(stores);
        self
    }
}

/// A section of the page that the application fills itself.
///
/// The page loads `module`, which the application serves beside [`router`](super::router), and calls its default
/// export once: `export default function (element, page)`. `element` is an empty one in the section; `page` has
///
/// - `page.onState(callback)`: calls back with each state, as `/state` answers it. What [`Section::data`] returned is
///   `state.sections[id]`, null if nothing was;
/// - `page.onStale(callback)`: calls back with true when the stream of states breaks, and false when it is back;
/// - `page.fetch(path, options)`: as `fetch`, relative to the page, with the token if the reader has given one;
/// - `page.format`: numbers, sizes, durations and times as the page writes them;
/// - `page.announce(text)`: tells a screen reader.
///
/// The page's policy lets in scripts and styles of its own origin only, and none inline.
#[derive(Clone)]
pub struct Section {
    /// Letters, digits and hyphens; unique on the page.
    pub id: String,
    /// What stands above it.
    pub title: String,
    /// Where the script module is, relative to the page.
    pub module: String,
    /// Where its styles are, relative to the page.
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

    /// Sets where its styles are, relative to the page.
    #[must_use]
    pub fn style(mut self, style: impl Into<String>) -> Self {
        self.style = Some(style.into());
        self
    }

    /// Adds what it shows to each state that is sent: asked once a second while somebody looks, on a thread of
    /// the server's. It must return at once.
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
