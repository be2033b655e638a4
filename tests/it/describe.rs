//! `describe()` is the golden format: a change of names shows as a diff. `UPDATE_GOLDENS=1` rewrites.

use std::path::Path;
use std::time::Duration;

use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Joined, Materialized, Produced, StreamBuilder, StreamJoined,
    Suppressed, TimeWindows,
};
use marea::topology::Topology;

fn check(name: &str, described: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, described).expect("a golden file");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == described,
        "{name} differs; if that is wanted, run with UPDATE_GOLDENS=1\n--- golden\n{golden}\n--- now\n{described}"
    );
}

fn words() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("lines", Consumed::with(Utf8, Utf8))
        .flat_map_values(|_, line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .named("split")
        .group_by(Grouped::with("by-word", Utf8, Utf8), |_, word| word.clone())
        .count("words")
        .to_stream()
        .to_with("counts", Produced::with(Utf8, Nullable(I64)));
    builder.build().expect("a topology")
}

fn joins() -> Topology {
    let builder = StreamBuilder::new();
    let consumed = || Consumed::with(Utf8, Utf8);
    let sensors = Materialized::with("sensors", Utf8);
    let sensors = builder.table_with("sensors", consumed(), sensors);
    let placed = builder.stream_with("readings", consumed()).join_table(
        &sensors,
        |_, reading, place| format!("{place}={reading}"),
        Joined::with("place", Utf8, Utf8),
    );
    let minute = Duration::from_secs(60);
    placed
        .join(
            builder.stream_with("alarms", consumed()),
            |_, reading, alarm| format!("{reading} {alarm}"),
            JoinWindows::of(minute),
            StreamJoined::with("alarmed", Utf8, Utf8, Utf8).in_memory(),
        )
        .group_by(Grouped::with("by-text", Utf8, Utf8), |_, text| text.clone())
        .windowed_by(TimeWindows::of(minute).grace(minute))
        .count("per-minute")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .to_with(
            "out",
            Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)),
        );
    builder.build().expect("a topology")
}

#[test]
fn words_as_text_json_and_dot() {
    let words = words();
    check("words.txt", &words.describe());
    check("words.json", &words.describe_json());
    check("words.dot", &words.describe_dot());
}

#[test]
fn joins_as_text() {
    check("joins.txt", &joins().describe());
}
