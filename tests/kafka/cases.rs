//! Cases of Kafka's own.

use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::SystemEnv;
use marea::log::KafkaLog;

use crate::broker::Broker;

type Case = fn(&Broker);

pub const CASES: &[(&str, Case)] = &[(
    "a_broker_out_of_reach_is_named_within_seconds",
    a_broker_out_of_reach_is_named_within_seconds,
)];

pub fn is_child() -> bool {
    false
}

pub fn child() {}

fn a_broker_out_of_reach_is_named_within_seconds(_: &Broker) {
    let started = Instant::now();
    let error =
        KafkaLog::connect("kafka://127.0.0.1:1", SystemEnv::shared()).expect_err("nobody is there");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
}
