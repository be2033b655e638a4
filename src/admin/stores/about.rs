//! What is known of a served store before it is queried: how it is queried, and where its rows are.

use std::sync::Arc;

use crate::base::{Error, Result, TaskId};
use crate::query::check_codecs;
use crate::runtime::Queries;
use crate::state::StoreKind;

/// How a store is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    KeyValue,
    Windows,
    Sessions,
    Versioned,
}

impl Kind {
    /// The name for programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::KeyValue => "key_value",
            Self::Windows => "windows",
            Self::Sessions => "sessions",
            Self::Versioned => "versioned",
        }
    }

    /// The names of such stores in the state.
    fn stores(self) -> &'static [&'static str] {
        match self {
            Self::KeyValue => &["key-value store", "LRU store"],
            Self::Windows => &["window store"],
            Self::Sessions => &["session store"],
            Self::Versioned => &["versioned store"],
        }
    }
}

/// What is known of a served store before it is queried.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) rules: StoreKind,
}

/// Where the rows of a store are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Each row is in one task.
    Tasks(Tasks),
    /// Every instance has all rows.
    Everywhere,
}

/// The tasks that have a store.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) subtopology: Arc<str>,
    pub(super) partitions: u32,
    pub(super) changelog: Option<String>,
}

impl Tasks {
    pub(super) fn task(&self, partition: u32) -> TaskId {
        TaskId::new(self.subtopology.clone(), partition)
    }
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
        let (spec, place) = match queries.global(name) {
            Some(global) => (global.spec, Place::Everywhere),
            None => {
                let store = queries.store(name)?;
                let tasks = Tasks {
                    subtopology: store.subtopology.clone(),
                    partitions: store.partitions,
                    changelog: store.changelog,
                };
                (store.spec, Place::Tasks(tasks))
            }
        };
        let rules = spec.kind.clone();
        if !kind.stores().contains(&rules.name()) {
            return Err(Error::invalid(format!(
                "store {name:?} ({}) is to be served as a {}; name its kind",
                rules.name(),
                kind.stores()[0]
            )));
        }
        check_codecs(spec, codecs)?;
        Ok(Self {
            name: name.to_owned(),
            kind,
            place,
            rules,
        })
    }

    /// The tasks that have it; `None` if every instance has it.
    pub(super) fn tasks(&self) -> Option<&Tasks> {
        match &self.place {
            Place::Tasks(tasks) => Some(tasks),
            Place::Everywhere => None,
        }
    }
}
