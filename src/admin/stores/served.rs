//! A store that is served. Its types are hidden in here: questions arrive as JSON texts, answers leave as JSON.

use serde::Serialize;
use serde_json::{Value, json};

use super::about::{About, Kind};
use super::question::{Page, Question, Span};
use crate::base::{Error, Header, Result};
use crate::codec::{Serializable, SharedCodec, Windowed};
use crate::query::{Found, Keys, Row, key_bytes, partition_of};
use crate::runtime::View;

/// The approximate limit of JSON per page, in bytes; a page has at least one row.
const PAGE_BYTES: usize = 1 << 20;

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

    /// The one of several partitions in which a key given as JSON is.
    ///
    /// # Errors
    /// `User` if the text is not JSON of the key's type, or the codec fails.
    fn partition_of(&self, key: &str, partitions: u32) -> Result<u32>;

    /// Asks a view of one task, or of no task for a store that is everywhere.
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

    fn version(&self, view: &View, key: &K, as_of_ms: Option<i64>) -> Result<Answered> {
        let (codec, value) = self.codecs();
        let rows = view.versioned_with(&self.about.name, codec, value)?;
        let version = match as_of_ms {
            None => rows.get(key)?,
            Some(as_of_ms) => rows.get_as_of(key, as_of_ms)?,
        };
        let Some(version) = version else {
            return Ok(Answered::Missing);
        };
        Ok(Answered::Found(json!({
            "key": to_json(key)?,
            "value": to_json(&version.value)?,
            "timestamp_ms": version.timestamp_ms,
            "valid_to_ms": version.valid_to_ms,
        })))
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

    fn partition_of(&self, key: &str, partitions: u32) -> Result<u32> {
        let bytes = key_bytes(&*self.key, &self.key(key)?)?;
        Ok(partition_of(&self.key, &bytes, partitions))
    }

    fn answer(&self, view: &View, question: &Question) -> Result<Answered> {
        let (key, span) = match question {
            Question::Page(page) => return self.page(view, page),
            Question::Key(key, span) => (self.key(key)?, span),
            Question::Version(key, as_of_ms) => {
                return self.version(view, &self.key(key)?, *as_of_ms);
            }
        };
        let (codec, value) = self.codecs();
        let name = &self.about.name;
        let (rows, next) = match self.about.kind {
            Kind::KeyValue => return self.one(view, &key),
            Kind::Versioned => return self.version(view, &key, None),
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
    let mut json = json!({ "value": to_json(&row.value)?, "timestamp_ms": row.timestamp_ms });
    if !row.headers.is_empty() {
        json["headers"] = row.headers.as_slice().iter().map(header_json).collect();
    }
    Ok(json)
}

/// A header's value is a text, unless it is null or its bytes are no text.
fn header_json(header: &Header) -> Value {
    let value = header.value.as_deref();
    match value.map(std::str::from_utf8).transpose() {
        Ok(text) => json!({ "name": header.key, "value": text }),
        Err(_) => {
            let bytes = value.unwrap_or_default().iter();
            let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            json!({ "name": header.key, "value_hex": hex })
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        Error::internal(format!("a key or value cannot be encoded as JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Headers;

    #[test]
    fn a_row_shows_the_headers_that_its_store_keeps() {
        let mut headers = Headers::default();
        headers.add("trace", Some(b"7f".to_vec()));
        headers.add("sign", Some(vec![0xff, 0]));
        headers.add("gone", None);
        let mut row = Row {
            value: 1,
            timestamp_ms: Some(2),
            headers,
        };
        let shown = json!([
            { "name": "trace", "value": "7f" },
            { "name": "sign", "value_hex": "ff00" },
            { "name": "gone", "value": null },
        ]);
        assert_eq!(row_json(&row).expect("JSON")["headers"], shown);
        row.headers = Headers::default();
        let plain = json!({ "value": 1, "timestamp_ms": 2 });
        assert_eq!(row_json(&row).expect("JSON"), plain);
    }
}
