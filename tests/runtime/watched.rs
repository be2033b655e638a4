//! Input topics that change under a running application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::Utf8;
use marea::dsl::{Consumed, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{Application, DeletedUnread, Settings, StateBackend};
use marea::{Error, ErrorKind, Result};

const DEADLINE: Duration = Duration::from_secs(60);

fn log(partitions: u32) -> Arc<dyn Log> {
    let log = MemoryLog::new(SystemEnv::shared());
    log.create_topics(&[TopicSpec::new("in", partitions), TopicSpec::new("out", 1)])
        .expect("created");
    Arc::new(log)
}

fn start(log: &Arc<dyn Log>, deleted_unread: DeletedUnread) -> Application {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, Utf8))
        .to_with("out", Produced::with(Utf8, Utf8));
    Application::builder(builder.build().expect("a topology"), "copy")
        .log(Arc::clone(log))
        .settings(Settings {
            state_backend: StateBackend::Memory,
            deleted_unread,
            ..Settings::default()
        })
        .start()
        .expect("started")
}

fn append(log: &dyn Log, records: usize) {
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    for _ in 0..records {
        let mut builder = BatchBuilder::default();
        builder.push(Some(b"k"), Some(b"v"), 1, &[]);
        let batch = builder.seal().expect("a record");
        let appends = vec![(TopicPartition::new("in", 0), batch)];
        writer
            .submit(Commit {
                appends,
                group: None,
            })
            .expect("submitted");
        let receipt = writer.poll(DEADLINE).expect("written");
        assert!(receipt.is_some());
    }
}

fn failure(running: &Application) -> Error {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Err(error) = running.wait(Duration::from_millis(50)) {
            return error;
        }
        assert!(Instant::now() < until, "{:?}", running.snapshot());
    }
}

/// A log whose topic `in` has three partitions from some moment on, for those who ask: what is there stays as it is.
#[derive(Debug)]
struct GrownLog {
    log: Arc<dyn Log>,
    grown: AtomicBool,
}

impl Log for GrownLog {
    forward_to_log!(
        log:
        incarnation, create_topics, topic_names, delete_topics, start_offset, end_offset,
        delete_records, committed, delete_group, reader, writer, join
    );

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        let mut found = self.log.topic(name)?;
        if let Some(spec) = &mut found
            && name == "in"
            && self.grown.load(Ordering::SeqCst)
        {
            spec.partitions = 3;
        }
        Ok(found)
    }
}

#[test]
fn new_partitions_of_an_input_are_noticed() {
    let grown = Arc::new(GrownLog {
        log: log(2),
        grown: AtomicBool::new(false),
    });
    let log: Arc<dyn Log> = grown.clone();
    let running = start(&log, DeletedUnread::Continue);
    grown.grown.store(true, Ordering::SeqCst);
    let error = failure(&running);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(
        error.message().contains("3 partitions") && error.message().contains("with 2"),
        "{error}"
    );
}

/// Ten records of which seven are gone, for an application whose group has read none of them yet.
fn deleted() -> Arc<dyn Log> {
    let log = log(1);
    // A group with a committed position.
    append(&*log, 1);
    let mut running = start(&log, DeletedUnread::Continue);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    append(&*log, 10);
    log.delete_records(&[(TopicPartition::new("in", 0), 8)])
        .expect("deleted");
    log
}

#[test]
fn what_was_deleted_before_it_was_read_is_counted() {
    let log = deleted();
    let mut running = start(&log, DeletedUnread::Continue);
    running.drain(DEADLINE).expect("drained");
    assert_eq!(running.snapshot().deleted_unread, 7);
    running.close(DEADLINE).expect("closed");
    let end = log.end_offset(&TopicPartition::new("out", 0), Isolation::ReadCommitted);
    assert_eq!(end.expect("an end"), 4);
}

#[test]
fn what_was_deleted_before_it_was_read_fails_the_application_where_it_is_told_so() {
    let log = deleted();
    let error = failure(&start(&log, DeletedUnread::Fail));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for part in ["in-0", "7 offsets from 1 to 7", "deleted_unread"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}
