//! A store that is served. Its types are hidden in here: questions arrive as JSON texts, answers leave as JSON.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::question::{Page, Question, Span};
use crate::base::{Error, Result, TaskId};
use crate::codec::{Serializable, SharedCodec, Windowed};
use crate::query::{Found, Keys, Row, check_codecs, key_bytes, partition_of};
use crate::runtime::{Queries, View};
use crate::state::StoreKind;

/// The approximate limit of JSON per page, in bytes; a page has at least one row.
const PAGE_BYTES: usize = 1 << 20;

/// How a store is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    KeyValue,
    Windows,
    Sessions,
}

impl Kind {
    /// The name for programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::KeyValue => "key_value",
            Self::Windows => "windows",
            Self::Sessions => "sessions",
        }
    }

    /// The name of such a store in the state.
    fn store(self) -> &'static str {
        match self {
            Self::KeyValue => "key-value store",
            Self::Windows => "window store",
            Self::Sessions => "session store",
        }
    }
}

/// What is known of a served store before it is queried.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) subtopology: Arc<str>,
    pub(super) partitions: u32,
    pub(super) changelog: Option<String>,
    rules: StoreKind,
}

impl About {
    /// A store of the topology.
    ///
    /// # Errors
    /// `Invalid` if there is no such store, it is of another kind, or has other codecs.
    pub(super) fn of(
        queries: &Queries,
        name: &str,
        kind: Kind,
        codecs: (String, String),
    ) -> Result<Self> {
        let store = queries.store(name)?;
        let rules = store.spec.kind.clone();
        if rules.name() != kind.store() {
            return Err(Error::invalid(format!(
                "store {name:?} is a {}, but is to be served as a {}; name its kind",
                rules.name(),
                kind.store()
            )));
        }
        check_codecs(store.spec, codecs)?;
        Ok(Self {
            name: name.to_owned(),
            kind,
            subtopology: store.subtopology.clone(),
            partitions: store.partitions,
            changelog: store.changelog,
            rules,
        })
    }

    pub(super) fn task(&self, partition: u32) -> TaskId {
        TaskId::new(self.subtopology.clone(), partition)
    }
}

/// The answer of a view.
pub(super) enum Answered {
    /// There is no row of the key.
    Missing,
    Found(Value),
    /// Rows, and the bytes of the last key if there are more after it.
    Page(Vec<Value>, Option<Vec<u8>>),
}

/// A store with its types.
pub(super) trait Served: Send + Sync {
    fn about(&self) -> &About;

    /// The partition of a key given as JSON.
    ///
    /// # Errors
    /// `User` if the text is not JSON of the key's type, or the codec fails.
    fn partition_of(&self, key: &str) -> Result<u32>;

    /// Asks a view of one task.
    ///
    /// # Errors
    /// `User` for keys that cannot be read; those of the store.
    fn answer(&self, view: &View, question: &Question) -> Result<Answered>;

    /// A record of its changelog as JSON: its key, and the value, which is null if the row was deleted.
    ///
    /// # Errors
    /// `User` if a codec fails, `Corrupt` for a key that no such store writes.
    fn change(&self, key: &[u8], value: Option<&[u8]>) -> Result<Value>;
}

/// The only implementation.
pub(super) struct Typed<K, V> {
    pub(super) about: About,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
}

impl<K: Serializable + 'static, V: Serialize + 'static> Typed<K, V> {
    fn key(&self, text: &str) -> Result<K> {
        serde_json::from_str(text).map_err(|error| {
            Error::user(format!(
                "{text:?} is not a key of store {:?} as JSON: {error}; put text in quotes",
                self.about.name
            ))
        })
    }

    fn codecs(&self) -> (SharedCodec<K>, SharedCodec<V>) {
        (self.key.clone(), self.value.clone())
    }

    fn one(&self, view: &View, key: &K) -> Result<Answered> {
        let (codec, value) = self.codecs();
        let rows = view.key_value_with(&self.about.name, codec, value)?;
        Ok(match rows.get(key)? {
            None => Answered::Missing,
            Some(row) => {
                let mut found = row_json(&row)?;
                found["key"] = to_json(key)?;
                Answered::Found(found)
            }
        })
    }

    fn page(&self, view: &View, page: &Page) -> Result<Answered> {
        let keys = match &page.prefix {
            Some(prefix) => Keys::Prefix(prefix.clone().into_bytes()),
            None => {
                let key = |text: &Option<String>| text.as_deref().map(|text| self.key(text));
                Keys::Between(key(&page.from).transpose()?, key(&page.to).transpose()?)
            }
        };
        let (codec, value) = self.codecs();
        let rows = view.key_value_with(&self.about.name, codec, value)?;
        let (mut listed, mut bytes, mut last) = (Vec::new(), 0, None);
        for row in rows.behind(&keys, page.after.as_deref())? {
            let (key_bytes, key, row) = row?;
            if listed.len() >= page.limit || bytes >= PAGE_BYTES {
                return Ok(Answered::Page(listed, last));
            }
            let mut row = row_json(&row)?;
            row["key"] = to_json(&key)?;
            bytes += row.to_string().len();
            listed.push(row);
            last = Some(key_bytes);
        }
        Ok(Answered::Page(listed, None))
    }
}

impl<K: Serializable + 'static, V: Serialize + 'static> Served for Typed<K, V> {
    fn about(&self) -> &About {
        &self.about
    }

    fn partition_of(&self, key: &str) -> Result<u32> {
        let bytes = key_bytes(&self.key, &self.key(key)?)?;
        Ok(partition_of(&self.key, &bytes, self.about.partitions))
    }

    fn answer(&self, view: &View, question: &Question) -> Result<Answered> {
        let (key, span) = match question {
            Question::Page(page) => return self.page(view, page),
            Question::Key(key, span) => (self.key(key)?, span),
        };
        let (codec, value) = self.codecs();
        let name = &self.about.name;
        let (rows, next) = match self.about.kind {
            Kind::KeyValue => return self.one(view, &key),
            Kind::Windows => {
                let rows = view.windows_with(name, codec, value)?;
                let found = rows.fetch(&key, span.from_ms..=span.to_ms)?;
                within(found, span, |window| window.start_ms)?
            }
            Kind::Sessions => {
                let rows = view.sessions_with(name, codec, value)?;
                within(rows.fetch(&key)?, span, |session| session.end_ms)?
            }
        };
        let found = json!({ "key": to_json(&key)?, "rows": rows, "next_from_ms": next });
        Ok(Answered::Found(found))
    }

    fn change(&self, key: &[u8], value: Option<&[u8]>) -> Result<Value> {
        let (bytes, window) = self.about.rules.logged_key(key).ok_or_else(|| {
            let (name, kind) = (&self.about.name, self.about.rules.name());
            Error::corrupt(format!(
                "the changelog of {kind} {name:?} has a key of {} bytes, which no such store writes",
                key.len()
            ))
        })?;
        let value = value.map(|bytes| self.value.decode(Some(bytes)));
        let value = value.transpose()?;
        let mut change = json!({
            "key": to_json(&self.key.decode(Some(bytes))?)?,
            "value": to_json(&value)?,
        });
        if let Some((start_ms, end_ms)) = window {
            change["start_ms"] = start_ms.into();
            change["end_ms"] = end_ms.into();
        }
        Ok(change)
    }
}

/// The rows of windows within a span, and where the next page begins if there are more. A page ends between
/// windows that begin at different times.
fn within<K, V: Serialize>(
    rows: Found<'_, (Windowed<K>, Row<V>)>,
    span: &Span,
    time: impl Fn(&Windowed<K>) -> i64,
) -> Result<(Vec<Value>, Option<i64>)> {
    let (mut listed, mut bytes, mut last_ms) = (Vec::new(), 0, None);
    for row in rows {
        let (window, row) = row?;
        let at_ms = time(&window);
        if !(span.from_ms..=span.to_ms).contains(&at_ms) {
            continue;
        }
        if (listed.len() >= span.limit || bytes >= PAGE_BYTES) && last_ms != Some(at_ms) {
            return Ok((listed, Some(at_ms)));
        }
        let mut row = row_json(&row)?;
        row["start_ms"] = window.start_ms.into();
        row["end_ms"] = window.end_ms.into();
        bytes += row.to_string().len();
        listed.push(row);
        last_ms = Some(at_ms);
    }
    Ok((listed, None))
}

fn row_json<V: Serialize>(row: &Row<V>) -> Result<Value> {
    Ok(json!({ "value": to_json(&row.value)?, "timestamp_ms": row.timestamp_ms }))
}

fn to_json<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        Error::internal(format!("a key or value cannot be encoded as JSON: {error}"))
    })
}
