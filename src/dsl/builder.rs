//! The start of a topology.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::Result;
use crate::plan::{Graph, Optimizations, lower};
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
        self.build_with(Optimizations::none())
    }

    /// As [`StreamBuilder::build`], with optimizations that change which internal topics and stores exist.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// let sightings = builder.stream::<String, String>("sightings");
    /// sightings
    ///     .clone()
    ///     .join(
    ///         sightings,
    ///         |_place, one, other| format!("{one} near {other}"),
    ///         JoinWindows::of(Duration::from_secs(10)),
    ///         "near",
    ///     )
    ///     .to("pairs");
    /// let topology = builder.build_with(Optimizations::none().single_store_self_joins())?;
    /// assert!(!topology.describe().contains("near-other-join-store"), "one store is enough");
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `build`; and `Invalid` if an optimization cannot be applied, with the names and the remedy.
    pub fn build_with(self, optimizations: Optimizations) -> Result<Topology> {
        lower(self.graph.take(), optimizations)
    }
}
