//! The dashboard and the alerts of `docs/admin.md` query only metrics that exist.

use serde_json::Value;

use crate::application::start;
use crate::client::get;
use crate::openmetrics::{self, Families};
use crate::promql::Known;

const DASHBOARD: &str = include_str!("../../deploy/grafana/marea.json");
const PAGE: &str = include_str!("../../docs/admin.md");

/// The metrics of an application that has done a bit of everything.
async fn families() -> Families {
    let running = start();
    running.feed(&[("a", "1"), ("b", "no number")]);
    running
        .until("a commit", |snapshot| {
            let mut outputs = snapshot.tasks.iter().flat_map(|task| &task.outputs);
            outputs.any(|(topic, traffic)| &**topic == "totals" && traffic.records > 0)
        })
        .await;
    let served = running.serve().await;
    let answer = get(served.address, "/metrics").await;
    openmetrics::parse(&answer.body).unwrap_or_else(|wrong| panic!("{wrong}\n{}", answer.body))
}

/// The labels that a legend shows.
fn legend(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0.trim()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_metrics_that_there_are() {
    let known = Known::of(&families().await);
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut queries, mut wrong) = (0, Vec::new());
    for panel in panels {
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let is_row = panel["type"] == "row";
        assert_eq!(targets.is_empty(), is_row, "{}", panel["title"]);
        for target in targets {
            queries += 1;
            let query = target["expr"].as_str().expect("a query");
            // The last value in a range would be the last that met the condition, however long ago.
            let is_of_now = target["instant"] == true && target["range"] == false;
            if panel["type"] == "stat" && query.contains(['<', '>']) && !is_of_now {
                wrong.push(format!("{}: must be an instant query", panel["title"]));
            }
            match known.check(query) {
                Err(why) => wrong.push(format!("{}: {why}", panel["title"])),
                Ok(labels) => {
                    let text = target["legendFormat"].as_str().unwrap_or_default();
                    let lost = legend(text).filter(|label| !labels.contains(*label));
                    wrong.extend(lost.map(|label| format!("{}: no label {label}", panel["title"])));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(queries >= 25, "{queries} queries");
    let ids = panels.iter().map(|panel| panel["id"].as_u64());
    let unique: std::collections::BTreeSet<_> = ids.collect();
    assert_eq!(
        unique.len(),
        panels.len(),
        "each panel has a number of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choices_of_the_dashboard_are_labels_that_there_are() {
    let families = families().await;
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let asked = variables
        .iter()
        .filter(|variable| variable["type"] == "query");
    let mut names = vec!["datasource".to_owned(), "__rate_interval".to_owned()];
    for variable in asked {
        let query = variable["query"]["query"].as_str().expect("a query");
        assert_eq!(variable["definition"], query);
        let inner = query.strip_prefix("label_values(");
        let inner = inner.and_then(|inner| inner.strip_suffix(')'));
        let (metric, label) = inner
            .and_then(|inner| inner.rsplit_once(", "))
            .expect(query);
        assert!(["job", "instance"].contains(&label), "{query}");
        let metric = metric.split('{').next().unwrap_or_default();
        let family = metric.strip_suffix("_info").expect("an info");
        assert_eq!(families[family].kind, "info");
        names.push(variable["name"].as_str().expect("a name").to_owned());
    }
    for part in DASHBOARD.split('$').skip(1) {
        let end = part.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
        let name = match part.strip_prefix('{') {
            Some(braced) => braced.split('}').next().unwrap_or_default(),
            None => &part[..end.unwrap_or(part.len())],
        };
        let is_known = name == "__all" || names.iter().any(|known| known == name);
        assert!(is_known, "${name} is not defined");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_to_be_woken_for_can_be_asked() {
    let known = Known::of(&families().await);
    let table = PAGE.split_once("## Prometheus").expect("the table").1;
    let lines = table.lines().skip_while(|line| !line.starts_with("| `"));
    let lines = lines.take_while(|line| line.starts_with("| `"));
    let mut found = 0;
    for line in lines {
        let query = line.split('`').nth(1).expect("a query");
        known.check(query).unwrap_or_else(|wrong| panic!("{wrong}"));
        found += 1;
    }
    assert!(found >= 9, "{found} expressions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_for_what_is_not_there_is_found() {
    let known = Known::of(&families().await);
    let good = [
        "sum by (topic) (rate(marea_input_records_total{topic=\"readings\"}[5m])) > 0",
        "histogram_quantile(0.5, sum by (le) (rate(marea_commit_latency_seconds_bucket[5m])))",
        "marea_lag_records > 10000 and deriv(marea_lag_records[10m]) > 0",
        "sum(marea_memory_bytes{part=\"fetched\"})",
    ];
    for query in good {
        assert!(known.check(query).is_ok(), "{:?}", known.check(query));
    }
    let bad = [
        // Names, labels and values.
        "rate(marea_input_record_total[5m])",
        "rate(marea_input_records[5m])",
        "sum by (topics) (rate(marea_input_records_total[5m]))",
        "sum(marea_memory_bytes{parts=\"fetched\"})",
        "sum(marea_memory_bytes{part=\"fetch\"})",
        "sum by (worker) (marea_restored_records)",
        // What functions are for.
        "sum(marea_input_records_total)",
        "rate(marea_lag_records[5m])",
        "rate(marea_input_records_total)",
        "marea_lag_records[5m]",
        "median(marea_lag_records)",
        // Quantiles.
        "histogram_quantile(0.5, sum by (worker) (rate(marea_commit_latency_seconds_bucket[5m])))",
        "histogram_quantile(0.5, sum(rate(marea_commit_latency_seconds_bucket[5m])))",
        "histogram_quantile(0.5, rate(marea_commit_latency_seconds_sum[5m]))",
        "histogram_quantile(0.5, marea_commit_age_seconds)",
        "sum(rate(marea_commit_latency_seconds_bucket[5m]))",
        // Brackets.
        "sum(marea_lag_records",
        "sum(marea_lag_records))",
        "1 + 1",
    ];
    for query in bad {
        assert!(known.check(query).is_err(), "{query}");
    }
}
