//! Builds the graph of a task: every edge is typed here, once, and never checked again.

use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;

use super::port::{Called, CalledNode, Continuing, Node};
use super::sink_time::ClockedSink;
use super::time_bound::{Hold, Term};
use super::{
    Copier, Edges, Effects, ErrorPolicies, ExpiredPuts, HoldId, NodeId, NodeKind, Outlets,
    OutputId, Policy, Port, Process, SinkTime, Source, TaskSpec, TimeBound, TopicName, Wiring,
};
use crate::base::{Error, Record, Result};
use crate::state::{GlobalRows, KeyValueStore, StoredTime, TaskState, WindowStore};

/// The result of wiring: the heads of the graph, and what its nodes hold back.
pub(super) struct Wired {
    pub(super) sources: HashMap<NodeId, Rc<dyn Source>>,
    pub(super) holds: Vec<Hold>,
    pub(super) sinks: Vec<ClockedSink>,
    /// Parents before their children.
    pub(super) called: Vec<CalledNode>,
}

impl<'a> Wiring<'a> {
    fn new(spec: &'a TaskSpec, state: &'a TaskState, effects: &'a Effects) -> Self {
        let holds_back = |id: &NodeId| spec.nodes[id.0].holds_back_ms;
        let holding = spec.members.iter().copied();
        Self {
            spec,
            state,
            effects,
            ports: HashMap::new(),
            sources: HashMap::new(),
            holding: holding.filter(|id| holds_back(id).is_some()).collect(),
            called: Vec::new(),
            continues: false,
        }
    }

    /// Opens a store by its name, as [`Wiring::typed_store`], outside of any node.
    pub(super) fn open_store(
        spec: &'a TaskSpec,
        state: &'a TaskState,
        effects: &'a Effects,
        name: &str,
    ) -> Result<Box<dyn Any>> {
        Self::new(spec, state, effects).typed_store(name, &ExpiredPuts::default())
    }

    /// Wires all nodes of a task and returns its sources.
    pub(super) fn wire(
        spec: &'a TaskSpec,
        state: &'a TaskState,
        effects: &'a Effects,
        policies: ErrorPolicies,
    ) -> Result<Wired> {
        let holds_back = |id: &NodeId| spec.nodes[id.0].holds_back_ms;
        let mut wiring = Self::new(spec, state, effects);
        wiring.continues = policies.process == Policy::Continue;
        for id in spec.members.iter().rev() {
            let make = spec.nodes[id.0].make.clone();
            make(&mut wiring, *id)?;
        }
        let holds = wiring.holding.iter().filter_map(holds_back).map(Hold::new);
        let mut sinks = Vec::new();
        for id in &spec.members {
            if let NodeKind::Sink { topic } = &spec.nodes[id.0].kind
                && let output = wiring.output(topic)?
                && let Some((time, bound)) = wiring.sink_time(*id, output)
            {
                sinks.push(ClockedSink {
                    output,
                    time,
                    bound,
                    silent: false,
                });
            }
        }
        Ok(Wired {
            holds: holds.collect(),
            sinks,
            sources: wiring.sources,
            called: wiring.called.into_iter().rev().collect(),
        })
    }

    /// The edges from a node to its children, which are already wired.
    ///
    /// # Errors
    /// `Internal` if a child's type differs or a copier is missing: a bug in the DSL.
    pub fn edges<K: 'static, V: 'static>(&self, id: NodeId) -> Result<Edges<K, V>> {
        let mut ports = self.ports::<K, V>(id)?;
        if ports.len() > 1 {
            let copy = self.copy::<K, V>(id);
            let copy = copy.ok_or_else(|| self.defect(id, "two children, and no way to copy"))?;
            return Ok(Edges::Many { ports, copy });
        }
        Ok(ports.pop().map_or(Edges::None, Edges::One))
    }

    fn copy<K: 'static, V: 'static>(
        &self,
        id: NodeId,
    ) -> Option<fn(&Record<K, V>) -> Record<K, V>> {
        let node = &self.spec.nodes[id.0];
        node.copier.as_ref().and_then(as_copy::<K, V>)
    }

    /// The children of a node by name, for a node that selects among them: a child's name is that of its
    /// node, or else of the topic that it writes.
    ///
    /// # Errors
    /// `Internal` if a child's type differs: a bug in the DSL.
    pub fn outlets<K: 'static, V: 'static>(&self, id: NodeId) -> Result<Outlets<K, V>> {
        let node = &self.spec.nodes[id.0];
        let name = |child: &NodeId| {
            let child = &self.spec.nodes[child.0];
            child.name.clone().or_else(|| match &child.kind {
                NodeKind::Sink { topic } => Some(topic.to_string()),
                _ => None,
            })
        };
        let names: Vec<_> = node.children.iter().map(name).collect();
        let ports = self.ports::<K, V>(id)?;
        Ok(Outlets::new(names.into_iter().zip(ports), self.copy(id)))
    }

    /// Whether a node must send the row before each change along with it, because another node needs it.
    pub fn sends_old_rows(&self, id: NodeId) -> bool {
        self.spec.nodes[id.0].sends_old_rows
    }

    /// The rows of a global store, if it is one.
    pub fn global_rows(&self, name: &str) -> Option<GlobalRows> {
        self.spec.globals.get(name)
    }

    /// A typed store of the task, to be downcast; puts that it refuses are counted in `expired`.
    ///
    /// # Errors
    /// `Invalid` if it was declared without types.
    pub fn typed_store(&self, name: &str, expired: &ExpiredPuts) -> Result<Box<dyn Any>> {
        let open = self.spec.typed_stores.get(name).ok_or_else(|| {
            Error::invalid(format!(
                "no store named {name:?} can be opened; those that can are added with `StreamBuilder::add_store`, or \
                 belong to a table or an aggregation"
            ))
        })?;
        open(self, expired)
    }

    /// Adds the port of a node for its parents.
    pub fn provide<K: 'static, V: 'static>(&mut self, id: NodeId, port: Port<K, V>) {
        let port: Port<K, V> = match self.continues {
            true => Rc::new(Continuing(port)),
            false => port,
        };
        self.ports.insert(id, Box::new(port));
    }

    /// Inserts a process between its parents and its children.
    ///
    /// # Errors
    /// As [`Wiring::edges`].
    pub fn add_process<P: Process>(&mut self, id: NodeId, process: P) -> Result<()> {
        let out = self.edges::<P::KeyOut, P::ValueOut>(id)?;
        self.add_node(id, process, out);
        Ok(())
    }

    /// Inserts a process between its parents and its children that has its [`Outlets`] and selects among
    /// them: it has no edges of its own.
    pub fn add_choosing_process<P: Process>(&mut self, id: NodeId, process: P) {
        self.add_node(id, process, Edges::None);
    }

    fn add_node<P: Process>(&mut self, id: NodeId, process: P, out: Edges<P::KeyOut, P::ValueOut>) {
        let node = Rc::new(Node { id, process, out });
        if self.spec.nodes[id.0].calls.any() {
            let node = Rc::clone(&node) as Rc<dyn Called>;
            self.called.push(CalledNode { id, node });
        }
        let port: Port<P::KeyIn, P::ValueIn> = node;
        self.provide(id, port);
    }

    /// Adds the head of a graph for the task.
    pub fn add_source(&mut self, id: NodeId, source: Rc<dyn Source>) {
        self.sources.insert(id, source);
    }

    /// A store of the task, as the handle of its kind.
    ///
    /// # Errors
    /// `Internal` if the task has none of that name, or its kind has another handle.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S> {
        self.state.store(name)
    }

    /// A key-value store of the task.
    ///
    /// # Errors
    /// `Internal` if the task has none of that name.
    pub fn key_value(&self, name: &str) -> Result<KeyValueStore> {
        self.state.key_value(name)
    }

    /// A window store of the task.
    ///
    /// # Errors
    /// `Internal` if the task has none of that name.
    pub fn window(&self, name: &str) -> Result<WindowStore> {
        self.state.window(name)
    }

    /// A time that is stored with the state, by name: `NO_TIMESTAMP` at first.
    pub fn time(&self, name: &str) -> StoredTime {
        self.state.time(name)
    }

    /// An output topic of the task.
    ///
    /// # Errors
    /// `Internal` if the task does not write it.
    pub fn output(&self, topic: &TopicName) -> Result<OutputId> {
        let position = self
            .spec
            .outputs
            .iter()
            .position(|output| output.name == *topic);
        let found = position.map(OutputId);
        found.ok_or_else(|| Error::internal(format!("topic {topic} is no output of the task")))
    }

    /// The clock of an output topic that a sink writes, if its readers need one, and what determines it.
    pub fn sink_time(&self, id: NodeId, output: OutputId) -> Option<(SinkTime, TimeBound)> {
        let spec = self.effects.output(output);
        spec.origins?;
        Some((SinkTime::of(self.state, &spec.topic), self.bound(id)))
    }

    /// The number under which a node reports what it holds back.
    ///
    /// # Errors
    /// `Internal` if the node was not declared as one that does: a bug in the DSL.
    pub fn hold(&self, id: NodeId) -> Result<HoldId> {
        let found = self.holding.iter().position(|holding| *holding == id);
        let found = found.map(HoldId);
        found.ok_or_else(|| self.defect(id, "it holds records back and does not say so"))
    }

    /// The numbers under which all nodes that use a store report what they hold back: any of them may
    /// release what waits in it.
    pub fn holds_of_store(&self, store: &str) -> Vec<HoldId> {
        let uses = |id: &NodeId| {
            self.spec.nodes[id.0]
                .stores
                .iter()
                .any(|used| used == store)
        };
        let holding = self.holding.iter().enumerate();
        let users = holding.filter(|(_, id)| uses(id));
        users.map(|(position, _)| HoldId(position)).collect()
    }

    /// The ports of a node's children, in order, for a node that selects among them.
    ///
    /// # Errors
    /// `Internal` if a child's type differs: a bug in the DSL.
    pub fn ports<K: 'static, V: 'static>(&self, id: NodeId) -> Result<Vec<Port<K, V>>> {
        let node = &self.spec.nodes[id.0];
        let mut ports = Vec::with_capacity(node.children.len());
        for child in &node.children {
            let port = self
                .ports
                .get(child)
                .and_then(|port| port.downcast_ref::<Port<K, V>>());
            let port = port.ok_or_else(|| self.defect(id, "a child takes records of another type"));
            ports.push(port?.clone());
        }
        Ok(ports)
    }

    /// The task's own partition.
    pub fn partition(&self) -> u32 {
        self.spec.partition
    }

    /// What determines the time at a node: the inputs that reach it, and what is held on the way.
    pub fn bound(&self, id: NodeId) -> TimeBound {
        self.bound_of(&[id])
    }

    /// What determines the time of stores: everything that reaches a node which uses one of them.
    pub fn bound_of_stores(&self, stores: &[&str]) -> TimeBound {
        let uses = |id: &NodeId| {
            let used = &self.spec.nodes[id.0].stores;
            used.iter().any(|store| stores.contains(&store.as_str()))
        };
        let users = self.spec.members.iter().copied();
        self.bound_of(&users.filter(uses).collect::<Vec<_>>())
    }

    fn bound_of(&self, nodes: &[NodeId]) -> TimeBound {
        let mut bound = TimeBound::default();
        let mut open = nodes.to_vec();
        let mut seen = vec![false; self.spec.nodes.len()];
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id.0], true) {
                continue;
            }
            for (position, input) in self.spec.inputs.iter().enumerate() {
                if input.source == id {
                    bound.several_origins |= input.origins.is_some_and(|origins| origins > 1);
                    bound.terms.push(Term::Input(position));
                }
            }
            for parent in &self.spec.nodes[id.0].parents {
                match self.holding.iter().position(|holding| holding == parent) {
                    Some(_) if std::mem::replace(&mut seen[parent.0], true) => {}
                    Some(hold) => {
                        let upstream = self.bound(*parent);
                        bound.several_origins |= upstream.several_origins;
                        let hold = HoldId(hold);
                        bound.terms.push(Term::Held { hold, upstream });
                    }
                    None => open.push(*parent),
                }
            }
        }
        bound
    }

    fn defect(&self, id: NodeId, what: &str) -> Error {
        let node = &self.spec.nodes[id.0];
        Error::internal(format!("node {} ({}): {what}", id.0, node.operator))
    }
}

fn as_copy<K: 'static, V: 'static>(copier: &Copier) -> Option<fn(&Record<K, V>) -> Record<K, V>> {
    copier
        .downcast_ref::<fn(&Record<K, V>) -> Record<K, V>>()
        .copied()
}
