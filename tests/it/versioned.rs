//! Versioned tables, for what the vectors do not cover.

use std::time::Duration;

use marea::base::{ErrorKind, Record};
use marea::codec::{Nullable, Utf8};
use marea::dsl::{Consumed, Joined, Materialized, Produced, StreamBuilder, Suppressed};
use marea::testing::Driver;

type Text = Option<String>;
const TEXT: Nullable<Utf8> = Nullable(Utf8);
const SECOND: Duration = Duration::from_secs(1);

fn versioned() -> Materialized<String> {
    Materialized::named("rows").versioned(10 * SECOND)
}

fn message(builder: StreamBuilder) -> String {
    let error = builder.build().expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn a_record_without_a_key_does_not_wait_for_the_table() {
    let builder = StreamBuilder::new();
    let table = builder.table_with("table", Consumed::with(TEXT, Utf8), versioned());
    builder
        .stream_with("stream", Consumed::with(TEXT, TEXT))
        .left_join_table(
            &table,
            |_, left, right| Some(format!("{left:?} {right:?}")),
            Joined::with("join", TEXT, TEXT).grace(SECOND),
        )
        .to_with("out", Produced::with(TEXT, TEXT));
    let mut driver = Driver::new(builder.build().expect("valid")).expect("opens");
    let stream = driver.input_topic_with("stream", TEXT, TEXT);
    let out = driver.output_topic_with::<Text, Text>("out", TEXT, TEXT);
    let key = Some("k".to_owned());
    for (key, at_ms) in [(key.clone(), 5_000), (None, 9_000), (key, 5_500)] {
        let record = Record::new(key, Some(at_ms.to_string()), at_ms);
        stream.pipe(&mut driver, record).expect("piped");
    }
    let found = out.read(&mut driver).expect("reads");
    let values: Vec<_> = found.into_iter().map(|record| record.value).collect();
    assert_eq!(values, [Some("Some(\"9000\") None".to_owned())]);
    // What waits is sent when the input has ended.
    driver.drain().expect("drains");
    let found = out.read(&mut driver).expect("reads");
    assert_eq!(found.len(), 2);
}

#[test]
fn what_cannot_be_versioned_is_refused_with_its_cure() {
    let builder = StreamBuilder::new();
    builder
        .table::<String, String>("in", versioned().in_memory())
        .to_stream()
        .to("out");
    assert!(message(builder).contains("remove one of"));

    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("in")
        .group_by_key("by-key")
        .count(Materialized::named("counts").versioned(SECOND))
        .to_stream()
        .to("out");
    assert!(message(builder).contains("put `materialized` behind it"));

    let builder = StreamBuilder::new();
    builder
        .table::<String, String>("in", versioned())
        .suppress(Suppressed::until_time_limit("calm", SECOND))
        .to_stream()
        .to("out");
    assert!(message(builder).contains("before `suppress`"));

    for (store, cure) in [
        (Materialized::named("rows"), "`Materialized::versioned`"),
        (versioned(), "a longer history"),
    ] {
        let builder = StreamBuilder::new();
        let table = builder.table::<String, String>("table", store);
        builder
            .stream::<String, String>("stream")
            .join_table(
                &table,
                |_, left, _| left,
                Joined::named("join").grace(11 * SECOND),
            )
            .to("out");
        let message = message(builder);
        assert!(message.contains(cure), "{message}");
    }
}
