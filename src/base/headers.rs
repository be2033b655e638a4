//! Record headers: free when there are none, shared when a record is cloned.

use std::sync::Arc;

/// One header: a name, and bytes that may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; several headers of a record may share it.
    pub key: String,
    /// The bytes, or `None` for null.
    pub value: Option<Vec<u8>>,
}

/// The headers of a record, in order. Empty headers take no memory, and a clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

impl Headers {
    /// Uses the headers as they are.
    pub fn from_vec(headers: Vec<Header>) -> Self {
        if headers.is_empty() {
            Self(None)
        } else {
            Self(Some(Arc::new(headers)))
        }
    }

    /// Appends a header after the existing ones, copying them only if another record shares them.
    pub fn add(&mut self, key: impl Into<String>, value: Option<Vec<u8>>) {
        let headers = self.0.get_or_insert_with(Default::default);
        Arc::make_mut(headers).push(Header {
            key: key.into(),
            value,
        });
    }

    /// All headers, in order.
    pub fn as_slice(&self) -> &[Header] {
        self.0.as_ref().map_or(&[], |headers| headers.as_slice())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of all names and values.
    pub fn byte_len(&self) -> usize {
        let lengths =
            |header: &Header| header.key.len() + header.value.as_ref().map_or(0, Vec::len);
        self.as_slice().iter().map(lengths).sum()
    }

    /// The value of the last header of that name, as returned by Kafka's `lastHeader`.
    pub fn last(&self, key: &str) -> Option<&Header> {
        self.as_slice()
            .iter()
            .rev()
            .find(|header| header.key == key)
    }
}
