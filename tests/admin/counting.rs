//! An application that counts words, with a store of each kind, and several instances of it on one log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use marea::admin::{AdminOptions, Guard, Limits, ServedStores, Server, router};
use marea::prelude::*;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::client::{Answer, PATIENCE, get};

pub const PARTITIONS: u32 = 4;

/// Sums of the values, counts by the minute and by visit, and the last value, which a null deletes.
pub fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let words = builder.stream::<String, Option<i64>>("words");
    let values = words.clone().present();
    let sums = values.clone().group_by_key("for-sums");
    sums.aggregate(|| 0, |_, value, sum: i64| sum + value, "sums");
    let minutes = values.clone().group_by_key("for-minutes");
    minutes
        .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(600)))
        .count("minutes");
    let visits = values.group_by_key("for-visits");
    visits
        .windowed_by(
            SessionWindows::with_gap(Duration::from_secs(10)).grace(Duration::from_secs(600)),
        )
        .count("visits");
    words.to_table("last");
    builder.build().expect("a topology")
}

/// A log with the input of the topology.
pub fn log_at(url: &str) -> Arc<dyn Log> {
    let log = marea::open(url).expect("a log");
    let topics = [TopicSpec::new("words", PARTITIONS)];
    log.create_topics(&topics).expect("topics");
    log
}

/// A served instance, and its address.
pub struct Instance {
    pub application: Application,
    pub address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// All stores of the topology.
pub fn all(stores: ServedStores) -> ServedStores {
    let stores = stores.key_value::<String, i64>("sums").expect("sums");
    let stores = stores.windows::<String, i64>("minutes").expect("minutes");
    let stores = stores.sessions::<String, i64>("visits").expect("visits");
    let last = stores.key_value::<String, Option<i64>>("last");
    last.expect("last")
}

pub fn open() -> Guard {
    let address = "127.0.0.1:0".parse().expect("an address");
    Guard::for_address(address, None).expect("a loopback address")
}

impl Instance {
    /// An instance that announces its address to the others.
    pub async fn start(log: &Arc<dyn Log>) -> Self {
        Self::start_with(log, open(), all).await
    }

    pub async fn start_with(
        log: &Arc<dyn Log>,
        guard: Guard,
        stores: impl FnOnce(ServedStores) -> ServedStores,
    ) -> Self {
        Self::start_below("", log, guard, stores).await
    }

    /// One of another topology, and so of another application.
    pub async fn start_of(
        topology: Topology,
        id: &str,
        log: &Arc<dyn Log>,
        stores: impl FnOnce(ServedStores) -> ServedStores,
    ) -> Self {
        Self::start_as(topology, id, "", log, open(), stores).await
    }

    /// An instance whose routes are below a path.
    pub async fn start_below(
        path: &str,
        log: &Arc<dyn Log>,
        guard: Guard,
        stores: impl FnOnce(ServedStores) -> ServedStores,
    ) -> Self {
        Self::start_as(topology(), "counting", path, log, guard, stores).await
    }

    async fn start_as(
        topology: Topology,
        id: &str,
        path: &str,
        log: &Arc<dyn Log>,
        guard: Guard,
        stores: impl FnOnce(ServedStores) -> ServedStores,
    ) -> Self {
        let application = Application::builder(topology, id)
            .log(Arc::clone(log))
            .settings(Settings::in_memory())
            .start()
            .expect("it starts");
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(address, Limits::default()).await;
        let server = server.expect("a free port");
        let address = server.address();
        let served = stores(ServedStores::of(application.handle()));
        let served = served.advertised_url(&format!("http://{address}{path}"));
        let options = AdminOptions::new(guard).stores(served.expect("an address"));
        let router = router(application.handle(), options);
        let router = match path {
            "" => router,
            path => axum::Router::new().nest(path, router),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let until = async { drop(stopped.await) };
        tokio::spawn(async move { server.serve(router, until).await });
        Self {
            application,
            address,
            _stop: stop,
        }
    }

    /// Waits until this many tasks are open in it.
    pub async fn until_it_has(&self, tasks: usize) {
        let queries = self.application.queries();
        let until = async {
            while queries.tasks().len() != tasks {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, until).await.expect("its tasks in time");
    }

    pub async fn get(&self, path: &str) -> Answer {
        get(self.address, path).await
    }

    /// The answer, once it no longer says to ask again.
    pub async fn get_patiently(&self, path: &str) -> Answer {
        patiently(async || self.get(path).await).await
    }

    /// The row of a key, as of at least a position.
    pub async fn row(&self, store: &str, key: &str, at_least: &str) -> Value {
        let path = format!("/stores/{store}/key/%22{key}%22?at_least={at_least}&wait_ms=30000");
        let answer = self.get_patiently(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub fn close(&mut self) {
        self.application.close(PATIENCE).expect("it closes");
    }
}

/// The answer, once it no longer says to ask again.
pub async fn patiently(ask: impl AsyncFn() -> Answer) -> Answer {
    let mut last = None;
    let until = async {
        loop {
            let answer = ask().await;
            if answer.status != 503 {
                return answer;
            }
            assert_eq!(answer.header("retry-after"), "1", "{answer:?}");
            last = Some(answer);
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(PATIENCE, until).await;
    found.unwrap_or_else(|_| panic!("no answer in time, but {last:?}"))
}

/// Sends a value of a key, and returns the position after it in the format of `at_least`.
pub fn send(log: &Arc<dyn Log>, key: &str, value: Option<i64>, timestamp_ms: i64) -> String {
    let producer = log.producer::<String, Option<i64>>("words");
    let record = Record::new(key.to_owned(), value, timestamp_ms);
    let sent = producer.expect("a producer").send_record(&record);
    let (partition, position) = sent.expect("sent").position();
    format!("{partition}:{position}")
}

/// The partition that an answer comes from.
pub fn partition_of(answer: &Value) -> u32 {
    let task = answer["task"].as_str().expect("a task");
    let number = task.rsplit_once('_').expect("two parts").1;
    number.parse().expect("a number")
}
