//! What processors may not do, and when they begin and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use marea::base::Record;
use marea::codec::{I64, Utf8};
use marea::dsl::{
    Consumed, Grouped, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
    StreamBuilder, TimestampedKeyValueStore,
};
use marea::testing::Driver;
use marea::{ErrorKind, Result};

type Context<'a> = ProcessorContext<'a, String, i64>;

/// Does what the key says.
#[derive(Default)]
struct Doing {
    open: Arc<AtomicI64>,
}

impl Processor for Doing {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn init(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let refused = context.forward(Record::new(String::new(), 0, 0));
        assert_eq!(refused.expect_err("too early").kind(), ErrorKind::User);
        Ok(())
    }

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        match record.key.as_str() {
            "no-store" => context
                .store::<KeyValueStore<String, i64>>("other")
                .map(drop),
            "no-type" => context
                .store::<TimestampedKeyValueStore<String, i64>>("store")
                .map(drop),
            "no-child" => context.forward_to("nobody", record),
            "all" => context.forward(record),
            "fails" => panic!("as it is called"),
            child => {
                let child = child.to_owned();
                context.forward_to(&child, record)
            }
        }
    }

    fn close(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn pipe(driver: &mut Driver, what: &str, value: i64) -> Result<()> {
    let input = driver.input_topic_with("in", Utf8, I64);
    input.pipe(driver, Record::new(what.to_owned(), value, 1))
}

fn values(driver: &mut Driver, topic: &str) -> Vec<i64> {
    let out = driver.output_topic_with(topic, Utf8, I64);
    let records = out.read(driver).expect("numbers");
    records.into_iter().map(|record| record.value).collect()
}

#[test]
fn what_a_processor_gets_wrong_names_the_cure() {
    let builder = StreamBuilder::new();
    builder.add_store(Stores::key_value("store", Utf8, I64));
    let processed = Processed::named("doing").stores(["store"]);
    let done = builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(Doing::default, processed);
    done.child("left")
        .to_with("left-out", Produced::with(Utf8, I64));
    // Without a name of its own it is called after its topic.
    done.to_with("right", Produced::with(Utf8, I64));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    for (what, cure) in [
        ("no-store", "`Processed::stores`"),
        ("no-type", "the types with which it was declared"),
        ("no-child", "the children are [\"left\", \"right\"]"),
        ("all", "clone the stream"),
    ] {
        let error = pipe(&mut driver, what, 1).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::User, "{what}");
        assert!(error.to_string().contains(cure), "{cure:?} in {error}");
    }
    pipe(&mut driver, "left", 2).expect("sent");
    pipe(&mut driver, "right", 3).expect("sent");
    assert_eq!(values(&mut driver, "left-out"), [2]);
    assert_eq!(values(&mut driver, "right"), [3]);
}

#[test]
fn a_processor_begins_and_ends_with_its_task_and_with_each_abort() {
    let open = Arc::new(AtomicI64::new(0));
    let made = Arc::new(AtomicI64::new(0));
    let builder = StreamBuilder::new();
    let (of_each, count) = (open.clone(), made.clone());
    let make = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let open = of_each.clone();
        Doing { open }
    };
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(make, "doing")
        .to_with("out", Produced::with(Utf8, I64));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    assert_eq!(open.load(Ordering::SeqCst), 1);
    pipe(&mut driver, "fails", 1).expect_err("a panic");
    pipe(&mut driver, "all", 2).expect("sent");
    assert_eq!(values(&mut driver, "out"), [2]);
    assert_eq!(open.load(Ordering::SeqCst), 1, "the one before has ended");
    assert_eq!(made.load(Ordering::SeqCst), 2);
    drop(driver);
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

fn refusal(build: impl FnOnce(&StreamBuilder)) -> String {
    let builder = StreamBuilder::new();
    build(&builder);
    let error = builder.build().expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn stores_that_do_not_fit_are_refused() {
    let said = refusal(|builder| {
        builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .process(Doing::default, Processed::named("doing").stores(["store"]))
            .to_with("out", Produced::with(Utf8, I64));
    });
    assert!(said.contains("\"doing\" uses store \"store\""), "{said}");
    let said = refusal(|builder| {
        builder.add_store(Stores::key_value("store", Utf8, I64));
        builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .to_with("out", Produced::with(Utf8, I64));
    });
    assert!(said.contains("no processor uses store \"store\""), "{said}");
    let said = refusal(|builder| {
        builder
            .add_processor([], Doing::default, "doing")
            .to_with("out", Produced::with(Utf8, I64));
    });
    assert!(said.contains("has no parent"), "{said}");
    // A store with timers keeps its times in a topic of the task, which must not be a store's changelog.
    let said = refusal(|builder| {
        builder.add_store(Stores::key_value("in-task", Utf8, I64));
        let input = builder.stream_with("in", Consumed::with(Utf8, I64));
        input
            .process(Doing::default, "doing")
            .to_with("out", Produced::with(Utf8, I64));
        let other = builder.stream_with("other", Consumed::with(Utf8, I64));
        other
            .process(Doing::default, Processed::named("else").stores(["in-task"]))
            .to_with("elsewhere", Produced::with(Utf8, I64));
    });
    assert!(said.contains("task changelog"), "{said}");
}

#[test]
fn behind_a_processor_the_key_counts_as_changed_and_behind_one_of_values_it_does_not() {
    use marea::dsl::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord};
    struct Doubling;
    impl FixedKeyProcessor for Doubling {
        type Key = String;
        type ValueIn = i64;
        type ValueOut = i64;
        fn process(
            &mut self,
            record: FixedKeyRecord<String, i64>,
            context: &mut FixedKeyContext<'_, '_, String, i64>,
        ) -> Result<()> {
            let value = record.value * 2;
            context.forward(record.with_value(value))
        }
    }
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    let doubled = input.clone().process_values(|| Doubling, "doubling");
    let counts = doubled.group_by_key(Grouped::with("doubled", Utf8, I64));
    let _table = counts.count("counts");
    let done = input.process(Doing::default, "doing");
    let _table = done
        .group_by_key(Grouped::with("done", Utf8, I64))
        .count("others");
    let topology = builder.build().expect("a topology");
    let described = topology.describe();
    assert!(described.contains("done-repartition"), "{described}");
    assert!(!described.contains("doubled-repartition"), "{described}");
    assert!(
        described.contains("process_values(doubling)"),
        "{described}"
    );
}

#[test]
fn what_fills_a_global_store_does_nothing_else() {
    use marea::plan::{Graph, LogicalKind, LogicalNode, Optimizations, lower};
    let mut graph = Graph::default();
    let node = |kind, parents| {
        let mut node = LogicalNode::new("node", kind, parents);
        node.make = Some(Arc::new(|_, _| Ok(())));
        node
    };
    let topics = vec!["global".to_owned()];
    let global = graph.add(node(LogicalKind::GlobalSource { topics }, Vec::new()));
    let topic = "out".to_owned();
    graph.add(node(LogicalKind::Sink { topic }, vec![global]));
    let error = lower(graph, Optimizations::none()).expect_err("it writes a topic");
    assert!(error.to_string().contains("does nothing else"), "{error}");
}

#[test]
fn a_global_store_is_shown_apart_and_holds_no_parts_together() {
    let builder = StreamBuilder::new();
    let store = Stores::key_value("rates", Utf8, I64);
    builder.add_global_store(store, "rates", Consumed::with(Utf8, I64), Doing::default);
    for topic in ["left", "right"] {
        builder
            .stream_with(topic, Consumed::with(Utf8, I64))
            .process(Doing::default, Processed::named(topic).stores(["rates"]))
            .to_with(format!("{topic}-out"), Produced::with(Utf8, I64));
    }
    let topology = builder.build().expect("a topology");
    let parts = topology.subtopologies().iter();
    let names: Vec<&str> = parts.map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    assert_eq!(topology.source_topics(), ["left", "rates", "right"]);
    let described = topology.describe();
    assert!(described.contains("global rates\n"), "{described}");
}

/// Reports how often a key has been counted, from the store of the aggregation.
struct Ask;

impl Processor for Ask {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(
        &mut self,
        record: Record<String, String>,
        context: &mut ProcessorContext<'_, String, i64>,
    ) -> Result<()> {
        let counts = context.store::<TimestampedKeyValueStore<String, i64>>("counts")?;
        let count = counts.get(&record.key)?.map_or(0, |(count, _)| count);
        context.forward(record.map_value(|_, _| count))
    }
}

#[test]
fn a_processor_and_a_test_open_the_store_of_an_aggregation() {
    let builder = StreamBuilder::new();
    let counts = builder
        .stream::<String, String>("words")
        .group_by_key("by-key")
        .count("counts");
    counts.to_stream().to("counts-out");
    builder
        .stream::<String, String>("questions")
        .process(|| Ask, Processed::named("ask").stores(["counts"]))
        .to("answers");
    let mut driver = Driver::new(builder.build().expect("valid")).expect("opens");
    let words = driver.input_topic::<String, String>("words");
    for at_ms in [10, 20] {
        let record = Record::new("a".to_owned(), String::new(), at_ms);
        words.pipe(&mut driver, record).expect("piped");
    }
    let questions = driver.input_topic::<String, String>("questions");
    let question = Record::new("a".to_owned(), String::new(), 30);
    questions.pipe(&mut driver, question).expect("piped");
    let answers = driver.output_topic::<String, i64>("answers");
    assert_eq!(answers.read(&mut driver).expect("reads")[0].value, 2);
    let counts = driver.store::<TimestampedKeyValueStore<String, i64>>("counts");
    let count = counts.expect("is there").get(&"a".to_owned());
    assert_eq!(count.expect("reads"), Some((2, 20)));
    let error = driver.store::<KeyValueStore<String, String>>("counts");
    let error = error.expect_err("another type").to_string();
    assert!(error.contains("TimestampedKeyValueStore"), "{error}");
}
