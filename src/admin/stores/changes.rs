//! The changes of a store as they are committed, as server-sent events: its changelog, decoded.
//!
//! ```text
//!  changelog (compacted) --Reader, committed records--> Changes::next --> chunk of events --> client
//!                                                          ^ called once the client has taken the previous chunk
//! ```
//!
//! Nothing is queued for a client: it has a reader of its own, which stands where the client is. The id of an
//! event says where each partition continues, so that `Last-Event-ID` resumes at any instance, as long as the log
//! has the records: if a row has changed several times in the meantime, only the last change may be left. A client
//! that does not read what it was sent is told so and dropped, since it occupies one of a few places.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::served::Served;
use crate::admin::Refusal;
use crate::admin::blocking::blocking;
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{Fetched, Isolation, Log, Reader, Skipped};
use crate::runtime::Handle;

/// How much a reader may fetch ahead, and about how large a chunk is, in bytes.
const FETCH_BYTES: usize = 64 << 10;
/// How long to wait for a change at a time.
const WAIT: Duration = Duration::from_millis(250);
/// How long a client may take for a chunk, in milliseconds. A few seconds later the server disconnects clients
/// that read nothing, and they get no reason.
const PATIENCE_MS: u64 = 5_000;
/// The longest silence of a stream, in milliseconds: proxies may close a connection that is silent for longer.
const SILENCE_MS: u64 = 15_000;

/// Where a stream begins.
#[derive(Clone, Debug)]
pub(super) enum Beginning {
    /// With what is committed from now on.
    Now,
    /// With everything in the changelog.
    Start,
    /// After an event, given by its id.
    Event(String),
}

/// A stream of changes.
pub(super) struct Changes {
    served: Arc<dyn Served>,
    handle: Handle,
    reader: Option<Box<dyn Reader>>,
    /// Where each partition continues.
    places: BTreeMap<u32, Offset>,
    /// What is sent before anything is read.
    begin: Option<Bytes>,
    /// When the last chunk was returned, by the monotonic clock.
    given_at_ms: u64,
    patience_ms: u64,
    /// What cannot be decoded behind what was sent: it ends the stream once that is taken.
    undecodable: Option<Error>,
    has_ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Changes {
    /// Opens a stream. Blocks.
    ///
    /// # Errors
    /// 404 for a store without a changelog, 400 for an id that is not of one of its events; those of the log.
    pub(super) fn open(
        served: Arc<dyn Served>,
        handle: Handle,
        from: &Beginning,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        let about = served.about();
        let topic = about.tasks().and_then(|tasks| tasks.changelog.as_deref());
        let topic = topic.ok_or_else(|| {
            let why = match about.tasks() {
                Some(_) => "so its changes cannot be followed",
                None => "since it is global: read the topic that it is filled from",
            };
            let message = format!("store {:?} has no changelog, {why}", about.name);
            Refusal::new(StatusCode::NOT_FOUND, message)
        })?;
        let log = handle.log()?;
        let places = begin_at(&*log, topic, from)?;
        let mut reader = log.reader(FETCH_BYTES)?;
        let positions: Vec<_> = places
            .iter()
            .map(|(partition, offset)| (TopicPartition::new(topic, *partition), *offset))
            .collect();
        reader.assign(&positions)?;
        let begin = json!({ "store": about.name }).to_string();
        let begin = event(&places, "begin", &begin);
        Ok(Self {
            reader: Some(reader),
            begin: Some(begin.into()),
            given_at_ms: handle.env().monotonic_ms(),
            served,
            handle,
            places,
            patience_ms: PATIENCE_MS,
            undecodable: None,
            has_ended: false,
            _permit: permit,
        })
    }

    /// The next events; `None` after the one that gives the reason for the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        let chunk = match self.begin.take() {
            Some(begin) => begin,
            None => self.read().await,
        };
        self.given_at_ms = self.handle.env().monotonic_ms();
        Some(chunk)
    }

    async fn read(&mut self) -> Bytes {
        let begun_ms = self.handle.env().monotonic_ms();
        // Whether it was slow with the last one: it may be told so before there is anything else to send.
        let is_slow = begun_ms.saturating_sub(self.given_at_ms) > self.patience_ms;
        loop {
            // The log is released when the application ends.
            if let Err(error) = self.handle.log() {
                return self.end("stopped", error.message());
            }
            if let Some(error) = self.undecodable.take() {
                return self.end("failed", error.message());
            }
            let fetched = match self.poll().await {
                Ok(fetched) => fetched,
                Err(failure) => return self.end("failed", &failure.message),
            };
            let mut text = String::new();
            self.undecodable = self.events(&fetched, &mut text).err();
            if !text.is_empty() {
                if is_slow {
                    let message = "the client did not read the events in time; reconnect with the id of \
                                   the last event";
                    return self.end("slow", message);
                }
                return text.into();
            }
            let silent_ms = self.handle.env().monotonic_ms().saturating_sub(begun_ms);
            if silent_ms >= SILENCE_MS {
                return Bytes::from_static(b":\n\n");
            }
        }
    }

    /// Polls the reader on a thread that may block.
    async fn poll(&mut self) -> Result<Polled, Refusal> {
        let Some(mut reader) = self.reader.take() else {
            return Err(Error::internal("a stream has lost its reader").into());
        };
        let (reader, polled) = blocking(move || {
            let polled = reader.poll(FETCH_BYTES, WAIT).map(|fetched| Polled {
                fetched,
                skipped: reader.skipped(),
            });
            Ok((reader, polled))
        })
        .await?;
        self.reader = Some(reader);
        Ok(polled?)
    }

    /// Writes what was read as events, of each partition up to what cannot be decoded.
    fn events(&mut self, polled: &Polled, text: &mut String) -> Result<()> {
        for skipped in &polled.skipped {
            self.places.insert(skipped.partition.partition, skipped.to);
            let (partition, from, to) = (skipped.partition.partition, skipped.from, skipped.to);
            let gone = json!({ "partition": partition, "from": from, "to": to });
            *text += &event(&self.places, "skipped", &gone.to_string());
        }
        let (mut outcome, mut broken) = (Ok(()), Vec::new());
        for fetched in &polled.fetched {
            let partition = fetched.partition.partition;
            if broken.contains(&partition) {
                continue;
            }
            if let Err(error) = self.events_of(fetched, text) {
                broken.push(partition);
                // Other partitions go on.
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    fn events_of(&mut self, fetched: &Fetched, text: &mut String) -> Result<()> {
        let partition = fetched.partition.partition;
        let mut cursor = fetched.batch.cursor(fetched.base_offset);
        while let Some(record) = cursor.next_record()? {
            if record.offset < fetched.position {
                continue;
            }
            // No store writes a null key, but a source topic, which may serve as a changelog, can have one.
            let change = record.key.map(|key| self.served.change(key, record.value));
            let change = change.transpose().map_err(|error| {
                error.context(format!("{} offset {}", fetched.partition, record.offset))
            })?;
            self.places.insert(partition, record.offset + 1);
            let Some(mut change) = change else { continue };
            change["partition"] = partition.into();
            change["offset"] = record.offset.into();
            change["timestamp_ms"] = record.timestamp_ms.into();
            *text += &event(&self.places, "change", &change.to_string());
        }
        Ok(())
    }

    /// The last event, which gives the reason for the end.
    fn end(&mut self, reason: &str, message: &str) -> Bytes {
        self.has_ended = true;
        self.reader = None;
        let data: Value = json!({ "reason": reason, "message": message });
        // Without an id: what was read and not sent comes again.
        format!("event: end\ndata: {data}\n\n").into()
    }
}

struct Polled {
    fetched: Vec<Fetched>,
    skipped: Vec<Skipped>,
}

fn event(places: &BTreeMap<u32, Offset>, name: &str, data: &str) -> String {
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", id(places))
}

fn id(places: &BTreeMap<u32, Offset>) -> String {
    let mut id = String::new();
    for (partition, offset) in places {
        let between = if id.is_empty() { "" } else { "." };
        // Writing to a string does not fail.
        let _ = write!(id, "{between}{partition}-{offset}");
    }
    id
}

/// Where to begin reading each partition of a changelog.
fn begin_at(
    log: &dyn Log,
    topic: &str,
    from: &Beginning,
) -> Result<BTreeMap<u32, Offset>, Refusal> {
    let spec = log.topic(topic)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!("changelog {topic} does not exist"),
        )
    })?;
    let partition = |number| TopicPartition::new(topic, number);
    let all: Vec<_> = (0..spec.partitions).map(partition).collect();
    let mut places = BTreeMap::new();
    match from {
        Beginning::Now => {
            let ends = log.end_offsets(&all, Isolation::ReadCommitted)?;
            places.extend((0..spec.partitions).zip(ends));
        }
        Beginning::Start => {
            for place in &all {
                places.insert(place.partition, log.start_offset(place)?);
            }
        }
        Beginning::Event(id) => {
            let known = parse(id).filter(|known| {
                let count = known
                    .keys()
                    .filter(|number| **number < spec.partitions)
                    .count();
                count == all.len() && known.len() == all.len()
            });
            places = known.ok_or_else(|| no_event(id))?;
            // An event seen at another instance may be a moment ahead of what counts as committed here.
            let ends = log.end_offsets(&all, Isolation::ReadUncommitted)?;
            if places.values().zip(ends).any(|(offset, end)| *offset > end) {
                return Err(no_event(id));
            }
        }
    }
    Ok(places)
}

fn parse(id: &str) -> Option<BTreeMap<u32, Offset>> {
    let place = |text: &str| {
        let (partition, offset) = text.split_once('-')?;
        let offset: Offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((partition.parse().ok()?, offset))
    };
    id.split('.').map(place).collect()
}

fn no_event(id: &str) -> Refusal {
    let message = format!(
        "{id:?} is not the id of an event of this store; read the current rows, then reconnect without an \
         id"
    );
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::time::sleep;

    use super::*;
    use crate::admin::ServedStores;
    use crate::prelude::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_does_not_take_what_it_is_sent_is_told_so_and_dropped() {
        let builder = StreamBuilder::new();
        builder.stream::<String, String>("words").to_table("last");
        let log = crate::open("memory:").expect("a log");
        let topics = [TopicSpec::new("words", 1)];
        log.create_topics(&topics).expect("a topic");
        let application = Application::builder(builder.build().expect("a topology"), "told")
            .log(Arc::clone(&log))
            .settings(Settings::in_memory())
            .start()
            .expect("it starts");
        let stores = ServedStores::of(application.handle());
        let stores = stores.key_value::<String, String>("last").expect("last");
        let open = |patience_ms| {
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned();
            let (handle, served) = (application.handle(), Arc::clone(&stores.served["last"]));
            let from = Beginning::Start;
            let opened = Changes::open(served, handle, &from, permit.expect("a permit"));
            let mut changes = opened.expect("a stream");
            changes.patience_ms = patience_ms;
            changes
        };
        let words = log.producer::<String, String>("words");
        let sent = words
            .expect("a producer")
            .send("a".to_owned(), "b".to_owned());
        sent.expect("sent");
        for (patience_ms, told) in [(u64::MAX, "event: change"), (0, "\"reason\":\"slow\"")] {
            let mut changes = open(patience_ms);
            changes.next().await.expect("a beginning");
            sleep(Duration::from_millis(5)).await;
            let next = changes.next().await.expect("events");
            let next = String::from_utf8_lossy(&next);
            assert!(next.contains(told), "{next}");
            if patience_ms == 0 {
                assert!(
                    !next.contains("id: "),
                    "what was not sent comes again: {next}"
                );
                assert!(changes.next().await.is_none());
            }
        }
    }
}
