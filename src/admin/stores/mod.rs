//! The stores of an application over HTTP: rows by key, lists of keys, and changes.
//!
//! ```text
//!  GET /stores                          what can be asked
//!  GET /stores/{name}/key/{key}         the row of a key; its windows or sessions with from_ms, to_ms, limit
//!  GET /stores/{name}/rows              keys in the order of their bytes: from, to, prefix, limit, after
//!  GET /stores/{name}/changes           server-sent events, from now on or from `Last-Event-ID`
//!
//!  request --> Guard --> routes --> Router (ask.rs): the task is here?  --> Served (served.rs): a view's rows as JSON
//!                          |                 \-- or the other instance (instances.rs, forward.rs)
//!                          \--> Changes (changes.rs): the changelog
//! ```
//!
//! Nothing is served that was not registered, with its types ([`ServedStores`]). Keys are JSON, as are values.
//!
//! Each question is about one task, also a page of a list, which has rows of one partition: so each answer is as of one
//! commit, and can say of which (`positions`, `marea-position`). A position goes into `at_least` of the next
//! question, and so does the place of a record that was just written ([`Sent::position`]).
//!
//! [`Sent::position`]: crate::client::Sent::position

mod ask;
mod changes;
mod failure;
mod forward;
mod instances;
mod question;
mod routes;
mod served;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use self::served::{About, Kind, Served, Typed};
use self::url::Url;
use crate::base::Result;
use crate::codec::{Codec, OwnCodec, Serializable, SharedCodec, shared};
use crate::runtime::Handle;

pub use self::ask::Routing;
pub(super) use self::routes::routes;

/// The stores that can be asked over HTTP: [`AdminOptions::stores`](super::AdminOptions::stores).
///
/// ```no_run
/// # fn main_of(application: marea::runtime::Application) -> marea::Result<()> {
/// use marea::admin::{AdminOptions, Guard, ServedStores};
///
/// let stores = ServedStores::of(application.handle())
///     .key_value::<String, i64>("counts")?
///     .windows::<String, i64>("counts-by-minute")?
///     .advertised_url("http://10.1.2.3:8080")?;
/// let guard = Guard::for_address("127.0.0.1:8080".parse().unwrap(), None)?;
/// let options = AdminOptions::new(guard).stores(stores);
/// # drop(options);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServedStores {
    handle: Handle,
    served: BTreeMap<String, Arc<dyn Served>>,
    advertised: Option<Url>,
    routing: Routing,
}

impl ServedStores {
    /// Those of an application; none of them is served yet.
    pub fn of(handle: Handle) -> Self {
        Self {
            handle,
            served: BTreeMap::new(),
            advertised: None,
            routing: Routing::default(),
        }
    }

    /// Serves a key-value store, with the types' own codecs: that of a table, an aggregation without windows, or
    /// a processor.
    ///
    /// # Errors
    /// `Invalid` if the topology has no such store, it is of another kind, or its keys and values have other types.
    pub fn key_value<K, V>(self, store: &str) -> Result<Self>
    where
        K: OwnCodec + Serializable,
        V: OwnCodec + Serialize,
    {
        self.key_value_with(store, K::codec(), V::codec())
    }

    /// The same with codecs of your own.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn key_value_with<K, V>(
        self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Self>
    where
        K: Serializable + 'static,
        V: Serialize + 'static,
    {
        self.serve(store, Kind::KeyValue, shared(key), shared(value))
    }

    /// Serves a window store, with the types' own codecs; `K` is the key without its window.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn windows<K, V>(self, store: &str) -> Result<Self>
    where
        K: OwnCodec + Serializable,
        V: OwnCodec + Serialize,
    {
        self.windows_with(store, K::codec(), V::codec())
    }

    /// The same with codecs of your own.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn windows_with<K, V>(
        self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Self>
    where
        K: Serializable + 'static,
        V: Serialize + 'static,
    {
        self.serve(store, Kind::Windows, shared(key), shared(value))
    }

    /// Serves a session store, with the types' own codecs; `K` is the key without its session.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn sessions<K, V>(self, store: &str) -> Result<Self>
    where
        K: OwnCodec + Serializable,
        V: OwnCodec + Serialize,
    {
        self.sessions_with(store, K::codec(), V::codec())
    }

    /// The same with codecs of your own.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn sessions_with<K, V>(
        self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Self>
    where
        K: Serializable + 'static,
        V: Serialize + 'static,
    {
        self.serve(store, Kind::Sessions, shared(key), shared(value))
    }

    /// Tells the other instances where this one is reached: `http://HOST:PORT`, with the path below which the router
    /// is nested, if it is. The server answers to that name. Without it this instance asks others and is asked by
    /// nobody.
    ///
    /// The addresses are in a topic of the application's own. An instance sends the token of who asks to the address that
    /// stands there, so that all instances have the same token, and who may write to the application's topics can
    /// learn it.
    ///
    /// # Errors
    /// `Invalid` if it is no such address.
    pub fn advertised_url(mut self, url: &str) -> Result<Self> {
        self.advertised = Some(Url::parse(url)?);
        Ok(self)
    }

    /// Sets how a question for a task of another instance gets there.
    #[must_use]
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    fn serve<K, V>(
        mut self,
        store: &str,
        kind: Kind,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Result<Self>
    where
        K: Serializable + 'static,
        V: Serialize + 'static,
    {
        let codecs = (key.name(), value.name());
        let about = About::of(&self.handle.queries()?, store, kind, codecs)?;
        let served = Typed { about, key, value };
        self.served.insert(store.to_owned(), Arc::new(served));
        Ok(self)
    }

    /// The name by which others ask for this instance, if it has told one.
    pub(super) fn host(&self) -> Option<&str> {
        self.advertised.as_ref().map(Url::host)
    }
}

impl fmt::Debug for ServedStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedStores")
            .field("served", &self.served.keys())
            .field("advertised", &self.advertised)
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}
