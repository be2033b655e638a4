//! What a health check learns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use marea::base::ManualEnv;
use marea::log::MemoryLog;
use marea::prelude::*;

use crate::application::{start, start_on};
use crate::client::{get, get_until_well};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_becomes_ready_and_ends() {
    let mut running = start();
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    let live = get(served.address, "/health/live").await;
    assert_eq!((live.status, live.body.as_str()), (200, "alive, running\n"));
    let ready = get(served.address, "/health/ready").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (200, "ready, 4 tasks running\n")
    );
    running.gate.store(true, Ordering::Release);
    running
        .application
        .close(Duration::from_secs(60))
        .expect("it closes");
    let live = get(served.address, "/health/live").await;
    assert_eq!(live.status, 503);
    assert!(live.body.contains("has stopped"), "{}", live.body);
    let ready = get(served.address, "/health/ready").await;
    assert_eq!(ready.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_outlives_its_application() {
    let running = start();
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    drop(running);
    let live = get(served.address, "/health/live").await;
    assert_eq!(live.status, 503, "{}", live.body);
    let letters = get(served.address, "/dead-letters").await;
    assert_eq!(letters.status, 503, "{}", letters.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_application_is_not_alive_and_says_why() {
    let log = marea::open("memory:").expect("a log");
    let topics = ["in", "out"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("topics");
    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("in")
        .map_values(|_, _: String| -> String { panic!("no such thing") })
        .to("out");
    let application = Application::builder(builder.build().expect("a topology"), "failing")
        .log(log.clone())
        .settings(Settings::in_memory())
        .start()
        .expect("it starts");
    let gate = std::sync::Arc::default();
    let running = crate::application::Running {
        application,
        log,
        gate,
    };
    let served = running.serve().await;
    let mut producer = running
        .log
        .producer::<String, String>("in")
        .expect("a producer");
    producer.send("a".to_owned(), "b".to_owned()).expect("sent");
    running
        .until("its failure", |snapshot| snapshot.error.is_some())
        .await;
    let live = get(served.address, "/health/live").await;
    assert_eq!(live.status, 503);
    assert!(live.body.contains("no such thing"), "{}", live.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stuck_is_not_alive_until_it_is_free() {
    // The group expels by the log's clock: nobody is silent while that stands still.
    let clock = ManualEnv::new(1_000_000, 1);
    let running = start_on(Arc::new(MemoryLog::new(clock.clone())));
    running
        .until("running", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    running.feed(&[("a", "wait")]);
    running
        .until("a stuck worker", |snapshot| {
            snapshot.workers.iter().any(|worker| worker.stuck.is_some())
        })
        .await;
    clock.advance_ms(Settings::default().max_poll_interval_ms as i64 + 1);
    running
        .until("an expulsion", |snapshot| {
            snapshot
                .workers
                .iter()
                .any(|worker| worker.expelled && worker.stuck.is_some())
        })
        .await;
    let live = get(served.address, "/health/live").await;
    assert_eq!(live.status, 503);
    assert!(
        live.body.contains("is stuck") && live.body.contains("at readings-"),
        "{}",
        live.body
    );
    let ready = get(served.address, "/health/ready").await;
    assert_eq!(ready.status, 503);
    running.gate.store(true, Ordering::Release);
    running
        .until("its return", |snapshot| {
            snapshot.workers.iter().all(|worker| !worker.expelled) && snapshot.tasks.len() == 4
        })
        .await;
    get_until_well(served.address, "/health/live").await;
    // The tasks that it gets back are handed over first.
    get_until_well(served.address, "/health/ready").await;
}
