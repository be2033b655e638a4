//! Reading a sorted range.

use std::fmt;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::database::{Column, Database, Handle, Rocks};
use super::snapshot::Snapshot;
use crate::base::Result;

/// Which keys to read: from `from`, up to but not including `to`; `None` is the end of the column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The smallest key that belongs to it.
    pub from: Option<Vec<u8>>,
    /// The smallest key above it.
    pub to: Option<Vec<u8>>,
}

impl Range {
    /// The whole column.
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys from `from` up to, but not including, `to`.
    pub fn between(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self {
            from: Some(from.into()),
            to: Some(to.into()),
        }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let from = prefix.into();
        // The next prefix of that length: drop trailing 0xff, then add one to the last byte.
        let mut to = from.clone();
        while to.pop_if(|last| *last == u8::MAX).is_some() {}
        let to = to.last_mut().map(|last| *last += 1).map(|()| to);
        Self {
            from: Some(from),
            to,
        }
    }

    fn is_empty(&self) -> bool {
        matches!((&self.from, &self.to), (Some(from), Some(to)) if from >= to)
    }
}

/// The rows of a range as of the creation of the iterator; shares ownership of the database.
pub struct Iter {
    // The order of these four fields makes `Inner::rocks_for_parts` sound.
    rocks: DBRawIteratorWithThreadMode<'static, Rocks>,
    /// The snapshot it reads; the newest rows if there is none.
    _snapshot: Option<Snapshot>,
    _handle: Handle,
    database: Database,
    backward: bool,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Unstarted,
    /// At the next row.
    Sought,
    Inside,
    End,
}

impl Database {
    /// Reads a range, smallest key first.
    ///
    /// # Errors
    /// None now; the signature leaves room for them.
    pub fn iter(&self, column: Column, range: Range) -> Result<Iter> {
        Ok(self.iter_towards(column, range, false, None))
    }

    /// Reads a range, largest key first.
    ///
    /// # Errors
    /// None now; the signature leaves room for them.
    pub fn iter_back(&self, column: Column, range: Range) -> Result<Iter> {
        Ok(self.iter_towards(column, range, true, None))
    }

    pub(super) fn iter_towards(
        &self,
        column: Column,
        range: Range,
        backward: bool,
        snapshot: Option<Snapshot>,
    ) -> Iter {
        let handle = self.with_column(column, Handle::clone);
        let at = if range.is_empty() {
            At::End
        } else {
            At::Unstarted
        };
        let mut options = ReadOptions::default();
        if at == At::Unstarted {
            if let Some(from) = range.from {
                options.set_iterate_lower_bound(from);
            }
            if let Some(to) = range.to {
                options.set_iterate_upper_bound(to);
            }
        }
        let rocks = match &snapshot {
            Some(snapshot) => snapshot.raw_iterator(&handle, options),
            None => {
                let rocks = self.0.rocks_for_parts();
                rocks.raw_iterator_cf_opt(&handle, options)
            }
        };
        Iter {
            rocks,
            _snapshot: snapshot,
            _handle: handle,
            database: self.clone(),
            backward,
            at,
        }
    }
}

impl Snapshot {
    /// Reads a range, smallest key first, or the largest.
    pub fn iter(&self, column: Column, range: Range, backward: bool) -> Iter {
        let snapshot = Some(self.clone());
        self.database
            .iter_towards(column, range, backward, snapshot)
    }
}

impl Iter {
    /// Moves to a key, anywhere in the column: the next row is the first that is not before it or, when
    /// going backwards, the last that is not after it. The iterator must cover the whole column.
    pub fn seek(&mut self, key: &[u8]) {
        match self.backward {
            false => self.rocks.seek(key),
            true => self.rocks.seek_for_prev(key),
        }
        self.at = At::Sought;
    }

    /// The next row, or `None` at the end of the range. (An `Iterator` could not lend from itself.)
    ///
    /// # Errors
    /// `Corrupt` or `Unavailable` if the disk does not return a block.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator cannot")]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match (self.at, self.backward) {
            (At::End, _) => return Ok(None),
            (At::Unstarted, false) => self.rocks.seek_to_first(),
            (At::Unstarted, true) => self.rocks.seek_to_last(),
            (At::Sought, _) => {}
            (At::Inside, false) => self.rocks.next(),
            (At::Inside, true) => self.rocks.prev(),
        }
        self.at = At::Inside;
        if self.rocks.valid() {
            return Ok(self.rocks.item());
        }
        self.at = At::End;
        let status = self.rocks.status();
        status.map_err(|cause| self.database.error("reading", cause))?;
        Ok(None)
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
