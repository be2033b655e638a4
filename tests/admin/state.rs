//! The data of the page.

use crate::application::start;
use crate::client::{get, request};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_null() {
    let running = start();
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    let state = get(served.address, "/state").await.json();
    assert_eq!(state["committed_ms"], serde_json::Value::Null);
    let tasks = state["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 4);
    for task in tasks {
        assert_eq!(task["stream_time_ms"], serde_json::Value::Null, "{task}");
        for store in task["stores"].as_array().expect("stores") {
            assert_eq!(
                store["bytes"],
                serde_json::Value::Null,
                "in memory nobody counts them: {store}"
            );
            assert_eq!(store["rows"], 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_is_shown_as_it_is_wanted() {
    let running = start();
    let served = running.serve().await;
    let json = get(served.address, "/topology").await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(
        json.json()["subtopologies"].as_array().map(Vec::len),
        Some(2)
    );
    let change = &json.json()["change"];
    assert_eq!(change["application"], "words");
    assert_eq!(change["adds"][0]["name"], "counts", "{change}");
    assert_eq!(change["adds"][0]["topic"], "words-counts-changelog");
    assert_eq!(change["orphans"], serde_json::json!([]));
    let change = get(served.address, "/topology?format=change").await;
    assert!(
        change.body.contains("  adds     store counts ("),
        "{}",
        change.body
    );
    let dot = get(served.address, "/topology?format=dot").await;
    assert!(dot.body.starts_with("digraph topology {"), "{}", dot.body);
    let accept = [("Accept", "text/vnd.graphviz")];
    let negotiated = request(served.address, "GET", "/topology", &accept, "").await;
    assert_eq!(negotiated.body, dot.body);
    let text = get(served.address, "/topology?format=text").await;
    assert!(text.body.starts_with("sub-topology "), "{}", text.body);
    for wrong in [
        "/topology?format=xml",
        "/topology?fromat=dot",
        "/dead-letters?befor=0-1",
    ] {
        assert_eq!(get(served.address, wrong).await.status, 400, "{wrong}");
    }
}
