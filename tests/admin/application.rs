//! An application with a bit of everything, and its monitoring on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use marea::admin::{AdminOptions, Guard, Limits, Server, Token, router};
use marea::prelude::*;
use marea::runtime::Snapshot;

pub const SECRET: &str = "0123456789abcdef-secret";

/// An application that counts words in windows, refuses values that are no numbers, and writes dead letters.
pub struct Running {
    pub application: Application,
    pub log: Arc<dyn Log>,
    /// Records are held until this is set.
    pub gate: Arc<AtomicBool>,
}

/// Readings: a key, and a value that is a number or a dead letter. "wait" blocks until the gate opens.
pub fn start() -> Running {
    start_on(marea::open("memory:").expect("a log"))
}

pub fn start_on(log: Arc<dyn Log>) -> Running {
    let topics = ["readings", "totals", "dead-letters"];
    let topics = topics.map(|name| TopicSpec::new(name, 2));
    log.create_topics(&topics).expect("topics");
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("readings")
        .map_values(move |_, value: String| {
            while value == "wait" && !opened.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            match value.as_str() {
                "wait" => 0,
                value => value.parse::<i64>().expect("a reading is a number"),
            }
        })
        .group_by("by-name", |key, _| key.clone())
        .windowed_by(TimeWindows::of(Duration::from_secs(10)))
        .count("counts")
        .to_stream()
        .present()
        .map(|window, count: i64| (window.key, count))
        .to("totals");
    let settings = Settings {
        workers: 2,
        policies: ErrorPolicies::all(Policy::DeadLetter),
        dead_letter_topic: Some("dead-letters".to_owned()),
        idle_timeout_ms: None,
        ..Settings::in_memory()
    };
    let application = Application::builder(builder.build().expect("a topology"), "words")
        .log(Arc::clone(&log))
        .settings(settings)
        .start()
        .expect("it starts");
    Running {
        application,
        log,
        gate,
    }
}

impl Running {
    /// Appends readings.
    pub fn feed(&self, readings: &[(&str, &str)]) {
        let producer = self.log.producer::<String, String>("readings");
        let records = readings.iter().enumerate().map(|(number, (key, value))| {
            Record::new(
                (*key).to_owned(),
                (*value).to_owned(),
                number as i64 * 1_000,
            )
        });
        let sent = producer.expect("a producer").send_all(records);
        sent.expect("appended");
    }

    /// Waits until the snapshot is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        for _ in 0..6_000 {
            let snapshot = self.application.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come: {:?}", self.application.snapshot());
    }

    /// Serves it on loopback with [`SECRET`] for changes, until the server is dropped.
    pub async fn serve(&self) -> Served {
        let token = Token::new(SECRET).expect("a token");
        let address = "127.0.0.1:0".parse().expect("an address");
        let guard = Guard::for_address(address, Some(token)).expect("a loopback address");
        self.serve_as(AdminOptions::new(guard), Limits::default())
            .await
    }

    pub async fn serve_as(&self, options: AdminOptions, limits: Limits) -> Served {
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(address, limits).await.expect("a free port");
        let address = server.address();
        let router = router(self.application.handle(), options);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let until = async { drop(stopped.await) };
        tokio::spawn(async move { server.serve(router, until).await });
        Served {
            address,
            _stop: stop,
        }
    }
}

/// The served routes of an application.
pub struct Served {
    pub address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}
