//! The global stores of a driver: a separate task, which takes each record at once.

use std::sync::Arc;

use crate::base::{Result, TaskId};
use crate::log::Fetched;
use crate::state::{GlobalBackend, Identity, TaskState};
use crate::task::{Drops, ErrorPolicies, GlobalStores, Task};
use crate::topology::{Partitions, Topology};

pub(super) struct Globals {
    pub(super) stores: GlobalStores,
    task: Option<Task>,
}

impl Globals {
    pub(super) fn of(
        topology: &Topology,
        identity: &Identity,
        policies: ErrorPolicies,
    ) -> Result<Self> {
        let one = Partitions::default();
        let Some(spec) = topology.global_spec(&identity.application, &one) else {
            let stores = GlobalStores::default();
            return Ok(Self { stores, task: None });
        };
        let names = spec.stores.iter().map(|store| store.name.clone());
        let stores = GlobalStores::new(names);
        let id = TaskId::new("global", 0);
        let backend = GlobalBackend::in_memory(stores.of(&spec.stores)?);
        let state = TaskState::open(&id, &spec.stores, Box::new(backend), identity)?;
        let task = Task::new(id, Arc::new(spec), state, policies)?;
        let task = Some(task);
        Ok(Self { stores, task })
    }

    pub(super) fn state(&self) -> Option<&TaskState> {
        self.task.as_ref().map(|task| &task.state)
    }

    pub(super) fn drops(&self) -> Option<&Drops> {
        self.task.as_ref().map(Task::drops)
    }

    pub(super) fn reads(&self, topic: &str) -> bool {
        let task = self.task.as_ref();
        task.is_some_and(|task| {
            task.spec()
                .inputs
                .iter()
                .any(|input| &*input.topic == topic)
        })
    }

    /// Takes records, all of them before any other task takes any.
    pub(super) fn fill(&mut self, fetched: &Fetched, wall_ms: i64) -> Result<()> {
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        task.inputs.add(fetched)?;
        let places: Vec<_> = task
            .inputs
            .progress()
            .map(|input| input.partition)
            .collect();
        for place in places {
            // Nothing here waits for another partition.
            task.inputs.set_end(&place, 0, 0)?;
        }
        task.fill(wall_ms)
    }
}
