//! A change as text and as JSON, and the refusal of a start.
//!
//! ```text
//! application shop against what is on the log
//!   keeps    store counts (persistent key-value, utf8 -> i64), shop-counts-changelog with 4 partitions
//!   adds     repartition by, shop-by-repartition with 4 partitions
//!   moves    times of store counts, from sub-topology counts to added
//!   orphans  store sums, 12 rows in shop-sums-changelog: not accepted
//! It would not start: ...
//! ```

use std::fmt;

use super::{Orphan, OrphanFate, Piece, PieceKind, TopologyChange};
use crate::base::{Error, Result};
use crate::runtime::contents::RowCount;

impl TopologyChange {
    /// The same as JSON, for tools.
    pub fn to_json(&self) -> String {
        serde_json::to_value(self).unwrap_or_default().to_string()
    }

    /// Whether the application would refuse to start, and why.
    ///
    /// # Errors
    /// `Invalid`: each orphan that is not accepted and each refusal, with the remedy.
    pub fn check(&self) -> Result<()> {
        self.check_orphans()?;
        match self.refuses.is_empty() {
            true => Ok(()),
            false => {
                let reasons = self.refuses.iter().map(|refusal| refusal.reason.as_str());
                Err(Error::invalid(reasons.collect::<Vec<_>>().join("; ")))
            }
        }
    }

    /// Refuses what would leave state behind silently.
    ///
    /// # Errors
    /// `Invalid`; the message names each orphan and the remedy.
    pub(in crate::runtime) fn check_orphans(&self) -> Result<()> {
        let refused = self.orphans.iter();
        let refused: Vec<&Orphan> = refused
            .filter(|orphan| orphan.fate == OrphanFate::Refused)
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = refused.iter().map(|orphan| orphan.to_string()).collect();
        let names: Vec<String> = refused
            .iter()
            .map(|orphan| format!("{:?}", orphan.piece.name))
            .collect();
        let is_unread = |orphan: &&Orphan| orphan.piece.kind == PieceKind::Repartition;
        let unread = match refused.iter().any(is_unread) {
            true => {
                " To process unread records, run the previous topology without new input until its lag is \
                 0; to continue without them, delete the topic or accept it."
            }
            false => "",
        };
        Err(Error::invalid(format!(
            "this topology does not use what application {} has on the log: {}. It would be left \
             behind.{unread} If something was renamed, restore its previous name; if it may be left \
             behind, accept it by name in each instance: accept_orphans = [{}]. It stays on the log until \
             its topic is deleted",
            self.application,
            all.join("; "),
            names.join(", "),
        )))
    }
}

impl fmt::Display for TopologyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "application {} compared with what is on the log",
            self.application
        )?;
        if !self.has_record {
            writeln!(
                f,
                "  There is no record of an earlier start: what one may have left behind is unknown."
            )?;
        }
        for piece in &self.keeps {
            writeln!(f, "  keeps    {}", Whole(piece))?;
        }
        for piece in &self.adds {
            writeln!(f, "  adds     {}", Whole(piece))?;
        }
        for returned in &self.returns {
            let piece = Whole(&returned.piece);
            writeln!(
                f,
                "  returns  {piece}: with the contents it had when it was left behind"
            )?;
        }
        for moved in &self.moves {
            let (of, from, to) = (&moved.of, &moved.from, &moved.to);
            writeln!(
                f,
                "  moves    times of {of}, from sub-topology {from} to {to}"
            )?;
        }
        for orphan in &self.orphans {
            writeln!(f, "  orphans  {orphan}: {}", orphan.fate)?;
        }
        for refusal in &self.refuses {
            writeln!(f, "  refuses  {}", refusal.reason)?;
        }
        match self.check() {
            Ok(()) => writeln!(f, "It would start."),
            Err(error) => writeln!(f, "It would not start: {}.", error.message()),
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PieceKind::Store => "store",
            PieceKind::Timers => "timers of node",
            PieceKind::Repartition => "repartition",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// A piece with everything known of it.
struct Whole<'a>(&'a Piece);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(piece) = self;
        write!(f, "{piece}")?;
        if let Some(description) = &piece.description {
            write!(f, " ({description})")?;
        }
        match (&piece.topic, piece.partitions) {
            (Some(topic), Some(1)) => write!(f, ", {topic} with 1 partition"),
            (Some(topic), Some(partitions)) => {
                write!(f, ", {topic} with {partitions} partitions")
            }
            (Some(topic), None) => write!(f, ", {topic}"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, many) = match self.piece.kind {
            PieceKind::Store => ("row", "rows"),
            PieceKind::Timers => ("timer", "timers"),
            PieceKind::Repartition => ("unread record", "unread records"),
        };
        write!(f, "{}, ", self.piece)?;
        match self.count {
            Some(RowCount {
                number: 1,
                is_at_least: false,
            }) => write!(f, "1 {one} in ")?,
            Some(RowCount {
                number,
                is_at_least,
            }) => {
                let at_least = if is_at_least { "at least " } else { "" };
                write!(f, "{at_least}{number} {many} in ")?;
            }
            None => {}
        }
        f.write_str(self.piece.topic.as_deref().unwrap_or("no topic"))
    }
}

impl fmt::Display for OrphanFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "not accepted",
            Self::Accepted => "accepted, and left on the log",
            Self::Before { .. } => "left on the log by an earlier start",
            Self::Empty => "empty, and left on the log",
            Self::Shared => "left to the other members of the group, which may use it",
            Self::Unasked => {
                "left on the log, because an earlier release did not record which topologies have run"
            }
        })
    }
}
