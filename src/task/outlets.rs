//! The children of a node that selects among them by name.

use super::{Context, Port, Tick};
use crate::base::{Error, Record, Result};

/// The children of a node, in the order in which they were added, some with a name.
pub struct Outlets<K, V> {
    outlets: Vec<(Option<String>, Port<K, V>)>,
    /// How to copy a record, if that was declared.
    copy: Option<fn(&Record<K, V>) -> Record<K, V>>,
}

impl<K: 'static, V: 'static> Outlets<K, V> {
    pub(super) fn new(
        outlets: impl Iterator<Item = (Option<String>, Port<K, V>)>,
        copy: Option<fn(&Record<K, V>) -> Record<K, V>>,
    ) -> Self {
        let outlets = outlets.collect();
        Self { outlets, copy }
    }

    /// Sends a record to every child: the last one gets the record itself, the others copies.
    ///
    /// # Errors
    /// The first error of a child; `User` if there are several children and no way to copy.
    pub fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()> {
        let Some(((_, last), others)) = self.outlets.split_last() else {
            return Ok(());
        };
        if !others.is_empty() {
            let copy = self.copy.ok_or_else(|| {
                Error::user(
                    "a record for several children cannot be cloned; send it to each \
                     by name, or clone the stream once, which needs records that can be cloned",
                )
            })?;
            for (_, port) in others {
                port.push(copy(&record), context)?;
            }
        }
        last.push(record, context)
    }

    /// Sends a record only to the child of that name.
    ///
    /// # Errors
    /// `User` if there is none; else those of the child.
    pub fn push_to(&self, child: &str, record: Record<K, V>, context: &mut Context) -> Result<()> {
        let mut outlets = self.outlets.iter();
        match outlets.find(|(name, _)| name.as_deref() == Some(child)) {
            Some((_, port)) => port.push(record, context),
            None => Err(self.no_child(child)),
        }
    }

    /// Tells every child about the time.
    ///
    /// # Errors
    /// The first error of a child.
    pub fn tick(&self, tick: Tick, context: &mut Context) -> Result<()> {
        let mut outlets = self.outlets.iter();
        outlets.try_for_each(|(_, port)| port.tick(tick, context))
    }

    #[cold]
    fn no_child(&self, child: &str) -> Error {
        let names: Vec<&str> = self
            .outlets
            .iter()
            .filter_map(|(name, _)| name.as_deref())
            .collect();
        Error::user(format!(
            "a record was forwarded to child {child:?}, but the children are {names:?}; name it \
             with `Stream::named`, or with `Stream::child` before it is written to a topic"
        ))
    }
}
