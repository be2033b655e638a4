//! What a hop between two operators costs, by the way the operators are wired (ADR 0002).
//!
//! `cargo bench --bench spike_wiring` measures time; divide by the number of records and hops.
//! With `SPIKE_SHAPE=<name>` the program runs one shape a fixed number of times, with no harness
//! around it, so that `valgrind --tool=callgrind` can count instructions.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test or a bench fails by panicking"
)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, Throughput};
use marea::Result;
use marea::base::{Headers, Record};

type Key = u64;
type Short = Record<Key, [u64; 3]>;
type Long = Record<Key, [u64; 6]>;
const _: () = assert!(size_of::<Short>() == 48 && size_of::<Long>() == 72);

/// What a step carries along: here only a counter, so that nothing is optimised away.
#[derive(Default)]
struct Cx {
    forwarded: u64,
}

trait Push<K, V> {
    fn push(&self, record: Record<K, V>, cx: &mut Cx) -> Result<()>;
}

type Port<K, V> = Rc<dyn Push<K, V>>;

enum Edges<K, V> {
    None,
    One(Port<K, V>),
    Many {
        ports: Vec<Port<K, V>>,
        last: Port<K, V>,
        copy: fn(&Record<K, V>) -> Record<K, V>,
    },
}

impl<K, V> Edges<K, V> {
    #[inline]
    fn forward(&self, record: Record<K, V>, cx: &mut Cx) -> Result<()> {
        cx.forwarded += 1;
        match self {
            Self::None => Ok(()),
            Self::One(port) => port.push(record, cx),
            Self::Many { ports, last, copy } => {
                for port in ports {
                    port.push(copy(&record), cx)?;
                }
                last.push(record, cx)
            }
        }
    }
}

struct Out<'a, K, V> {
    edges: &'a Edges<K, V>,
    cx: &'a mut Cx,
}

trait Process {
    type KIn;
    type VIn;
    type KOut;
    type VOut;
    fn process(
        &mut self,
        record: Record<Self::KIn, Self::VIn>,
        out: &mut Out<'_, Self::KOut, Self::VOut>,
    ) -> Result<()>;
}

struct Node<P: Process> {
    process: RefCell<P>,
    edges: Edges<P::KOut, P::VOut>,
}

impl<P: Process> Push<P::KIn, P::VIn> for Node<P> {
    fn push(&self, record: Record<P::KIn, P::VIn>, cx: &mut Cx) -> Result<()> {
        let edges = &self.edges;
        let mut out = Out { edges, cx };
        self.process.borrow_mut().process(record, &mut out)
    }
}

/// A stateless operator as one closure: a fused chain is such a closure too.
struct Stateless<F, K, V, W> {
    apply: F,
    types: std::marker::PhantomData<fn(K, V) -> W>,
}

impl<F, K, V, W> Process for Stateless<F, K, V, W>
where
    F: Fn(Record<K, V>) -> Option<Record<K, W>>,
{
    type KIn = K;
    type VIn = V;
    type KOut = K;
    type VOut = W;

    fn process(&mut self, record: Record<K, V>, out: &mut Out<'_, K, W>) -> Result<()> {
        match (self.apply)(record) {
            Some(record) => out.edges.forward(record, out.cx),
            None => Ok(()),
        }
    }
}

fn stateless<K: 'static, V: 'static, W: 'static>(
    apply: impl Fn(Record<K, V>) -> Option<Record<K, W>> + 'static,
    edges: Edges<K, W>,
) -> Port<K, V> {
    let types = std::marker::PhantomData;
    let process = RefCell::new(Stateless { apply, types });
    Rc::new(Node { process, edges })
}

fn filter<K: 'static, V: 'static>(
    keep: impl Fn(&K, &V) -> bool + 'static,
    edges: Edges<K, V>,
) -> Port<K, V> {
    stateless(
        move |record: Record<K, V>| keep(&record.key, &record.value).then_some(record),
        edges,
    )
}

fn map<K: 'static, V: 'static>(
    convert: impl Fn(V) -> V + 'static,
    edges: Edges<K, V>,
) -> Port<K, V> {
    stateless(
        move |record: Record<K, V>| Some(mapped(record, &convert)),
        edges,
    )
}

fn mapped<K, V>(record: Record<K, V>, convert: impl Fn(V) -> V) -> Record<K, V> {
    Record {
        key: record.key,
        value: convert(record.value),
        timestamp_ms: record.timestamp_ms,
        headers: record.headers,
    }
}

/// Where the records arrive; they are handed back, so that a round allocates nothing.
struct Sink<K, V>(RefCell<Vec<Record<K, V>>>);

impl<K, V> Push<K, V> for Sink<K, V> {
    fn push(&self, record: Record<K, V>, _: &mut Cx) -> Result<()> {
        self.0.borrow_mut().push(record);
        Ok(())
    }
}

/// A first port, and the sinks that hold what came out.
struct Chain<K, V> {
    head: Port<K, V>,
    sinks: Vec<Rc<Sink<K, V>>>,
}

impl<K: 'static, V: 'static> Chain<K, V> {
    /// Wires `build` above one sink.
    fn of(build: impl Fn(Port<K, V>) -> Port<K, V>) -> Self {
        let sink = Rc::new(Sink(RefCell::default()));
        Self {
            head: build(sink.clone()),
            sinks: vec![sink],
        }
    }

    fn run(&self, records: &mut Vec<Record<K, V>>) {
        let mut cx = Cx::default();
        for record in records.drain(..) {
            assert!(self.head.push(record, &mut cx).is_ok());
        }
        black_box(cx.forwarded);
        std::mem::swap(records, &mut self.sinks[0].0.borrow_mut());
        self.sinks[1..]
            .iter()
            .for_each(|sink| sink.0.borrow_mut().clear());
    }
}

/// Four filters and four maps in turn, each with a closure (so an address) of its own.
macro_rules! eight {
    ($filter:expr, $map:expr, $convert:ident, $edge:path, $port:expr) => {{
        let port = $port;
        let port = $map(|value| $convert::<_, 1>(value), $edge(port));
        let port = $filter(|key, _| pass::<_, 2>(key), $edge(port));
        let port = $map(|value| $convert::<_, 3>(value), $edge(port));
        let port = $filter(|key, _| pass::<_, 4>(key), $edge(port));
        let port = $map(|value| $convert::<_, 5>(value), $edge(port));
        let port = $filter(|key, _| pass::<_, 6>(key), $edge(port));
        let port = $map(|value| $convert::<_, 7>(value), $edge(port));
        $filter(|key, _| pass::<_, 8>(key), $edge(port))
    }};
}
// Behind the macro, which it uses.
#[path = "spike_wiring/erased.rs"]
mod erased;

use Edges::One;
use erased::any_round;

/// What a filter asks of a key: opaque to the optimiser, always true.
trait Ask {
    fn number(&self) -> u64;
}
impl Ask for u64 {
    fn number(&self) -> u64 {
        *self
    }
}
impl Ask for String {
    fn number(&self) -> u64 {
        // The sentinel for null: here each operator must know it, and pay for asking.
        if self == "\0null" {
            0
        } else {
            self.len() as u64
        }
    }
}
impl Ask for Option<String> {
    fn number(&self) -> u64 {
        self.as_ref().map_or(0, |key| key.len() as u64)
    }
}

fn pass<K: Ask, const N: u64>(key: &K) -> bool {
    key.number() ^ N != black_box(u64::MAX)
}

fn bump<V: AsMut<[u64]>, const N: u64>(mut value: V) -> V {
    value.as_mut()[0] = value.as_mut()[0].wrapping_mul(31).wrapping_add(N);
    value
}

type Keep<V> = Box<dyn Fn(&Key, &V) -> bool>;
type Convert<V> = Box<dyn Fn(V) -> V>;

fn boxed_filter<V: 'static>(
    keep: impl Fn(&Key, &V) -> bool + 'static,
    edges: Edges<Key, V>,
) -> Port<Key, V> {
    let keep: Keep<V> = Box::new(keep);
    filter(keep, edges)
}

fn boxed_map<V: 'static>(convert: impl Fn(V) -> V + 'static, edges: Edges<Key, V>) -> Port<Key, V> {
    let convert: Convert<V> = Box::new(convert);
    map(convert, edges)
}

trait Value: AsMut<[u64]> + Clone + 'static {
    const NEW: Self;
}
impl<const N: usize> Value for [u64; N]
where
    [u64; N]: AsMut<[u64]>,
{
    const NEW: Self = [0; N];
}

fn records<K, V: Value>(count: usize, key: impl Fn(usize) -> K) -> Vec<Record<K, V>> {
    (0..count)
        .map(|i| Record {
            key: key(i),
            value: V::NEW,
            timestamp_ms: i as i64,
            headers: Headers::default(),
        })
        .collect()
}

type Round = Box<dyn FnMut()>;

fn chain_round<K: 'static, V: Value>(
    count: usize,
    key: impl Fn(usize) -> K,
    build: impl Fn(Port<K, V>) -> Port<K, V>,
) -> Round {
    let chain = Chain::of(build);
    let mut batch = records::<K, V>(count, key);
    Box::new(move || chain.run(&mut batch))
}

/// Eight hops of the chosen shape over keys of any kind.
fn eight_over<K: Ask + 'static, V: Value>(port: Port<K, V>) -> Port<K, V> {
    eight!(filter, map, bump, One, port)
}

fn eight_boxed<V: Value>(port: Port<Key, V>) -> Port<Key, V> {
    eight!(boxed_filter, boxed_map, bump, One, port)
}

/// filter, map, filter as three nodes.
fn three_nodes<V: Value>(port: Port<Key, V>) -> Port<Key, V> {
    let port = filter(|key, _| pass::<_, 2>(key), One(port));
    let port = map(|value| bump::<_, 3>(value), One(port));
    filter(|key, _| pass::<_, 4>(key), One(port))
}

/// The same three as one closure behind one port.
fn three_fused<V: Value>(port: Port<Key, V>) -> Port<Key, V> {
    let first = |record: Record<Key, V>| pass::<_, 4>(&record.key).then_some(record);
    let second = move |record| first(record).map(|record| mapped(record, bump::<V, 3>));
    let third = move |record| second(record).filter(|record| pass::<_, 2>(&record.key));
    stateless(third, One(port))
}

/// A node that forwards to `children` sinks.
fn fan_out<K: Ask + Clone + 'static>(
    count: usize,
    children: usize,
    key: impl Fn(usize) -> K,
) -> Round {
    let sink = || Rc::new(Sink(RefCell::<Vec<Record<K, [u64; 3]>>>::default()));
    let sinks: Vec<_> = (0..children).map(|_| sink()).collect();
    let last = sinks[0].clone();
    let ports: Vec<Port<K, [u64; 3]>> = sinks[1..].iter().map(|s| s.clone() as _).collect();
    let copy = Record::clone;
    let edges = match children {
        0 => Edges::None,
        1 => Edges::One(last),
        _ => Edges::Many { ports, last, copy },
    };
    let head = filter(|key: &K, _| pass::<_, 1>(key), edges);
    let chain = Chain { head, sinks };
    let mut batch = records(count, key);
    Box::new(move || chain.run(&mut batch))
}

/// An unmaterialised table: something that can be asked for a key.
trait View<K, V> {
    fn get(&self, cx: &mut Cx, key: &K) -> Option<V>;
}

struct Materialised(RefCell<HashMap<Key, u64, foldhash::fast::FixedState>>);

impl View<Key, u64> for Materialised {
    fn get(&self, cx: &mut Cx, key: &Key) -> Option<u64> {
        cx.forwarded += 1;
        self.0.borrow().get(key).copied()
    }
}

struct MappedView<F> {
    below: Rc<dyn View<Key, u64>>,
    convert: F,
}

impl<F: Fn(u64) -> u64> View<Key, u64> for MappedView<F> {
    fn get(&self, cx: &mut Cx, key: &Key) -> Option<u64> {
        self.below.get(cx, key).map(&self.convert)
    }
}

fn look_up(count: usize, get: impl Fn(&mut Cx, &Key) -> Option<u64> + 'static) -> Round {
    let sum = Cell::new(0u64);
    Box::new(move || {
        let mut cx = Cx::default();
        for key in 0..count as u64 {
            sum.set(sum.get().wrapping_add(get(&mut cx, &key).unwrap_or(0)));
        }
        black_box((sum.get(), cx.forwarded));
    })
}

fn view_round(count: usize, layers: Option<usize>) -> Round {
    let rows = (0..count as u64).map(|key| (key, key)).collect();
    let store = Rc::new(Materialised(RefCell::new(rows)));
    let Some(layers) = layers else {
        return look_up(count, move |cx, key| store.get(cx, key));
    };
    let mut view: Rc<dyn View<Key, u64>> = store;
    for layer in 0..layers as u64 {
        let convert = move |value: u64| value.wrapping_mul(31).wrapping_add(layer);
        view = Rc::new(MappedView {
            below: view,
            convert,
        });
    }
    look_up(count, move |cx, key| view.get(cx, key))
}

/// Every shape by name. `hops=0` is the loop and the sink alone: take it off the others.
fn shape(name: &str, count: usize) -> Option<Round> {
    let number = |i: usize| i as u64;
    let text = |i: usize| format!("station-{i:08}");
    let nullable = move |i: usize| (!i.is_multiple_of(16)).then(|| text(i));
    let sentinel = move |i: usize| nullable(i).unwrap_or_else(|| "\0null".to_owned());
    Some(match name {
        "48/hops=0" => chain_round::<_, [u64; 3]>(count, number, |port| port),
        "48/hops=8" => chain_round::<_, [u64; 3]>(count, number, eight_over),
        "48/hops=8,boxed" => chain_round::<_, [u64; 3]>(count, number, eight_boxed),
        "48/hops=3" => chain_round::<_, [u64; 3]>(count, number, three_nodes),
        "48/hops=3,fused" => chain_round::<_, [u64; 3]>(count, number, three_fused),
        "48/any,hops=0" => any_round::<[u64; 3]>(count, false),
        "48/any,hops=8" => any_round::<[u64; 3]>(count, true),
        "72/hops=0" => chain_round::<_, [u64; 6]>(count, number, |port| port),
        "72/hops=8" => chain_round::<_, [u64; 6]>(count, number, eight_over),
        "72/hops=8,boxed" => chain_round::<_, [u64; 6]>(count, number, eight_boxed),
        "72/hops=3" => chain_round::<_, [u64; 6]>(count, number, three_nodes),
        "72/hops=3,fused" => chain_round::<_, [u64; 6]>(count, number, three_fused),
        "72/any,hops=0" => any_round::<[u64; 6]>(count, false),
        "72/any,hops=8" => any_round::<[u64; 6]>(count, true),
        "fan/number,1" => fan_out(count, 1, number),
        "fan/number,2" => fan_out(count, 2, number),
        "fan/text,1" => fan_out(count, 1, text),
        "fan/text,2" => fan_out(count, 2, text),
        "null/sentinel,hops=0" => chain_round::<_, [u64; 3]>(count, sentinel, |port| port),
        "null/sentinel,hops=8" => chain_round::<_, [u64; 3]>(count, sentinel, eight_over),
        "null/option,hops=0" => chain_round::<_, [u64; 3]>(count, nullable, |port| port),
        "null/option,hops=8" => chain_round::<_, [u64; 3]>(count, nullable, eight_over),
        "view/direct" => view_round(count, None),
        "view/dyn" => view_round(count, Some(0)),
        "view/dyn,mapped=1" => view_round(count, Some(1)),
        "view/dyn,mapped=4" => view_round(count, Some(4)),
        _ => return None,
    })
}

const SHAPES: [&str; 26] = [
    "48/hops=0",
    "48/hops=8",
    "48/hops=8,boxed",
    "48/hops=3",
    "48/hops=3,fused",
    "48/any,hops=0",
    "48/any,hops=8",
    "72/hops=0",
    "72/hops=8",
    "72/hops=8,boxed",
    "72/hops=3",
    "72/hops=3,fused",
    "72/any,hops=0",
    "72/any,hops=8",
    "fan/number,1",
    "fan/number,2",
    "fan/text,1",
    "fan/text,2",
    "null/sentinel,hops=0",
    "null/sentinel,hops=8",
    "null/option,hops=0",
    "null/option,hops=8",
    "view/direct",
    "view/dyn",
    "view/dyn,mapped=1",
    "view/dyn,mapped=4",
];

/// Records in a round; few where the harness only tests that the shapes run.
fn record_count() -> usize {
    let measured = std::env::args().any(|argument| argument == "--bench");
    if measured { 1_000 } else { 16 }
}

fn main() {
    if let Ok(name) = std::env::var("SPIKE_SHAPE") {
        let mut round = shape(&name, 1_000).expect("a name out of SHAPES");
        // The number of rounds can be set, so that the difference of two runs leaves out the start.
        let rounds = std::env::var("SPIKE_ROUNDS").map_or(100, |n| n.parse().expect("a number"));
        (0..rounds).for_each(|_| round());
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1_500))
        .sample_size(30)
        .configure_from_args();
    let count = record_count();
    let mut group = criterion.benchmark_group("wiring");
    group.throughput(Throughput::Elements(count as u64));
    for name in SHAPES {
        let mut round = shape(name, count).expect("SHAPES names only shapes");
        group.bench_function(name, |bencher| bencher.iter(&mut round));
    }
    group.finish();
    criterion.final_summary();
}
