//! The part of a topology that a time of a task's state belongs to: they move to another task together.
//!
//! ```text
//!  store/<store>/...  operator/<store>...                       the store, with the operators over it
//!  timer/<node>/...  timer-stream/<node>/...  timer-wall/...    the node with timers
//!  partition/<topic>  origin/<topic>/...  origin-ended/...  origin-floor/...     the topic that is read
//!  sent/<topic>  sent-end/<topic>  sent-largest/<topic>         the topic that is written
//!  task  wall                                                   the task itself
//! ```
//! Each of these has one place in a topology: stores and nodes have unique names, a topic is read by one
//! source, and a repartition topic is written by one sub-topology. No name contains a slash.

use std::fmt;

use crate::state::TASK_TIME;

/// The times of a task itself: how far it has come, and the wall clock that it has seen. Neither goes back.
pub(crate) const OF_TASKS: [&str; 2] = [TASK_TIME, "wall"];

/// What a time belongs to, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimeOf {
    /// A store, and the operators over it.
    Store(String),
    /// A node with timers.
    Node(String),
    /// A topic that is read, by its full name.
    Source(String),
    /// A repartition topic that is written, by its full name.
    Sink(String),
}

impl TimeOf {
    /// The owner of the time of that name; `None` for the task's own times, whose names have no slash,
    /// and for unknown names.
    pub(crate) fn time(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('/')?;
        let owner = rest.split_once('/').map_or(rest, |(owner, _)| owner);
        let of = match kind {
            "store" | "operator" => Self::Store,
            "timer" | "timer-stream" | "timer-wall" => Self::Node,
            "partition" | "origin" | "origin-ended" | "origin-floor" => Self::Source,
            "sent" | "sent-end" | "sent-largest" => Self::Sink,
            _ => return None,
        };
        Some(of(owner.to_owned()))
    }

    /// Parses what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(' ')?;
        let of = match kind {
            "store" => Self::Store,
            "node" => Self::Node,
            "source" => Self::Source,
            "sink" => Self::Sink,
            _ => return None,
        };
        Some(of(name.to_owned()))
    }
}

impl fmt::Display for TimeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(name) => write!(f, "store {name}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Source(name) => write!(f, "source {name}"),
            Self::Sink(name) => write!(f, "sink {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_time_belongs_to_what_it_names() {
        let store = || Some(TimeOf::Store("counts".to_owned()));
        let node = || Some(TimeOf::Node("alarms".to_owned()));
        let source = || Some(TimeOf::Source("in".to_owned()));
        let sink = || Some(TimeOf::Sink("app-by-repartition".to_owned()));
        for (name, of) in [
            ("store/counts/observed", store()),
            ("operator/counts", store()),
            ("operator/counts/1/closed", store()),
            ("timer/alarms/a/b", node()),
            ("timer-stream/alarms/a", node()),
            ("timer-wall/alarms/a", node()),
            ("partition/in", source()),
            ("origin/in/3", source()),
            ("origin-ended/in/3", source()),
            ("origin-floor/in", source()),
            ("sent/app-by-repartition", sink()),
            ("sent-end/app-by-repartition", sink()),
            ("task", None),
            ("something/else", None),
        ] {
            assert_eq!(TimeOf::time(name), of, "{name}");
            if let Some(of) = of {
                assert_eq!(TimeOf::parse(&of.to_string()), Some(of), "{name}");
            }
        }
    }
}
