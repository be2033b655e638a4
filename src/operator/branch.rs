//! `split`: sends each record to the first branch that accepts it.

use std::sync::Arc;

use crate::base::{Record, Result};
use crate::task::{Context, Port, Push, Tick};

/// What a branch accepts.
pub type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// Sends each record to the port of the first predicate that holds; then to the default port, if
/// there is one; else drops it, which is what the user asked for and is not counted.
pub struct Branch<K, V> {
    branches: Vec<(Predicate<K, V>, Port<K, V>)>,
    default: Option<Port<K, V>>,
}

impl<K, V> Branch<K, V> {
    /// Branches in order of precedence, and where the rest goes.
    pub fn new(branches: Vec<(Predicate<K, V>, Port<K, V>)>, default: Option<Port<K, V>>) -> Self {
        Self { branches, default }
    }
}

impl<K, V> Push<K, V> for Branch<K, V> {
    fn push(&self, record: Record<K, V>, cx: &mut Context) -> Result<()> {
        for (accepts, port) in &self.branches {
            if accepts(&record.key, &record.value) {
                return port.push(record, cx);
            }
        }
        match &self.default {
            Some(port) => port.push(record, cx),
            None => Ok(()),
        }
    }

    fn tick(&self, tick: Tick, cx: &mut Context) -> Result<()> {
        let ports = self
            .branches
            .iter()
            .map(|(_, port)| port)
            .chain(&self.default);
        ports.into_iter().try_for_each(|port| port.tick(tick, cx))
    }
}
