//! A stream joined with itself.

use std::sync::Arc;

use super::repartition::repartition_node;
use super::{Grouped, JoinWindows, Stream};
use crate::operator::{JoinReach, NullKeys, SelfJoin};
use crate::plan::{LogicalKind, LogicalNode};
use crate::state::{Medium, StoreKind, StoreSpec, WindowRules};

impl<K: Clone + 'static, V: 'static> Stream<K, V> {
    /// Joins the stream with itself: each record meets those of its key that are close to it, both ways
    /// round, and itself. Kept in one store, `<name>-join-store`, where joining a clone needs two.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Grouped, JoinWindows, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sightings = builder.stream("sightings", Consumed::with(Utf8, Utf8));
    /// sightings
    ///     .join_self(
    ///         |_place, one, other| format!("{one} near {other}"),
    ///         JoinWindows::of(Duration::from_secs(10)),
    ///         Grouped::with("near", Utf8, Utf8),
    ///     )
    ///     .to("pairs", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_self<R: 'static>(
        self,
        join: impl Fn(&K, &V, &V) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        grouped: Grouped<K, V>,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let Grouped { name, key, value } = grouped;
        let (reach, retention_ms) = windows.reach().unwrap_or_else(|error| {
            graph.borrow_mut().report(error.context(&name));
            let nothing = JoinReach {
                before_ms: 0,
                after_ms: 0,
            };
            (nothing, 0)
        });
        let store = format!("{name}-join-store");
        let codecs = (key.clone(), value.clone());
        let node = repartition_node(self.id, name, codecs, NullKeys::Drop, false, None);
        let parent = graph.borrow_mut().add(node);
        let mut node = LogicalNode::new("join_self", LogicalKind::Operator, vec![parent]);
        node.stores.push(StoreSpec {
            name: store.clone(),
            kind: StoreKind::Window(WindowRules {
                window_size_ms: reach.before_ms.saturating_add(reach.after_ms),
                retention_ms,
                duplicates: true,
            }),
            medium: Medium::Persistent,
            timestamped: false,
            logged: true,
            codecs: (key.name(), value.name()),
        });
        node.uses_stores.push(store.clone());
        let join = Arc::new(join);
        node.make = Some(Arc::new(move |wiring, id| {
            let observed = wiring.time(&format!("operator/{store}"));
            let codecs = (key.clone(), value.clone());
            let rows = wiring.window(&store)?;
            let bound = wiring.bound(id);
            let process = SelfJoin::new(join.clone(), reach, rows, codecs, observed, bound);
            wiring.add_process::<SelfJoin<_, K, V, R>>(id, process)
        }));
        let id = graph.borrow_mut().add(node);
        Stream::new(graph, id)
    }
}
