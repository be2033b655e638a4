//! Joins of joins of tables, and groups behind them, checked against a plain model of what the program says.

use std::collections::BTreeMap;

use marea::prelude::*;

use crate::combinations::{Numbers, driver, pipe, rows, seconds};

#[test]
fn joins_of_joins_of_tables_add_up_in_groups() {
    let builder = StreamBuilder::new();
    let table = |name: &str| builder.table::<String, String>(name, format!("{name}-rows"));
    let joined = table("a")
        .join(table("b"), |_, a, b| format!("{a}{b}"), "ab")
        .left_join(
            table("c"),
            |_, ab, c| format!("{ab}{}", c.map_or("-", |c| c)),
            "abc",
        )
        .outer_join(
            table("d"),
            |_, abc, d| format!("{}{}", abc.map_or("---", |abc| abc), d.map_or("-", |d| d)),
            "abcd",
        );
    joined.clone().to_stream().to("rows");
    joined
        .group_by("by-row", |key, row| (row.clone(), key.clone()))
        .aggregate(
            String::new,
            |_, key, keys: String| keys + &key,
            |_, key, keys| keys.replacen(&key, "", 1),
            "keys-by-row",
        )
        .to_stream()
        .to("groups");
    let mut driver = driver(builder);
    let mut numbers = Numbers(7);
    let mut tables = BTreeMap::new();
    for time_ms in 0..400 {
        let (topic, key) = (
            numbers.key(&["a", "b", "c", "d"]),
            numbers.key(&["k", "l", "m"]),
        );
        let row = (numbers.below(4) > 0).then(|| numbers.key(&["x", "y"]));
        pipe(&mut driver, &topic, &key, row.clone(), time_ms);
        tables.insert((topic, key), row);
    }
    let mut expected = BTreeMap::new();
    for key in ["k", "l", "m"] {
        let of = |table: &str| {
            tables
                .get(&(table.to_owned(), key.to_owned()))
                .cloned()
                .flatten()
        };
        let abc = of("a").zip(of("b"));
        let abc = abc.map(|(a, b)| format!("{a}{b}{}", of("c").unwrap_or("-".to_owned())));
        let d = of("d");
        if abc.is_some() || d.is_some() {
            let (abc, d) = (abc.unwrap_or("---".to_owned()), d.unwrap_or("-".to_owned()));
            expected.insert(key.to_owned(), format!("{abc}{d}"));
        }
    }
    assert!(expected.len() > 1, "{expected:?}");
    assert_eq!(rows::<String, String>(&mut driver, "rows"), expected);
    let mut groups = BTreeMap::<String, Vec<char>>::new();
    for (key, row) in expected {
        groups.entry(row).or_default().extend(key.chars());
    }
    let found = rows::<String, String>(&mut driver, "groups").into_iter();
    let found = found
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(row, keys)| {
            let mut keys: Vec<char> = keys.chars().collect();
            keys.sort_unstable();
            (row, keys)
        });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), groups);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

/// Orders refer to customers, and those to regions: the second join is behind the first.
#[test]
fn a_row_follows_two_foreign_keys() {
    let builder = StreamBuilder::new();
    let orders = builder.table::<String, (String, i64)>("orders", "orders-rows");
    let customers = builder.table::<String, String>("customers", "customers-rows");
    let regions = builder.table::<String, String>("regions", "regions-rows");
    orders
        .join_foreign(
            customers,
            |_, (customer, _)| customer.clone(),
            |_, (_, amount), region| (region.clone(), *amount),
            "of-customer",
        )
        .materialized("placed")
        .left_join_foreign(
            regions,
            |_, (region, _)| region.clone(),
            |_, (_, amount), name| (name.cloned().unwrap_or("nowhere".to_owned()), *amount),
            "of-region",
        )
        .materialized("named-orders")
        .group_by("by-region", |_, (region, amount)| (region.clone(), *amount))
        .reduce(
            |sum, amount| sum + amount,
            |sum, amount| sum - amount,
            "sums",
        )
        .to_stream()
        .to("sums-out");
    let mut driver = driver(builder);
    let mut numbers = Numbers(3);
    let (mut orders, mut customers, mut regions) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for time_ms in 0..400 {
        let is_deleted = numbers.below(4) == 0;
        match numbers.below(4) {
            0 | 1 => {
                let key = numbers.key(&["o1", "o2", "o3", "o4", "o5"]);
                let customer = numbers.key(&["c1", "c2", "c3"]);
                let row = (customer, numbers.below(100) as i64);
                let row = (!is_deleted).then_some(row);
                pipe(&mut driver, "orders", &key, row.clone(), time_ms);
                orders.insert(key, row);
            }
            2 => {
                let key = numbers.key(&["c1", "c2", "c3"]);
                let row = (!is_deleted).then(|| numbers.key(&["r1", "r2"]));
                pipe(&mut driver, "customers", &key, row.clone(), time_ms);
                customers.insert(key, row);
            }
            _ => {
                let key = numbers.key(&["r1", "r2"]);
                let row = (!is_deleted).then(|| numbers.key(&["north", "south"]));
                pipe(&mut driver, "regions", &key, row.clone(), time_ms);
                regions.insert(key, row);
            }
        }
    }
    let mut expected = BTreeMap::<String, i64>::new();
    for (customer, amount) in orders.into_values().flatten() {
        if let Some(Some(region)) = customers.get(&customer) {
            let name = regions.get(region).cloned().flatten();
            *expected
                .entry(name.unwrap_or("nowhere".to_owned()))
                .or_default() += amount;
        }
    }
    assert!(!expected.is_empty());
    let mut found = rows::<String, i64>(&mut driver, "sums-out");
    found.retain(|_, sum| *sum != 0);
    expected.retain(|_, sum| *sum != 0);
    assert_eq!(found, expected);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

#[test]
fn counts_in_the_same_windows_are_joined_and_grouped() {
    let builder = StreamBuilder::new();
    let counts = |topic: &str| {
        builder
            .stream::<String, String>(topic)
            .group_by_key(format!("{topic}-by-shop"))
            .windowed_by(TimeWindows::of(seconds(60)).grace(seconds(600)))
            .count(format!("{topic}-counts"))
    };
    counts("visits")
        .left_join(
            counts("sales"),
            |_, visits, sales| (*visits, sales.copied().unwrap_or(0)),
            "rates",
        )
        .filter(|_, (visits, _)| *visits > 1)
        .group_by("by-shop", |window, (visits, sales)| {
            (window.key.clone(), (*visits, *sales))
        })
        .aggregate(
            || (0, 0),
            |_, (visits, sales), (all, sold): (i64, i64)| (all + visits, sold + sales),
            |_, (visits, sales), (all, sold)| (all - visits, sold - sales),
            "by-shop-rows",
        )
        .to_stream()
        .to("rates-out");
    let mut driver = driver(builder);
    let mut numbers = Numbers(5);
    let mut model = BTreeMap::<(String, u64), (i64, i64)>::new();
    for _ in 0..200 {
        let (topic, shop) = (numbers.key(&["visits", "sales"]), numbers.key(&["p", "q"]));
        let second = numbers.below(500);
        pipe(
            &mut driver,
            &topic,
            &shop,
            String::new(),
            second as i64 * 1_000,
        );
        let row = model.entry((shop, second / 60)).or_default();
        match &*topic {
            "visits" => row.0 += 1,
            _ => row.1 += 1,
        }
    }
    let mut expected = BTreeMap::<String, (i64, i64)>::new();
    for ((shop, _), (visits, sales)) in model {
        if visits > 1 {
            let row = expected.entry(shop).or_default();
            *row = (row.0 + visits, row.1 + sales);
        }
    }
    assert_eq!(
        rows::<String, (i64, i64)>(&mut driver, "rates-out"),
        expected
    );
    assert!(driver.rebuild_and_compare().expect("compared"));
}
