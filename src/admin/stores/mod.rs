//! The stores of an application over HTTP: rows by key, lists of keys, and changes.
//!
//! ```text
//!  GET /stores                          what can be queried
//!  GET /stores/{name}/key/{key}         the row of a key; its windows or sessions with from_ms, to_ms, limit;
//!                                       its version with as_of_ms
//!  GET /stores/{name}/rows              keys in the order of their bytes: from, to, prefix, limit, after
//!  GET /stores/{name}/changes           server-sent events, from now on or from `Last-Event-ID`
//!
//!  request --> Guard --> routes --> Router (ask.rs): the task is here?  --> Served (served.rs): a view's rows as JSON
//!                          |                 \-- or the other instance (instances.rs, forward.rs)
//!                          \--> Changes (changes.rs): the changelog
//! ```
//!
//! Only stores that were registered with their types are served ([`ServedStores`]). Keys and values are JSON.
//!
//! Each question is about one task; even a page of a list has rows of only one partition. So each answer is as of
//! one commit, and says which (`positions`, `marea-position`). Only global stores belong to no task: any instance
//! answers for itself (`Router::answer_here`). A position can be passed as `at_least` of the next
//! question, and so can that of a record that was just written ([`Sent::position`]).
//!
//! [`Sent::position`]: crate::client::Sent::position

mod about;
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

use self::about::{About, Kind};
use self::served::{Served, Typed};
use self::url::Url;
use crate::base::Result;
use crate::codec::{Codec, OwnCodec, Serializable, SharedCodec, shared};
use crate::runtime::Handle;

pub use self::ask::Routing;
pub(super) use self::routes::routes;

/// The stores that can be queried over HTTP: [`AdminOptions::stores`](super::AdminOptions::stores).
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
    /// The stores of an application; none of them is served yet.
    pub fn of(handle: Handle) -> Self {
        Self {
            handle,
            served: BTreeMap::new(),
            advertised: None,
            routing: Routing::default(),
        }
    }

    /// Serves a key-value store, with the types' own codecs: the store of a table, an aggregation without windows,
    /// or a processor; an LRU store, in which reading does not count as use; or a global store, from whatever
    /// instance is asked.
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

    /// Like [`ServedStores::key_value`], with your own codecs.
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

    /// Like [`ServedStores::windows`], with your own codecs.
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

    /// Like [`ServedStores::sessions`], with your own codecs.
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

    /// Serves a versioned store, with the types' own codecs.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn versioned<K, V>(self, store: &str) -> Result<Self>
    where
        K: OwnCodec + Serializable,
        V: OwnCodec + Serialize,
    {
        self.versioned_with(store, K::codec(), V::codec())
    }

    /// Like [`ServedStores::versioned`], with your own codecs.
    ///
    /// # Errors
    /// As [`ServedStores::key_value`].
    pub fn versioned_with<K, V>(
        self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Self>
    where
        K: Serializable + 'static,
        V: Serialize + 'static,
    {
        self.serve(store, Kind::Versioned, shared(key), shared(value))
    }

    /// Announces to the other instances where this one is reached: `http://HOST:PORT`, with the path that the
    /// router is nested under, if any. The server accepts that name as its `Host`. Without an address this
    /// instance asks others, but is not asked by them.
    ///
    /// The addresses are in an internal topic of the application. An instance sends the client's token to the
    /// address recorded there, so all instances must share one token, and whoever may write to the application's
    /// topics can obtain it.
    ///
    /// # Errors
    /// `Invalid` if it is not such an address.
    pub fn advertised_url(mut self, url: &str) -> Result<Self> {
        self.advertised = Some(Url::parse(url)?);
        Ok(self)
    }

    /// Sets how a question about a task of another instance gets there.
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

    /// The host name of this instance's address, if it has announced one.
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
