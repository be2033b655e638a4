//! `split`: divides a stream into several; each record goes to the first branch that accepts it.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::Stream;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;
use crate::plan::LogicalId;
use crate::task::{Context, Port, Push, Tick};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Divides the stream into branches: each record goes to the first whose predicate holds.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// let mut split = depths.split();
    /// let deep = split.branch(|_, metres| *metres > 200);
    /// let shallow = split.default_branch();
    /// deep.to("deep");
    /// shallow.to("shallow");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn split(self) -> Split<K, V> {
        Split::new(self)
    }
}

/// The predicate of a branch.
type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// A stream being divided into branches, in order of precedence. Records that no branch accepts are
/// dropped, unless there is a default branch.
#[must_use = "a split does nothing without branches"]
pub struct Split<K, V> {
    stream: Stream<K, V>,
    node: LogicalId,
    predicates: Arc<Mutex<Vec<Predicate<K, V>>>>,
}

impl<K: 'static, V: 'static> Split<K, V> {
    fn new(stream: Stream<K, V>) -> Self {
        let predicates: Arc<Mutex<Vec<Predicate<K, V>>>> = Arc::default();
        let shared = predicates.clone();
        let operator = Operator::new("split").of([stream.id]);
        let node = operator.make(&stream.graph, move |wiring, id| {
            let predicates = shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let mut ports = wiring.ports::<K, V>(id)?.into_iter();
            // Exits were added in the order of their predicates; one more is the default branch.
            let branches = predicates.into_iter().zip(ports.by_ref()).collect();
            let default = ports.next();
            wiring.provide::<K, V>(id, Rc::new(Branch { branches, default }));
            Ok(())
        });
        Self {
            stream,
            node,
            predicates,
        }
    }

    /// A branch of the records for which `accepts` returns true and that no earlier branch took. Every
    /// branch takes its records, whether or not its stream is used.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// let mut split = depths.split();
    /// split.branch(|_, metres| *metres > 200).to("deep");
    /// split.branch(|_, metres| *metres > 0).to("shallow");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn branch(
        &mut self,
        accepts: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> Stream<K, V> {
        let mut predicates = self
            .predicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        predicates.push(Arc::new(accepts));
        drop(predicates);
        self.exit()
    }

    /// The branch of all other records.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// let mut split = depths.split();
    /// split.branch(|_, metres| *metres > 200).to("deep");
    /// split.default_branch().to("rest");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn default_branch(self) -> Stream<K, V> {
        self.exit()
    }

    fn exit(&self) -> Stream<K, V> {
        let operator = Operator::new("branch").of([self.node]);
        let id = operator.add(&self.stream.graph, |_, _| Ok(Pass::<K, V>::default()));
        Stream::new(self.stream.graph.clone(), id)
    }
}

/// Sends each record to the port of the first predicate that holds; otherwise to the default port, if
/// there is one; otherwise drops it, which is what the user asked for and is not counted.
struct Branch<K, V> {
    branches: Vec<(Predicate<K, V>, Port<K, V>)>,
    default: Option<Port<K, V>>,
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
