//! A join by a foreign key, assembled by hand: requests go to the tasks of the right side, answers come back.
//!
//! ```text
//!  left -> delay -> ask --requests--> subscribe --answers (back)--> join -> out
//!                                     right -> tell --^               \-> last -> final
//!  delay, join -> both
//! ```
//!
//! A left row is `<key of the right row>:<text>`. Rows of keys that begin with `late` wait for the end of the left
//! input; `final` gets the last result of each key, once, when all results have arrived; `both` gets the rows and
//! the results.

use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use marea::Result;
use marea::base::Record;
use marea::codec::{Codec, SharedCodec, Utf8};
use marea::dsl::ends::{NullKeys, Sink, StreamSource};
use marea::plan::{Graph, LogicalId, LogicalKind, LogicalNode, Optimizations, Repartition, lower};
use marea::state::{Direction, KeyValueStore, StoreKind, StoreSpec};
use marea::task::{
    Context, DropReason, Edges, HoldId, Process, Tick, TimeBound, TopicName, Wiring,
};
use marea::topology::{Idle, Topology};

type Text = Record<String, String>;
type Out = Edges<String, String>;

fn utf8() -> SharedCodec<String> {
    Arc::new(Utf8)
}

/// A store of texts.
#[derive(Clone)]
struct Rows(KeyValueStore);

impl Rows {
    fn get(&self, key: &str) -> Result<Option<String>> {
        let text = |row: Option<&[u8]>| row.map(|row| String::from_utf8_lossy(row).into_owned());
        self.0.get(key.as_bytes(), text)
    }

    fn put(&self, key: &str, row: Option<&str>) -> Result<()> {
        self.0.put(key.as_bytes(), row.map(str::as_bytes))
    }

    fn all(&self) -> Result<Vec<(String, String)>> {
        let mut rows = self
            .0
            .range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
        let mut found = Vec::new();
        while let Some((key, row)) = rows.next()? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            found.push((text(key), text(row)));
        }
        Ok(found)
    }
}

/// What a process has of its task.
struct Own {
    stores: Vec<Rows>,
    bound: TimeBound,
    /// Where it registers the rows it holds back, which begin with their times.
    hold: Option<HoldId>,
    /// Where it notes the furthest time that was promised to it.
    reached: Option<Arc<AtomicI64>>,
}

impl Own {
    /// Reports the oldest row that it holds.
    fn hold(&self, cx: &mut Context) -> Result<()> {
        if let Some(reached) = &self.reached {
            let floor_ms = cx.floor_ms(&self.bound).min(i64::MAX - 1);
            reached.fetch_max(floor_ms, Ordering::SeqCst);
        }
        let Some(hold) = self.hold else {
            return Ok(());
        };
        let rows = self.stores[0].all()?;
        let times = rows.iter().filter_map(|(_, row)| row.split_once('|'));
        let oldest_ms = times.filter_map(|(time, _)| time.parse().ok()).min();
        cx.set_held(hold, oldest_ms.unwrap_or(i64::MAX));
        Ok(())
    }
}

/// A process made of a closure over its stores, and one for the end of its inputs.
struct Does<F, E> {
    own: Own,
    record: F,
    end: E,
}

impl<F, E> Process for Does<F, E>
where
    F: Fn(&Own, Text, &Out, &mut Context) -> Result<()> + 'static,
    E: Fn(&[Rows], &Out, &mut Context) -> Result<()> + 'static,
{
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(&self, record: Text, out: &Out, cx: &mut Context) -> Result<()> {
        (self.record)(&self.own, record, out, cx)?;
        self.own.hold(cx)
    }

    fn tick(&self, tick: Tick, out: &Out, cx: &mut Context) -> Result<()> {
        if tick == Tick::Ended {
            (self.end)(&self.own.stores, out, cx)?;
        }
        self.own.hold(cx)?;
        out.tick(tick, cx)
    }
}

fn nothing(_: &[Rows], _: &Out, _: &mut Context) -> Result<()> {
    Ok(())
}

struct Builder(Graph, Arc<AtomicI64>);

impl Builder {
    fn source(&mut self, topic: &str) -> LogicalId {
        let kind = LogicalKind::Source {
            topics: vec![topic.to_owned()],
            idle: Idle::Default,
        };
        self.read(kind)
    }

    fn read(&mut self, kind: LogicalKind) -> LogicalId {
        let mut node = LogicalNode::new("source", kind, Vec::new());
        node.make = Some(Arc::new(make_source));
        self.0.add(node)
    }

    fn write(&mut self, kind: LogicalKind, parents: Vec<LogicalId>, topic: TopicName) {
        let mut node = LogicalNode::new("to", kind, parents);
        node.make = Some(Arc::new(move |wiring, id| make_sink(wiring, id, &topic)));
        self.0.add(node);
    }

    fn to(&mut self, parent: LogicalId, topic: &str) {
        let name = TopicName::External(topic.to_owned());
        let topic = topic.to_owned();
        self.write(LogicalKind::Sink { topic }, vec![parent], name);
    }

    fn repartition(&mut self, parent: LogicalId, name: &str) -> LogicalId {
        let repartition = Repartition {
            name: name.to_owned(),
            partitions: None,
            forced: true,
            codecs: (Utf8.name(), Utf8.name()),
            keeps_null_keys: true,
            make_sink: Arc::new(|repartition| {
                let topic = TopicName::Repartition(repartition.name.clone());
                Arc::new(move |wiring, id| make_sink(wiring, id, &topic))
            }),
            make_source: Arc::new(make_source),
        };
        let kind = LogicalKind::Repartition(repartition);
        let node = LogicalNode::new("repartition", kind, vec![parent]);
        self.0.add(node)
    }

    /// Adds a process over stores, those of which that are `new` it brings.
    fn node<F, E>(
        &mut self,
        operator: &'static str,
        parents: Vec<LogicalId>,
        (stores, new): (&'static [&'static str], &'static [&'static str]),
        record: F,
        end: E,
    ) -> LogicalId
    where
        F: Fn(&Own, Text, &Out, &mut Context) -> Result<()> + Clone + Send + Sync + 'static,
        E: Fn(&[Rows], &Out, &mut Context) -> Result<()> + Clone + Send + Sync + 'static,
    {
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, parents);
        node.uses_stores = stores.iter().map(|name| (*name).to_owned()).collect();
        node.stores = new.iter().map(|name| spec(name)).collect();
        let holds = operator == "delay";
        let reached = (operator == "last").then(|| Arc::clone(&self.1));
        node.holds_back_ms = holds.then_some(0);
        node.copier = Some(Arc::new(
            Text::clone as fn(&Record<String, String>) -> Record<String, String>,
        ));
        node.make = Some(Arc::new(move |wiring, id| {
            let open = |name: &&str| Ok(Rows(wiring.key_value(name)?));
            let own = Own {
                stores: stores.iter().map(open).collect::<Result<_>>()?,
                bound: wiring.bound(id),
                hold: holds.then(|| wiring.hold(id)).transpose()?,
                reached: reached.clone(),
            };
            let (record, end) = (record.clone(), end.clone());
            let does = Does { own, record, end };
            wiring.add_process(id, does)
        }));
        self.0.add(node)
    }
}

fn spec(name: &str) -> StoreSpec {
    let codecs = ("text".to_owned(), "text".to_owned());
    StoreSpec::new(name, StoreKind::key_value(), codecs)
}

fn make_source(wiring: &mut Wiring<'_>, id: marea::task::NodeId) -> Result<()> {
    let out = wiring.edges::<String, String>(id)?;
    wiring.add_source(id, Rc::new(StreamSource::new(utf8(), utf8(), out)));
    Ok(())
}

fn make_sink(wiring: &mut Wiring<'_>, id: marea::task::NodeId, topic: &TopicName) -> Result<()> {
    let output = wiring.output(topic)?;
    let time = wiring.sink_time(id, output);
    let sink = Sink::new(utf8(), utf8(), output, NullKeys::Keep, time);
    wiring.provide::<String, String>(id, Rc::new(sink));
    Ok(())
}

/// A record with that time.
fn text(key: &str, value: String, timestamp_ms: i64) -> Text {
    Record::new(key.to_owned(), value, timestamp_ms)
}

/// The join. `reached` gets the furthest time that was promised downstream of it.
pub fn topology(reached: &Arc<AtomicI64>) -> Result<Topology> {
    let mut b = Builder(Graph::default(), Arc::clone(reached));
    let left = b.source("left");
    let right = b.source("right");
    let answers = b.read(LogicalKind::FeedbackSource {
        name: "answers".to_owned(),
    });

    let delayed = b.node(
        "delay",
        vec![left],
        (&["late"], &["late"]),
        |own, record, out, cx| match record.key.starts_with("late") {
            true => {
                let row = format!("{}|{}", record.timestamp_ms, record.value);
                own.stores[0].put(&record.key, Some(&row))
            }
            false => out.push(record, cx),
        },
        |stores, out, cx| {
            for (key, row) in stores[0].all()? {
                stores[0].put(&key, None)?;
                let (time, value) = row.split_once('|').expect("as it was put");
                let time_ms = time.parse().expect("a time");
                out.push(text(&key, value.to_owned(), time_ms), cx)?;
            }
            Ok(())
        },
    );
    let asked = b.node(
        "ask",
        vec![delayed],
        (&["lefts"], &["lefts"]),
        |own, record, out, cx| {
            own.stores[0].put(&record.key, Some(&record.value))?;
            let (wanted, _) = record.value.split_once(':').expect("a right key");
            out.push(text(wanted, record.key.clone(), record.timestamp_ms), cx)
        },
        nothing,
    );
    let requests = b.repartition(asked, "requests");
    let subscribed = b.node(
        "subscribe",
        vec![requests],
        (&["rights", "subscriptions"], &["rights", "subscriptions"]),
        |own, record, out, cx| {
            let Record { key, value, .. } = &record;
            own.stores[1].put(&format!("{key}/{value}"), Some(""))?;
            let found = own.stores[0].get(key)?.unwrap_or_default();
            out.push(
                text(value, format!("{key}:{found}"), record.timestamp_ms),
                cx,
            )
        },
        nothing,
    );
    let told = b.node(
        "tell",
        vec![right],
        (&["rights", "subscriptions"], &[]),
        |own, record, out, cx| {
            own.stores[0].put(&record.key, Some(&record.value))?;
            let prefix = format!("{}/", record.key);
            for (subscription, _) in own.stores[1].all()? {
                if let Some(key) = subscription.strip_prefix(&prefix) {
                    let answer = format!("{}:{}", record.key, record.value);
                    out.push(text(key, answer, record.timestamp_ms), cx)?;
                }
            }
            Ok(())
        },
        nothing,
    );
    let back = LogicalKind::FeedbackSink {
        name: "answers".to_owned(),
    };
    let topic = TopicName::Repartition("answers".to_owned());
    b.write(back, vec![subscribed, told], topic);
    let joined = b.node(
        "join",
        vec![answers],
        (&["lefts"], &[]),
        |own, record, out, cx| {
            let left = own.stores[0].get(&record.key)?.unwrap_or_default();
            let wants = left.split_once(':').map(|(wanted, _)| wanted);
            let (answers, right) = record.value.split_once(':').expect("an answer");
            // The row wants another one by now.
            if wants != Some(answers) {
                return Ok(());
            }
            let result = format!("{left}+{right}");
            out.push(text(&record.key, result, record.timestamp_ms), cx)
        },
        nothing,
    );
    b.to(joined, "out");
    // The end of the left input arrives here before that of the answers: it is not the end yet.
    let both = b.node(
        "both",
        vec![delayed, joined],
        (&["tails"], &["tails"]),
        |own, record, _out, _cx| own.stores[0].put(&record.key, Some(&record.value)),
        |stores, out, cx| {
            for (key, row) in stores[0].all()? {
                stores[0].put(&key, None)?;
                out.push(text(&key, row, 0), cx)?;
            }
            Ok(())
        },
    );
    b.to(both, "both");
    let again = b.repartition(joined, "results");
    let last = b.node(
        "last",
        vec![again],
        (&["lasts"], &["lasts"]),
        |own, record, _out, cx| {
            let floor_ms = cx.floor_ms(&own.bound);
            // With a single origin, records older than what was seen are late: there is nothing to promise.
            let promised = own.bound.has_several_origins() && floor_ms < i64::MAX;
            if promised && record.timestamp_ms < floor_ms {
                // It was promised that this would not come any more.
                cx.drop_record(DropReason::Late);
            }
            own.stores[0].put(&record.key, Some(&record.value))
        },
        |stores, out, cx| {
            for (key, row) in stores[0].all()? {
                stores[0].put(&key, None)?;
                out.push(text(&key, row, 0), cx)?;
            }
            Ok(())
        },
    );
    b.to(last, "final");
    lower(b.0, Optimizations::none())
}

/// The expected content of `final`: for each left row, the text of the last right row that it wants.
#[allow(dead_code, reason = "the simulation compares by itself")]
pub fn expected(lefts: &[(&str, &str)], rights: &[(&str, &str)]) -> Vec<(String, String)> {
    let last = |rows: &[(&str, &str)]| {
        let rows = rows.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        rows.collect::<std::collections::BTreeMap<String, String>>()
    };
    let (lefts, rights) = (last(lefts), last(rights));
    let join = |(key, left): (String, String)| {
        let (wanted, _) = left.split_once(':').expect("a right key");
        let right = rights.get(wanted).cloned().unwrap_or_default();
        (key, format!("{left}+{right}"))
    };
    lefts.into_iter().map(join).collect()
}
