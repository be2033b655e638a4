//! The start of a topology.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::Result;
use crate::plan::{Graph, lower};
use crate::topology::Topology;

pub(super) type SharedGraph = Rc<RefCell<Graph>>;

/// Collects streams and tables into a topology.
///
/// ```
/// use marea::prelude::*;
/// let builder = StreamBuilder::new();
/// builder
///     .stream::<String, String>("readings")
///     .filter(|_sensor, reading| !reading.is_empty())
///     .to("valid");
/// println!("{}", builder.build()?.describe());
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Default)]
pub struct StreamBuilder {
    pub(super) graph: SharedGraph,
}

impl StreamBuilder {
    /// A builder without any stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Validates the topology and divides it into tasks.
    ///
    /// # Errors
    /// `Invalid` with a message that names the node and the remedy.
    pub fn build(self) -> Result<Topology> {
        lower(self.graph.take())
    }
}
