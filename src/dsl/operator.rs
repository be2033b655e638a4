//! How an operator is added to the graph: what the plan learns about it, and how its process is built.
//!
//! Every operator is added here, by [`Operator::add`]: its description as data, and a closure that builds
//! the process for each task. A node without a [`Process`] (a sink, a split) provides its own port:
//! [`Operator::make`].
//! A node that the plan may put in the place of others is made by [`Operator::into_node`].

use std::sync::Arc;

use super::builder::SharedGraph;
use crate::base::Result;
use crate::plan::{LogicalId, LogicalKind, LogicalNode, OldRows};
use crate::state::StoreSpec;
use crate::task::{NodeId, Process, Wiring};

/// An operator that has not been added yet.
pub(in crate::dsl) struct Operator(LogicalNode);

impl Operator {
    /// An operator without stores that keeps the key; `word` is its name in the DSL.
    pub(in crate::dsl) fn new(word: &'static str) -> Self {
        Self::of_kind(word, LogicalKind::Operator)
    }

    /// A node of another kind: a source or a sink.
    pub(in crate::dsl) fn of_kind(word: &'static str, kind: LogicalKind) -> Self {
        Self(LogicalNode::new(word, kind, Vec::new()))
    }

    /// Gets its records from these nodes.
    pub(in crate::dsl) fn of(mut self, parents: impl Into<Vec<LogicalId>>) -> Self {
        self.0.parents = parents.into();
        self
    }

    /// Has a user-defined name, for descriptions.
    pub(in crate::dsl) fn named(mut self, name: impl Into<String>) -> Self {
        self.0.name = Some(name.into());
        self
    }

    /// May change the keys of its records.
    pub(in crate::dsl) fn changes_key(mut self) -> Self {
        self.0.changes_key = true;
        self
    }

    /// Requires co-partitioned inputs.
    pub(in crate::dsl) fn joins_partitions(mut self) -> Self {
        self.0.joins_partitions = true;
        self
    }

    /// Brings a store, and uses it.
    pub(in crate::dsl) fn store(mut self, store: StoreSpec) -> Self {
        self.0.uses_stores.push(store.name.clone());
        self.0.stores.push(store);
        self
    }

    /// Uses a store that another node owns.
    pub(in crate::dsl) fn uses(mut self, store: impl Into<String>) -> Self {
        self.0.uses_stores.push(store.into());
        self
    }

    /// Later sends records that are up to `ms` milliseconds behind the time that has reached it.
    pub(in crate::dsl) fn holds_back_ms(mut self, ms: i64) -> Self {
        self.0.holds_back_ms = Some(ms);
        self
    }

    /// Sends what it is holding before each commit.
    pub(in crate::dsl) fn flushes(mut self) -> Self {
        self.0.calls.flushes = true;
        self
    }

    /// What is known about the rows before its changes.
    pub(in crate::dsl) fn old_rows(mut self, old_rows: OldRows) -> Self {
        self.0.old_rows = old_rows;
        self
    }

    /// Needs the old row with each change that it receives.
    pub(in crate::dsl) fn wants_old_rows(mut self) -> Self {
        self.0.wants_old_rows = true;
        self
    }

    /// Adds it; `build` makes the process of each task.
    pub(in crate::dsl) fn add<P: Process>(
        self,
        graph: &SharedGraph,
        build: impl Fn(&mut Wiring<'_>, NodeId) -> Result<P> + Send + Sync + 'static,
    ) -> LogicalId {
        graph.borrow_mut().add(self.into_node(build))
    }

    /// The node by itself, for the plan to choose.
    pub(in crate::dsl) fn into_node<P: Process>(
        mut self,
        build: impl Fn(&mut Wiring<'_>, NodeId) -> Result<P> + Send + Sync + 'static,
    ) -> LogicalNode {
        self.0.make = Some(Arc::new(move |wiring, id| {
            let process = build(wiring, id)?;
            wiring.add_process(id, process)
        }));
        self.0
    }

    /// Adds it; `make` stores its port in the wiring of each task.
    pub(in crate::dsl) fn make(
        mut self,
        graph: &SharedGraph,
        make: impl Fn(&mut Wiring<'_>, NodeId) -> Result<()> + Send + Sync + 'static,
    ) -> LogicalId {
        self.0.make = Some(Arc::new(make));
        graph.borrow_mut().add(self.0)
    }
}
