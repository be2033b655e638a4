use marea::dsl::StreamBuilder;

use super::words::*;

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "filter" => b
            .stream("in", strings())
            .filter(|_, v| v.is_some() && !starts(v, "x"))
            .to("out", out()),
        "filter-not" => b
            .stream("in", strings())
            .filter_not(|k, v| k.is_none() || is(v, "y"))
            .to("out", out()),
        "map" => b
            .stream("in", strings())
            .map(|k, v| (v, k))
            .to("out", out()),
        "map-values" => b
            .stream("in", strings())
            .map_values(|k, v| Some(format!("{}={}", read(k), read(&v))))
            .to("out", out()),
        "map-values-to-long" => b
            .stream("in", strings())
            .map_values(|_, v| v.map(|v| v.encode_utf16().count() as i64))
            .to("out", out_longs()),
        "flat-map" => b
            .stream("in", strings())
            .flat_map(|k: Text, v| {
                let parts = split(&v).into_iter().enumerate();
                let pair = move |(i, part)| (Some(part), Some(format!("{}#{i}", read(&k))));
                parts.map(pair).collect::<Vec<(Text, Text)>>()
            })
            .to("out", out()),
        "flat-map-values" => b
            .stream("in", strings())
            .flat_map_values(|_, v| split(&v).into_iter().map(Some).collect::<Vec<_>>())
            .to("out", out()),
        "select-key" => b
            .stream("in", strings())
            .select_key(|_, v| first(v))
            .to("out", out()),
        "branch-with-default" => {
            let mut split = b.stream("in", strings()).split();
            split.branch(|_, v| starts(v, "x")).to("out-x", out());
            let x_or_y = |_: &Text, v: &Text| starts(v, "x") || starts(v, "y");
            split.branch(x_or_y).to("out-y", out());
            split.default_branch().to("out-rest", out());
        }
        "branch-no-default" => {
            let mut split = b.stream("in", strings()).split();
            split.branch(|_, v| starts(v, "x")).to("out-x", out());
            split.branch(|_, v| v.is_none()).to("out-null", out());
        }
        "branch-with-function" => {
            let mut split = b.stream("in", strings()).split();
            let x = split
                .branch(|_, v| starts(v, "x"))
                .map_values(|_, v| Some(format!("{}!", read(&v))));
            split.branch(|_, v| starts(v, "y")).to("out-y", out());
            x.merge(split.default_branch()).to("out", out());
        }
        "merge" => b
            .stream("in1", strings())
            .merge(b.stream("in2", strings()))
            .to("out", out()),
        "merge-with-itself" => {
            let input = b.stream("in", strings());
            let labelled = input
                .clone()
                .map_values(|_, v| Some(format!("{}'", read(&v))));
            input.merge(labelled).to("out", out());
        }
        "source-of-two-topics" => b
            .stream_of(["in1", "in2"], strings())
            .map_values(|_, v| Some(format!("{}!", read(&v))))
            .to("out", out()),
        "peek" => b.stream("in", strings()).peek(|_, _| {}).to("out", out()),
        "fan-out" => {
            let input = b.stream("in", strings());
            let present = input.clone().filter(|_, v| v.is_some());
            present
                .clone()
                .map_values(|_, v| v.map(|v| v.to_uppercase()))
                .to("out1", out());
            present
                .flat_map_values(|_, v| [v.clone(), v])
                .to("out2", out());
            input.clone().to("out1", out());
            input.to("out2", out());
        }
        "repartition" => b
            .stream("in", strings())
            .select_key(|_, v| v.clone())
            .repartition(repartitioned("by-value"))
            .map_values(|k, v| Some(format!("{}={}", read(k), read(&v))))
            .to("out", out()),
        "headers-stateless" => {
            let input = b.stream("in", strings()).filter(|_, v| !is(v, "x"));
            input
                .clone()
                .select_key(|_, v| v.clone())
                .repartition(repartitioned("by-value"))
                .merge(input)
                .to("out", out());
        }
        "deserialization-continue" => b
            .stream("in", longs())
            .map_values(|_, v| v.map(|v| v % 1000))
            .to("out", out_longs()),
        "table-unmaterialized" => b.table("in", strings()).to_stream().to("out", out_rows()),
        "table-to-stream" => b
            .materialized_table("in", strings(), kv("table"))
            .to_stream()
            .to("out", out_rows()),
        "table-in-memory" => b
            .materialized_table("in", strings(), kv("table").in_memory())
            .to_stream()
            .to("out", out_rows()),
        "table-to-stream-rekeyed" => b
            .materialized_table("in", strings(), kv("table"))
            .to_stream()
            .select_key(|_, v| v.clone().flatten())
            .to("out", out_rows()),
        "table-map-values" => b
            .table("in", strings())
            .map_values(|k, v| Some(Some(format!("{}={}", read(k), read(&v)))))
            .to_stream()
            .to("out", out_rows()),
        "table-filter" => b
            .table("in", strings())
            .filter(|_, v| !starts(v, "x"))
            .to_stream()
            .to("out", out_rows()),
        "table-filter-of-materialized" => b
            .materialized_table("in", strings(), kv("table"))
            .filter(|_, v| !starts(v, "x"))
            .to_stream()
            .to("out", out_rows()),
        _ => return false,
    }
    true
}
