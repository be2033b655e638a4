//! `split`: one stream into several.

use std::sync::{Arc, Mutex, PoisonError};

use super::Stream;
use crate::operator::{Branch, Pass, Predicate};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};

/// A stream being cut into branches, in order of precedence. Records that no branch accepts are
/// dropped, unless there is a default branch.
#[must_use = "a split does nothing without branches"]
pub struct Split<K, V> {
    stream: Stream<K, V>,
    node: LogicalId,
    predicates: Arc<Mutex<Vec<Predicate<K, V>>>>,
}

impl<K: 'static, V: 'static> Split<K, V> {
    pub(super) fn new(stream: Stream<K, V>) -> Self {
        let predicates: Arc<Mutex<Vec<Predicate<K, V>>>> = Arc::default();
        let mut node = LogicalNode::new("split", LogicalKind::Operator, vec![stream.id]);
        let shared = predicates.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let predicates = shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let mut ports = wiring.ports::<K, V>(id)?.into_iter();
            // Exits were added in the order of their predicates; one more is the default branch.
            let branches = predicates.into_iter().zip(ports.by_ref()).collect();
            let branch = Branch::new(branches, ports.next());
            wiring.provide::<K, V>(id, std::rc::Rc::new(branch));
            Ok(())
        }));
        let node = stream.graph.borrow_mut().add(node);
        Self {
            stream,
            node,
            predicates,
        }
    }

    /// A branch of the records for which `accepts` holds and that no earlier branch took. Every
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
        let mut node = LogicalNode::new("branch", LogicalKind::Operator, vec![self.node]);
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, Pass::<K, V>::default())
        }));
        let id = self.stream.graph.borrow_mut().add(node);
        Stream::new(self.stream.graph.clone(), id)
    }
}
