//! The stream of states.

use crate::application::start;
use crate::client::{Events, get};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_broke() {
    let running = start();
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    let mut stream = Events::open(served.address, None).await;
    let (first, state) = stream.next().await;
    assert_eq!(state["application"], "words");
    assert_eq!(state["state"], "running");
    // Another one stays open, so that states are made in the meantime.
    let mut other = Events::open(served.address, None).await;
    drop(stream);
    other.next().await;
    let (second, _) = other.next().await;
    let mut back = Events::open(served.address, Some(&first)).await;
    let (number, expected) = (number(&first), number(&second));
    let (resumed, _) = back.next().await;
    assert_eq!(self::number(&resumed), number + 1, "nothing is left out");
    assert!(number < expected);
    assert_eq!(epoch(&resumed), epoch(&first));
    // With an id of another process it begins with the last state.
    let mut foreign = Events::open(served.address, Some("0-0")).await;
    let (begun, _) = foreign.next().await;
    assert!(self::number(&begun) >= expected, "{begun}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_what_the_state_is() {
    let running = start();
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    let (_, event) = Events::open(served.address, None).await.next().await;
    let state = get(served.address, "/state").await.json();
    let names = |state: &serde_json::Value| {
        let state = state.as_object().expect("an object");
        state.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&event), names(&state));
}

fn number(id: &str) -> u64 {
    id.split_once('-')
        .expect("two parts")
        .1
        .parse()
        .expect("a number")
}

fn epoch(id: &str) -> &str {
    id.split_once('-').expect("two parts").0
}
