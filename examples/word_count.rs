//! Counts words: `cargo run --release --example word_count` prints each with its number.

use marea::prelude::*;
use std::{collections::BTreeMap, time::Duration};

fn main() -> marea::Result<()> {
    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("lines")
        .flat_map_values(|_, line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .group_by("by-word", |_, word| word.clone())
        .count("words")
        .to_stream()
        .present()
        .to("counts");

    // A durable log in this process is "embedded:./data"; a cluster is "kafka://HOST:PORT".
    let log = marea::open("memory:")?;
    log.create_topics(&[TopicSpec::new("lines", 4), TopicSpec::new("counts", 4)])?;
    let mut lines = log.producer::<String, String>("lines")?;
    for line in ["ebb flow ebb", "flow ebb"] {
        lines.send("tide".to_owned(), line.to_owned())?;
    }

    let mut application = Application::builder(builder.build()?, "word-count")
        .log(log.clone())
        .settings(Settings::in_memory())
        .start()?;
    // A service calls `run_until(&StopSignal::listen()?, ..)`, or `run().await` under tokio.
    application.drain(Duration::from_secs(60))?;
    application.close(Duration::from_secs(60))?;

    // Each count is a record; the last one of a word is its number.
    let counts = log.records::<String, i64>("counts")?.into_iter();
    let counts: BTreeMap<_, _> = counts.map(|count| (count.key, count.value)).collect();
    for (word, count) in counts {
        println!("{word} {count}");
    }
    Ok(())
}
