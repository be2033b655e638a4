//! Orders joined with customers, revenue per minute and region:
//! `cargo run --release --example revenue` prints a line for each.

use marea::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Serialize, Deserialize, marea::Json)]
struct Customer {
    region: String,
}

#[derive(Clone, Serialize, Deserialize, marea::Json)]
struct Order {
    customer: String,
    amount: f64,
}

fn main() -> marea::Result<()> {
    let builder = StreamBuilder::new();
    let customers = builder.table::<String, Customer>("customers", "customers");
    builder
        .stream::<String, Order>("orders")
        .select_key(|_, order| order.customer.clone())
        .repartition("by-customer")
        .join_table(
            &customers,
            |_, order, customer| (customer.region, order.amount),
            "with-region",
        )
        .map(|_, (region, amount)| (region, amount))
        .group_by_key("by-region")
        .windowed_by(TimeWindows::of(Duration::from_secs(60)))
        .reduce(|sum, amount| sum + amount, "revenue")
        .suppress(Suppressed::until_window_closes("final"))
        .to_stream()
        .present()
        .to("revenue");

    let log = marea::open("memory:")?;
    let topics = ["customers", "orders", "revenue"].map(|name| TopicSpec::new(name, 2));
    log.create_topics(&topics)?;
    let mut customers = log.producer::<String, Customer>("customers")?;
    for (name, region) in [("ada", "eu"), ("bob", "us"), ("cem", "eu")] {
        let region = region.to_owned();
        customers.send_record(&Record::new(name.to_owned(), Customer { region }, 0))?;
    }
    let orders = [
        ("ada", 10.0, 1_000),
        ("bob", 7.5, 2_000),
        ("cem", 5.0, 30_000),
        ("ada", 1.0, 61_000),
    ];
    let orders = orders.into_iter().enumerate().map(|(number, order)| {
        let (customer, amount, timestamp_ms) = order;
        let customer = customer.to_owned();
        Record::new(
            format!("order-{number}"),
            Order { customer, amount },
            timestamp_ms,
        )
    });
    log.producer::<String, Order>("orders")?.send_all(orders)?;

    let mut application = Application::builder(builder.build()?, "revenue")
        .log(log.clone())
        .settings(Settings::in_memory())
        .start()?;
    // The input has ended, so the windows that are open close.
    application.drain(Duration::from_secs(60))?;
    application.close(Duration::from_secs(60))?;

    let mut revenue = log.records::<Windowed<String>, f64>("revenue")?;
    revenue.sort_by_key(|record| (record.key.start_ms, record.key.key.clone()));
    for record in revenue {
        let minute = record.key.start_ms / 60_000;
        println!("minute {minute}, {}: {}", record.key.key, record.value);
    }
    Ok(())
}
