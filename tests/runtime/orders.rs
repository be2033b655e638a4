//! Orders and their customers, joined by a foreign key: the input, and the expected results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marea::Result;
use marea::base::{TopicPartition, partition_for_key};
use marea::dsl::{StreamBuilder, Table};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::testing::InputRecord;
use marea::topology::Topology;

use crate::committing::commit;

const DEADLINE: Duration = Duration::from_secs(120);
pub const PARTITIONS: u32 = 4;
pub const ORDERS: i64 = 6_000;

/// Each order is `<customer>:<goods>`, or goods alone.
pub fn customer(order: &str) -> Option<String> {
    let (customer, _) = order.split_once(':')?;
    Some(customer.to_owned())
}

/// Both joins of the orders with their customers, to the topics `known` and `all`.
pub fn topology() -> Result<Topology> {
    let builder = StreamBuilder::new();
    let orders = builder.table::<String, String>("orders", "orders-rows");
    let customers = builder.table::<String, String>("customers", "customers-rows");
    let write = |table: Table<String, String>, topic: &str| table.to_stream().to(topic);
    let known = orders.clone().join_foreign(
        customers.clone(),
        |_, order| customer(order),
        |_, order, name| format!("{order}+{name}"),
        "known",
    );
    write(known, "known");
    let all = orders.left_join_foreign(
        customers,
        |_, order| customer(order),
        |_, order, name| format!("{order}+{name:?}"),
        "all",
    );
    write(all.materialized("all-rows"), "all");
    builder.build()
}

/// Rows of both tables that change, move to other customers, are deleted, and come back.
pub fn input(count: i64) -> Vec<InputRecord> {
    let mut input = Vec::new();
    let mut row = |topic: &str, key: String, value: Option<String>, timestamp_ms: i64| {
        input.push(InputRecord {
            topic: topic.to_owned(),
            key: Some(key.into_bytes()),
            value: value.map(String::into_bytes),
            timestamp_ms,
        });
    };
    for n in 0..count {
        let order = match n % 17 {
            0 => None,
            1 => Some(format!("goods-{n}")),
            2 => Some(format!("nobody:{n}")),
            _ => Some(format!("c{}:{}", n * 7 % 41, n % 5)),
        };
        row("orders", format!("o{}", n * 31 % 500), order, n * 3);
        if n % 2 == 0 {
            let name = (n % 22 != 0).then(|| format!("name-{n}"));
            row("customers", format!("c{}", n * 13 % 37), name, n * 3 + 1);
        }
    }
    input
}

/// The expected results, for each order that has one.
pub fn expected(input: &[InputRecord]) -> [BTreeMap<String, String>; 2] {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let rows = |topic: &str| {
        let mut rows = BTreeMap::new();
        for record in input.iter().filter(|record| record.topic == topic) {
            let key = text(record.key.as_deref().expect("a key"));
            match &record.value {
                Some(value) => drop(rows.insert(key, text(value))),
                None => drop(rows.remove(&key)),
            }
        }
        rows
    };
    let (orders, customers) = (rows("orders"), rows("customers"));
    let (mut known, mut all) = (BTreeMap::new(), BTreeMap::new());
    for (key, order) in orders {
        let name = customer(&order).and_then(|customer| customers.get(&customer));
        if let Some(name) = name {
            known.insert(key.clone(), format!("{order}+{name}"));
        }
        all.insert(key, format!("{order}+{name:?}"));
    }
    [known, all]
}

/// Creates the topics, and writes the input to them.
pub fn fill(log: &dyn Log, input: &[InputRecord]) {
    let topics = ["orders", "customers", "known", "all"];
    let topics = topics.map(|topic| TopicSpec::new(topic, PARTITIONS));
    log.create_topics(&topics).expect("topics");
    let mut builders: BTreeMap<TopicPartition, BatchBuilder> = BTreeMap::new();
    for record in input {
        let key = record.key.as_deref().expect("a key");
        let place = TopicPartition::new(&*record.topic, partition_for_key(key, PARTITIONS));
        let builder = builders.entry(place).or_default();
        builder.push(Some(key), record.value.as_deref(), record.timestamp_ms, &[]);
    }
    let sealed = builders.into_iter();
    let sealed = sealed.map(|(place, mut builder)| (place, builder.seal().expect("records")));
    let whole = Commit {
        appends: sealed.collect(),
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    commit(&mut *writer, whole);
}

/// The last row of each key, without the deleted ones.
pub fn last(log: &dyn Log, topic: &str) -> BTreeMap<String, String> {
    let places = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition));
    let places: Vec<_> = places.collect();
    let ends = log.end_offsets(&places, Isolation::ReadCommitted);
    let ends = ends.expect("ends");
    let mut reader = log.reader(1 << 20).expect("a reader");
    let starts: Vec<_> = places.iter().map(|place| (place.clone(), 0)).collect();
    reader.assign(&starts).expect("assigned");
    let mut rows = BTreeMap::new();
    while places
        .iter()
        .zip(&ends)
        .any(|(place, end)| reader.position(place) < Some(*end))
    {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let key = text(raw.key.expect("a key"));
                match raw.value {
                    Some(value) => drop(rows.insert(key, text(value))),
                    None => drop(rows.remove(&key)),
                }
            }
        }
    }
    rows
}

/// Checks that the rows are the expected ones; shows a few that are not.
pub fn check(what: &str, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let keys = found.keys().chain(expected.keys());
    let differs = |key: &&String| found.get(*key) != expected.get(*key);
    let keys: BTreeSet<&String> = keys.filter(differs).collect();
    let shown = keys.iter().take(5);
    let shown: Vec<_> = shown
        .map(|key| (key, found.get(*key), expected.get(*key)))
        .collect();
    let (few, all) = (keys.len(), expected.len());
    assert!(few == 0, "{what}: {few} of {all} rows, such as {shown:?}");
}
