//! How the layers above describe a store.

use super::row_limit::RowLimit;
use super::{RowForm, StoreKind, StoreType};

/// Where the changes of a store go, and where a restore reads them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Changelog {
    /// Nowhere: its rows do not survive the loss of the disk.
    None,
    /// To its own topic, [`StoreSpec::changelog_topic`].
    #[default]
    Own,
    /// They are in a topic already: the store holds the newest record of each key of this topic, given by
    /// its full name, and a restore reads that topic. A record without a key is skipped.
    Source(String),
}

impl Changelog {
    /// Its own topic, if `logged`.
    pub fn own_if(logged: bool) -> Self {
        match logged {
            true => Self::Own,
            false => Self::None,
        }
    }
}

/// The specification of a store, known when the topology is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// The store's name: also the name of its column family, and part of its changelog's name.
    pub name: String,
    /// Its rules.
    pub kind: StoreKind,
    /// Which kind of Kafka Streams store it behaves like.
    pub store_type: StoreType,
    /// What a row holds besides the value. A changelog holds the plain value; timestamp and headers are
    /// those of the record.
    pub row: RowForm,
    /// Where its changes go.
    pub changelog: Changelog,
    /// Names of the key's and the value's codecs; a change is refused at start.
    pub codecs: (String, String),
}

impl StoreSpec {
    /// A persistent store with a changelog, whose rows are plain values. `codecs` are the names of the key's
    /// and the value's.
    pub fn new(name: impl Into<String>, kind: StoreKind, codecs: (String, String)) -> Self {
        Self {
            name: name.into(),
            kind,
            store_type: StoreType::Persistent,
            row: RowForm::Plain,
            changelog: Changelog::Own,
            codecs,
        }
    }

    /// Whether it writes a changelog of its own.
    pub fn is_logged(&self) -> bool {
        self.changelog == Changelog::Own
    }

    /// Whether its rows can be restored.
    pub fn is_restored(&self) -> bool {
        self.changelog != Changelog::None
    }

    /// The full name of the topic with its changes within an application; for a store without a
    /// changelog, the one that it would have.
    pub fn changelog_topic(&self, application: &str) -> String {
        match &self.changelog {
            Changelog::Source(topic) => topic.clone(),
            Changelog::None | Changelog::Own => format!("{application}-{}-changelog", self.name),
        }
    }

    /// The limit of its rows if its changelog accepts records of `max_bytes`.
    pub(super) fn row_limit(&self, max_bytes: usize) -> RowLimit {
        if !self.is_logged() {
            return RowLimit::none();
        }
        RowLimit {
            store: self.name.clone(),
            max_bytes,
            around_key: self.kind.rules().bytes_around_key(),
            before_value: self.row.least_before_value(),
        }
    }
}
