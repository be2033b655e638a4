//! Builds the graph of a task: every edge is typed here, once, and never again looked at.

use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;

use super::origins::SinkTime;
use super::port::Node;
use super::step::sink_time;
use super::{Copier, Edges, Effects, NodeId, OutputId, Port, Process, Source, TaskSpec, TopicName};
use crate::base::{Error, Record, Result};
use crate::state::{KeyValueStore, TaskState, TimeSlot, WindowStore};

/// The inputs whose origins hold an operator's time back; see
/// [`Context::floor_ms`](super::Context::floor_ms).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeBound(Vec<usize>);

impl TimeBound {
    /// Positions in the task's inputs.
    pub fn inputs(&self) -> &[usize] {
        &self.0
    }
}

/// What makers find and leave while a task is wired, children before parents: one downcast per edge
/// and task, none per record.
pub struct Wiring<'a> {
    spec: &'a TaskSpec,
    state: &'a TaskState,
    effects: &'a Effects,
    ports: HashMap<NodeId, Box<dyn Any>>,
    sources: HashMap<NodeId, Rc<dyn Source>>,
}

impl<'a> Wiring<'a> {
    /// Wires all nodes of a task and returns its sources.
    pub(super) fn wire(
        spec: &'a TaskSpec,
        state: &'a TaskState,
        effects: &'a Effects,
    ) -> Result<HashMap<NodeId, Rc<dyn Source>>> {
        let mut wiring = Self {
            spec,
            state,
            effects,
            ports: HashMap::new(),
            sources: HashMap::new(),
        };
        for id in spec.members.iter().rev() {
            let make = spec.nodes[id.0].make.clone();
            make(&mut wiring, *id)?;
        }
        Ok(wiring.sources)
    }

    /// The edges from a node to its children, which are wired already.
    ///
    /// # Errors
    /// `Internal` if a child's type differs or a copier is missing: a defect of the DSL.
    pub fn edges<K: 'static, V: 'static>(&self, id: NodeId) -> Result<Edges<K, V>> {
        let mut ports = self.ports::<K, V>(id)?;
        if ports.len() > 1 {
            let node = &self.spec.nodes[id.0];
            let copier = node.copier.as_ref().and_then(as_copy::<K, V>);
            let copy = copier.ok_or_else(|| self.defect(id, "two children, and no way to copy"))?;
            return Ok(Edges::Many { ports, copy });
        }
        Ok(ports.pop().map_or(Edges::None, Edges::One))
    }

    /// Leaves the port of a node for its parents.
    pub fn provide<K: 'static, V: 'static>(&mut self, id: NodeId, port: Port<K, V>) {
        self.ports.insert(id, Box::new(port));
    }

    /// Puts a process between its parents and its children.
    ///
    /// # Errors
    /// As [`Wiring::edges`].
    pub fn add_process<P: Process>(&mut self, id: NodeId, process: P) -> Result<()> {
        let out = self.edges::<P::KeyOut, P::ValueOut>(id)?;
        let port: Port<P::KeyIn, P::ValueIn> = Rc::new(Node { process, out });
        self.provide(id, port);
        Ok(())
    }

    /// Leaves the head of a graph for the task.
    pub fn add_source(&mut self, id: NodeId, source: Rc<dyn Source>) {
        self.sources.insert(id, source);
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

    /// A time that is kept with the state, by name: `NO_TIMESTAMP` at first.
    pub fn time(&self, name: &str) -> TimeSlot {
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

    /// The clock of an output topic that a sink writes, where its readers need one.
    pub fn sink_time(&self, id: NodeId, output: OutputId) -> Option<SinkTime> {
        let spec = self.effects.output(output);
        spec.origins?;
        let time = sink_time(self.state, spec);
        let bound = self.bound(id);
        if bound.inputs().is_empty() {
            return Some(time);
        }
        let largest = self.time(&format!("sent-largest/{}", spec.topic));
        Some(time.held_back_by(bound, largest))
    }

    /// The ports of a node's children, in order, for a node that chooses among them.
    ///
    /// # Errors
    /// `Internal` if a child's type differs.
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

    /// The inputs with several origins that reach a node.
    pub fn bound(&self, id: NodeId) -> TimeBound {
        self.bound_of(vec![id])
    }

    /// The inputs with several origins that reach a node which uses one of these stores: what the
    /// stores keep must wait for all of them.
    pub fn bound_of_stores(&self, stores: &[&str]) -> TimeBound {
        let uses = |id: &NodeId| {
            let used = &self.spec.nodes[id.0].stores;
            used.iter().any(|store| stores.contains(&store.as_str()))
        };
        let users = self.spec.members.iter().copied();
        self.bound_of(users.filter(uses).collect())
    }

    fn bound_of(&self, mut open: Vec<NodeId>) -> TimeBound {
        let mut sources = Vec::new();
        let mut seen = vec![false; self.spec.nodes.len()];
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id.0], true) {
                continue;
            }
            let node = &self.spec.nodes[id.0];
            if node.parents.is_empty() {
                sources.push(id);
            }
            open.extend(&node.parents);
        }
        let inputs = self.spec.inputs.iter().enumerate();
        let bound = inputs.filter(|(_, input)| {
            input.origins.is_some_and(|origins| origins > 1) && sources.contains(&input.source)
        });
        TimeBound(bound.map(|(position, _)| position).collect())
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
