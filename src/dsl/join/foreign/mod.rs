//! `join_foreign`, `left_join_foreign`: joins each row of a table with the row of another table that it refers
//! to.
//!
//! ```text
//!  left -> ask --<name>-subscriptions--> subscribe --<name>-responses (back)--> resolve -> result
//!                                        right -> tell --^
//! ```
//!
//! The left row sends a request to the task that has the right row, which remembers it and answers; when
//! the right row changes, all subscribers are told. An answer carries the hash of the left row that
//! asked, and is dropped if that row has changed since. Source: KIP-213.
//!
//! So each change of a left row must make sure that an answer to *it* arrives, or that no result of an
//! earlier row remains: `<name>-results` contains the keys that have one. In Kafka Streams a row that was
//! joined, deleted, and inserted again without a partner before the answer to its deletion keeps its
//! result for good; so does a row whose partner is deleted while the row changes.

mod answer;
mod ask;
mod hash;
mod layout;
mod resolve;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use answer::{Subscribe, Tell};
use ask::Ask;
use layout::{EncodedKey, Response, ResponseCodec, SubscriptionCodec};
use resolve::{Back, Resolve};

use super::rows::{InnerRows, JoinKind, JoinRows, LeftRows};
use crate::base::Error;
use crate::codec::{Bytes, Codec, OwnCodec, SharedCodec, shared};
use crate::dsl::Table;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition_node;
use crate::dsl::sink::NullKeys;
use crate::dsl::source::StreamSource;
use crate::plan::LogicalKind;
use crate::state::{RowForm, StoreKind, StoreSpec};
use crate::task::{Push, TopicName};

/// The names and codecs of a join by a foreign key.
pub struct ForeignJoined<V, W> {
    name: String,
    left: SharedCodec<V>,
    right: SharedCodec<W>,
}

impl<V: OwnCodec, W: OwnCodec> ForeignJoined<V, W> {
    /// With this name, and with the types' own codecs. A plain name does the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, V::codec(), W::codec())
    }
}

impl<V: 'static, W: 'static> ForeignJoined<V, W> {
    /// `name` names the topics, `<application>-<name>-subscriptions-repartition` and
    /// `<application>-<name>-responses-repartition`, and the stores `<name>-subscriptions` and, for an
    /// inner join, `<name>-results`. `left` encodes the rows of this table, to tell one from another;
    /// `right` encodes the rows of the other table for sending.
    pub fn with(name: impl Into<String>, left: impl Codec<V>, right: impl Codec<W>) -> Self {
        Self {
            name: name.into(),
            left: Arc::new(left),
            right: Arc::new(right),
        }
    }
}

impl<V: OwnCodec, W: OwnCodec> From<&str> for ForeignJoined<V, W> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<V: OwnCodec, W: OwnCodec> From<String> for ForeignJoined<V, W> {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

impl<K: 'static, V: 'static> Table<K, V> {
    /// Joins each row with the row of another table that it refers to: `key` returns the other row's key,
    /// or `None` if the row refers to none; it then has no result and is counted as dropped. The result
    /// has this table's keys; it changes with either row. Both tables must have stores; the result has
    /// one if [`materialized`](Table::materialized) follows. A change of a versioned table that is older than
    /// the newest row of its key takes no part, and is counted.
    ///
    /// ```
    /// use marea::prelude::*;
    ///
    /// let builder = StreamBuilder::new();
    /// // "<customer>:<goods>" by order
    /// let orders = builder.table::<String, String>("orders", "orders-rows");
    /// let customers = builder.table::<String, String>("customers", "customers-rows");
    /// orders
    ///     .join_foreign(
    ///         customers,
    ///         |_order, row| row.split_once(':').map(|(customer, _)| customer.to_owned()),
    ///         |_order, row, name| format!("{name} gets {row}"),
    ///         "customer",
    ///     )
    ///     .to_stream()
    ///     .present()
    ///     .to("deliveries");
    ///
    /// let mut driver = Driver::new(builder.build()?)?;
    /// let orders = driver.input_topic::<String, String>("orders");
    /// let customers = driver.input_topic::<String, String>("customers");
    /// orders.pipe(&mut driver, Record::new("o1".into(), "c7:salt".into(), 1))?;
    /// customers.pipe(&mut driver, Record::new("c7".into(), "Ada".into(), 2))?;
    /// let deliveries = driver.output_topic::<String, String>("deliveries");
    /// let found = deliveries.read(&mut driver)?;
    /// assert_eq!((&*found[0].key, &*found[0].value), ("o1", "Ada gets c7:salt"));
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// The result is complete when answers have arrived: until then it may miss the latest changes. Rows
    /// with equal bytes count as the same row, so the codec must encode equal rows identically.
    pub fn join_foreign<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static>(
        self,
        other: Table<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
        joined: impl Into<ForeignJoined<V, W>>,
    ) -> Table<K, R> {
        let join = InnerRows(Arc::new(join));
        self.foreign("table_join_foreign", other, key, join, joined.into())
    }

    /// As [`Table::join_foreign`]; a row that refers to none, or to one that does not exist, is joined
    /// with `None`: the result has all keys of this table.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let orders = builder.table::<String, String>("orders", "orders-rows");
    /// # let customers = builder.table::<String, String>("customers", "customers-rows");
    /// orders
    ///     .left_join_foreign(
    ///         customers,
    ///         |_order, customer| customer.clone(),
    ///         |order, _customer, name| format!("{order} for {name:?}"),
    ///         "customer",
    ///     )
    ///     .materialized("deliveries")
    ///     .to_stream()
    ///     .to("deliveries-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join_foreign<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static>(
        self,
        other: Table<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
        joined: impl Into<ForeignJoined<V, W>>,
    ) -> Table<K, R> {
        let join = LeftRows(Arc::new(join));
        self.foreign("table_left_join_foreign", other, key, join, joined.into())
    }

    fn foreign<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static, J>(
        self,
        word: &'static str,
        other: Table<L, W>,
        select: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: J,
        joined: ForeignJoined<V, W>,
    ) -> Table<K, R>
    where
        J: JoinRows<K, V, W, R>,
    {
        let ForeignJoined { name, left, right } = joined;
        let knows_old_rows = self.knows_old_rows();
        // Out-of-order changes take no part: results are computed from the newest rows.
        let newest_only = (self.history_ms().is_some(), other.history_ms().is_some());
        let left_view = self.view.filter(|_| knows_old_rows);
        let (graph, key, foreign) = (self.graph, self.key, other.key);
        let (Some(left_view), Some(right_view)) = (left_view, other.view) else {
            graph.borrow_mut().report(Error::invalid(format!(
                "join {name:?} needs tables with a store; make both tables with `StreamBuilder::table`, \
                 or put `materialized` before the join"
            )));
            return Table::new(graph, self.id, key);
        };
        let store = format!("{name}-subscriptions");
        let keys = (key.name(), Bytes.name());
        let results = StoreSpec::new(format!("{name}-results"), StoreKind::key_value(), keys);
        let results = (J::KIND == JoinKind::Inner).then_some(results);
        let out = results.as_ref().map(|spec| spec.name.clone());
        let topic = TopicName::Repartition(format!("{name}-responses"));

        let select = Arc::new(select);
        let (own_key, own_left, own_foreign) = (key.clone(), left.clone(), foreign.clone());
        let operator = Operator::new("foreign_ask").of([self.id]);
        let operator = operator.changes_key().wants_old_rows();
        let operator = results.into_iter().fold(operator, Operator::store);
        let own_out = out.clone();
        let asked = operator.add(&graph, move |wiring, _| {
            let results = own_out.as_ref().map(|store| wiring.key_value(store));
            Ok(Ask {
                select: select.clone(),
                key: own_key.clone(),
                row: own_left.clone(),
                foreign: own_foreign.clone(),
                results: results.transpose()?,
                newest_only: newest_only.0,
                types: PhantomData,
            })
        });
        let codecs = (
            shared(EncodedKey(foreign.clone())),
            shared(SubscriptionCodec),
        );
        let asking = repartition_node(asked, store.clone(), codecs, NullKeys::Keep, true, None);
        let asking = graph.borrow_mut().add(asking);

        let (right_stores, right_view) = right_view;
        let spec = StoreSpec {
            row: RowForm::Timestamped,
            ..StoreSpec::new(
                &*store,
                StoreKind::key_value(),
                (
                    format!("{}|{}", foreign.name(), key.name()),
                    SubscriptionCodec.name(),
                ),
            )
        };
        let operator = Operator::new("foreign_subscribe")
            .of([asking])
            .joins_partitions();
        let operator = right_stores
            .iter()
            .fold(operator.store(spec), Operator::uses);
        let (own_store, own_foreign, own_right) = (store.clone(), foreign.clone(), right.clone());
        let subscribed = operator.add(&graph, move |wiring, _| {
            Ok(Subscribe {
                subscriptions: wiring.key_value(&own_store)?,
                key: own_foreign.clone(),
                row: own_right.clone(),
                rows: right_view(wiring)?,
                scratch: RefCell::default(),
            })
        });
        let operator = Operator::new("foreign_tell").of([other.id]).uses(&*store);
        let own_right = right.clone();
        let told = operator.add(&graph, move |wiring, _| {
            Ok(Tell {
                subscriptions: wiring.key_value(&store)?,
                key: foreign.clone(),
                row: own_right.clone(),
                newest_only: newest_only.1,
                scratch: RefCell::default(),
            })
        });

        let back = LogicalKind::FeedbackSink {
            name: format!("{name}-responses"),
        };
        let own_key = key.clone();
        Operator::of_kind("foreign_answers", back)
            .of([subscribed, told])
            .make(&graph, move |wiring, id| {
                let output = wiring.output(&topic)?;
                let sink = Back {
                    key: own_key.clone(),
                    output,
                    time: wiring.sink_time(id, output),
                    response: RefCell::default(),
                };
                wiring.provide(id, Rc::new(sink) as Rc<dyn Push<Vec<u8>, Response>>);
                Ok(())
            });
        let answers = LogicalKind::FeedbackSource {
            name: format!("{name}-responses"),
        };
        let answered = Operator::of_kind("foreign_answered", answers).make(&graph, |wiring, id| {
            let out = wiring.edges::<Vec<u8>, Response>(id)?;
            let source = StreamSource::new(shared(Bytes), shared(ResponseCodec), out);
            wiring.add_source(id, Rc::new(source));
            Ok(())
        });

        let (left_stores, left_view) = left_view;
        let operator = Operator::new(word).of([answered]).named(name);
        let used = left_stores.iter().chain(&out);
        let operator = used.fold(operator, Operator::uses);
        let (join, out) = (Arc::new(join), out.clone());
        let own_key = key.clone();
        let id = operator.add(&graph, move |wiring, _| {
            let results = out.as_ref().map(|store| wiring.key_value(store));
            Ok(Resolve {
                results: results.transpose()?,
                join: join.clone(),
                key: own_key.clone(),
                left: left.clone(),
                right: right.clone(),
                rows: left_view(wiring)?,
                types: PhantomData,
            })
        });
        Table::new(graph, id, key)
    }
}
