//! Spans: one for each step, commit and restore, and none for a record.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marea::base::{Env, Result, SystemEnv, Thread, TopicPartition};
use marea::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, dispatcher, span};

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: u64 = 20_000;
const KEYS: u64 = 50;

/// A span: its name, its fields as text, and how often it is referred to.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    references: usize,
}

impl Seen {
    fn number(&self, field: &str) -> u64 {
        let text = self.fields.get(field);
        let number = text.and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{field} of {self:?}"))
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Collects the spans, and nothing else.
#[derive(Clone, Default)]
struct Collected {
    next: Arc<AtomicU64>,
    spans: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

impl Collected {
    fn change(&self, id: &span::Id, change: impl FnOnce(&mut Seen)) {
        let mut spans = self.spans.lock().expect("sound");
        change(spans.get_mut(&id.into_u64()).expect("a known span"));
    }

    /// All of them so far, which are closed by now.
    fn closed(&self) -> Vec<Seen> {
        let spans = self.spans.lock().expect("sound");
        let spans: Vec<Seen> = spans.values().cloned().collect();
        assert!(spans.iter().all(|seen| seen.references == 0), "{spans:?}");
        spans
    }
}

impl tracing::Subscriber for Collected {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut seen = Seen {
            name: attributes.metadata().name(),
            references: 1,
            ..Seen::default()
        };
        attributes.record(&mut seen);
        let id = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        self.spans.lock().expect("sound").insert(id, seen);
        span::Id::from_u64(id)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        self.change(id, |seen| values.record(seen));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn clone_span(&self, id: &span::Id) -> span::Id {
        self.change(id, |seen| seen.references += 1);
        id.clone()
    }

    fn try_close(&self, id: span::Id) -> bool {
        self.change(&id, |seen| seen.references -= 1);
        true
    }
}

/// The real one, whose threads have a subscriber. Other tests of this process have none.
#[derive(Debug)]
struct TracedEnv {
    real: Arc<SystemEnv>,
    to: Dispatch,
}

impl Env for TracedEnv {
    fn wall_ms(&self) -> i64 {
        self.real.wall_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.real.monotonic_ns()
    }

    fn random_u64(&self) -> u64 {
        self.real.random_u64()
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
        let to = self.to.clone();
        let body = Box::new(move || dispatcher::with_default(&to, body));
        self.real.spawn(name, body)
    }

    fn sleep(&self, duration: Duration) {
        self.real.sleep(duration);
    }
}

/// Counts what is in the log, with a subscriber, and returns the spans of that.
fn count(log: &Arc<dyn Log>, end: i64) -> Vec<Seen> {
    let builder = StreamBuilder::new();
    let records = builder.stream::<u64, u64>("in");
    records.group_by_key("by-key").count("counts");
    let collected = Collected::default();
    let to = Dispatch::new(collected.clone());
    // With a single subscriber, what is found out about a span where it is first met, which may be in a thread of
    // another test, holds for all threads. With two, each thread is asked.
    let _other = Dispatch::new(Collected::default());
    let env = TracedEnv {
        real: SystemEnv::shared(),
        to,
    };
    let mut application = Application::builder(builder.build().expect("a topology"), "spanned")
        .log(Arc::clone(log))
        .env(Arc::new(env))
        .settings(Settings {
            workers: 1,
            ..Settings::in_memory()
        })
        .start()
        .expect("it starts");
    let queries = application.queries();
    loop {
        let view = queries.view_at(&[(TopicPartition::new("in", 0), end)], DEADLINE);
        if view
            .expect("counted in time")
            .is_complete("counts")
            .expect("a store")
        {
            break;
        }
    }
    application.close(DEADLINE).expect("closed");
    drop(application);
    collected.closed()
}

fn named<'a>(spans: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    spans.iter().filter(|seen| seen.name == name).collect()
}

#[test]
fn a_batch_has_a_span_and_a_record_has_none() {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[TopicSpec::new("in", 1)])
        .expect("a topic");
    let mut producer = log.producer::<u64, u64>("in").expect("a producer");
    let records = (0..RECORDS).map(|number| Record::new(number % KEYS, number, 1_000));
    producer.send_all(records).expect("sent");
    let end = RECORDS as i64;

    let spans = count(&log, end);
    let steps = named(&spans, "step");
    let records: u64 = steps.iter().map(|step| step.number("records")).sum();
    let bytes: u64 = steps.iter().map(|step| step.number("bytes")).sum();
    assert_eq!(records, RECORDS);
    assert_eq!(bytes, RECORDS * 16, "keys and values of eight bytes");
    assert!(steps.iter().all(|step| step.fields["task"] == "counts_0"));
    let commits = named(&spans, "commit");
    assert!(commits.iter().all(|commit| commit.number("tasks") == 1));
    assert!(
        commits
            .iter()
            .all(|commit| commit.number("duration_us") > 0)
    );
    let changes: u64 = commits.iter().map(|commit| commit.number("records")).sum();
    assert!((KEYS..RECORDS).contains(&changes), "{changes}");
    assert!(commits.iter().any(|commit| commit.number("bytes") > 0));
    assert_eq!(
        named(&spans, "restore").len(),
        0,
        "there was nothing to restore"
    );
    assert!(spans.len() as u64 * 20 < RECORDS, "{} spans", spans.len());

    // Its rows were in memory.
    let spans = count(&log, end);
    let mut restores = named(&spans, "restore");
    let restored: u64 = (restores.iter())
        .map(|restore| restore.number("records"))
        .sum();
    assert_eq!(restored, changes, "all that was committed");
    // The other one is of the task's own rows.
    restores.retain(|restore| !restore.fields["store"].is_empty());
    let [restore] = &restores[..] else {
        panic!("{spans:?}");
    };
    assert!((KEYS..=changes).contains(&restore.number("records")));
    assert_eq!(restore.fields["store"], "counts");
    assert_eq!(restore.fields["task"], "counts_0");
    assert_eq!(restore.fields["partition"], "spanned-counts-changelog-0");
    assert_eq!(named(&spans, "step").len(), 0, "there was nothing to do");
}
