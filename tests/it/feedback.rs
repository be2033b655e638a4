//! A topology with a feedback edge, in the driver; and what is refused.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use marea::base::Record;
use marea::codec::Utf8;
use marea::plan::{Graph, LogicalKind, LogicalNode, Optimizations, lower};
use marea::task::{DropReason, TopicName};
use marea::testing::Driver;

use super::looped::{expected, topology};

const LEFTS: [(&str, &str); 5] = [
    ("a", "x:1"),
    ("b", "x:2"),
    ("late-c", "y:3"),
    ("a", "y:4"),
    ("d", "nobody:5"),
];
const RIGHTS: [(&str, &str); 3] = [("x", "X"), ("y", "Y"), ("x", "XX")];

#[test]
fn answers_come_back_and_ends_come_in_order() {
    let topology = topology(&Arc::new(AtomicI64::new(-1))).expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    let rows = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        let rows = rows.iter();
        rows.map(|(key, row)| ((*key).to_owned(), (*row).to_owned()))
            .collect()
    };
    let pipe = |driver: &mut Driver, topic: &str, row: &(String, String), at_ms: i64| {
        let input = driver.input_topic_with(topic, Utf8, Utf8);
        let record = Record::new(row.0.clone(), row.1.clone(), at_ms);
        input.pipe(driver, record).expect("taken");
    };
    let read = |driver: &mut Driver, topic: &str| -> Vec<(String, String)> {
        let out = driver.output_topic_with(topic, Utf8, Utf8);
        let records = out.read(driver).expect("texts").into_iter();
        records.map(|record| (record.key, record.value)).collect()
    };
    let (lefts, rights) = (rows(&LEFTS), rows(&RIGHTS));
    pipe(&mut driver, "left", &lefts[0], 1);
    assert_eq!(read(&mut driver, "out"), rows(&[("a", "x:1+")]));
    pipe(&mut driver, "right", &rights[0], 2);
    assert_eq!(read(&mut driver, "out"), rows(&[("a", "x:1+X")]));
    for (at_ms, left) in lefts.iter().enumerate().skip(1) {
        pipe(&mut driver, "left", left, at_ms as i64 + 2);
    }
    let out = rows(&[("b", "x:2+X"), ("a", "y:4+"), ("d", "nobody:5+")]);
    assert_eq!(read(&mut driver, "out"), out);
    pipe(&mut driver, "right", &rights[1], 10);
    pipe(&mut driver, "right", &rights[2], 11);
    let out = rows(&[("a", "y:4+Y"), ("b", "x:2+XX")]);
    assert_eq!(read(&mut driver, "out"), out, "a no longer wants x");
    assert_eq!(read(&mut driver, "final"), []);
    driver.drain().expect("drained");
    // What was held until the end of its input has been requested, and answered, before the results end.
    assert_eq!(read(&mut driver, "out"), rows(&[("late-c", "y:3+Y")]));
    let mut last = read(&mut driver, "final");
    last.sort();
    assert_eq!(last, expected(&LEFTS, &RIGHTS));
    let mut both = read(&mut driver, "both");
    both.sort();
    assert_eq!(both, last, "the end of one of two inputs closes nothing");
    assert_eq!(driver.drops().of(DropReason::Late), 0);
    assert!(driver.rebuild_and_compare().expect("a restore"));
    // More may come, and end again.
    pipe(&mut driver, "left", &("e".to_owned(), "x:6".to_owned()), 20);
    driver.drain().expect("drained again");
    assert_eq!(read(&mut driver, "final"), rows(&[("e", "x:6+XX")]));
}

#[test]
fn parts_stay_in_order_and_what_leads_back_is_shown() {
    let topology = topology(&Arc::default()).expect("a topology");
    let names: Vec<&str> = topology
        .subtopologies()
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    assert_eq!(names, ["late", "rights", "lasts"]);
    let in_loop = topology.subtopologies().iter().map(|part| part.in_loop);
    assert_eq!(in_loop.collect::<Vec<_>>(), [true, true, false]);
    let ends: Vec<String> = topology
        .ends()
        .iter()
        .map(|step| {
            let topics: Vec<String> = step.iter().map(ToString::to_string).collect();
            topics.join(" ")
        })
        .collect();
    let topics = [
        "left",
        "requests-repartition",
        "right",
        "answers-repartition",
        "results-repartition",
    ];
    let place = |topic: &str| ends.iter().position(|step| step == topic);
    let places: Vec<_> = topics.iter().map(|topic| place(topic)).collect();
    assert!(places.iter().all(Option::is_some), "{ends:?}");
    assert!(places[0] < places[1] && places[1] < places[3] && places[2] < places[3]);
    assert!(places[3] < places[4], "{ends:?}");
    let text = topology.describe();
    assert!(text.contains("reads answers-repartition (back)"), "{text}");
    assert!(text.contains("writes answers-repartition (back)"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&topology.describe_json()).expect("JSON");
    assert_eq!(json["feedbacks"][0], "answers-repartition");
    assert!(topology.describe_dot().contains("style=dashed, constraint"));
}

#[test]
fn a_topic_that_leads_back_has_as_many_partitions_as_its_reader_has_tasks() {
    let topology = topology(&Arc::default()).expect("a topology");
    let lookup = |topic: &str| {
        Ok(Some(match topic {
            "left" => 3,
            "right" => 5,
            _ => 1,
        }))
    };
    let partitions = topology.resolve_partitions(lookup).expect("partitions");
    let of = |name: &str| partitions.of(&TopicName::Repartition(name.to_owned()));
    assert_eq!(of("answers"), 3);
    assert_eq!(of("results"), 3);
}

#[test]
fn a_loop_without_an_end_and_one_without_a_writer_are_refused() {
    let mut graph = Graph::default();
    let name = || "round".to_owned();
    let kind = LogicalKind::FeedbackSource { name: name() };
    let mut back = LogicalNode::new("source", kind, Vec::new());
    back.make = Some(Arc::new(|_, _| Ok(())));
    let back_id = graph.add(back.clone());
    let kind = LogicalKind::Source {
        topics: vec!["in".to_owned()],
        idle: Default::default(),
    };
    let mut source = LogicalNode::new("source", kind, Vec::new());
    source.make = Some(Arc::new(|_, _| Ok(())));
    let source = graph.add(source);
    let kind = LogicalKind::FeedbackSink { name: name() };
    let mut sink = LogicalNode::new("to", kind, vec![back_id, source]);
    sink.make = Some(Arc::new(|_, _| Ok(())));
    graph.add(sink);
    let error = lower(graph, Optimizations::none()).expect_err("it goes round");
    assert!(error.to_string().contains("leads there again"), "{error}");

    let mut graph = Graph::default();
    graph.add(back);
    let error = lower(graph, Optimizations::none()).expect_err("nobody writes");
    assert!(
        error
            .to_string()
            .contains("no sink writes to feedback topic"),
        "{error}"
    );
}
