//! What policies set aside: lists it, and sends a record again.
//!
//! ```text
//!  dead-letter topic --- list: the newest first, page by page
//!        |
//!        +--- redrive: one record --> the topic and partition that it comes from  \  one commit,
//!                                --> a mark that it was sent                     /  all or nothing
//! ```
//!
//! A dead letter is sent again exactly once, whoever asks, however often, and through however many instances:
//!
//! 1. The writer of this application's redrives is opened with its one id. That fences its previous owner, and
//!    settles what was left open (`log/api.rs`, rule 4).
//! 2. The topic of marks is read to its end. A dead letter that has a mark is not sent.
//! 3. Record and mark go to the log in one commit. If another instance has opened the writer since step 1, the
//!    commit is refused; if its outcome is lost, the next attempt begins at step 1 and finds the mark, or does not.
//!
//! A mark contains a checksum of the dead letter as well as its place, so that marks of a topic that was deleted
//! and created again have no effect.

mod letter;
mod marks;
mod pages;
mod redrive;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use serde_json::{Value, json};

use self::redrive::Redriver;
use super::Refusal;
use crate::base::{Offset, TopicPartition};
use crate::runtime::Handle;

pub(super) use self::pages::Cursor;

/// The dead letters of an application.
pub(super) struct DeadLetters {
    handle: Handle,
    redriver: Mutex<Redriver>,
    redriven: AtomicU64,
}

impl DeadLetters {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            redriver: Mutex::default(),
            redriven: AtomicU64::new(0),
        }
    }

    /// How many this process has sent again.
    pub(super) fn redriven(&self) -> u64 {
        self.redriven.load(Ordering::Relaxed)
    }

    fn topic(&self) -> Result<&str, Refusal> {
        let topic = self.handle.about().dead_letter_topic.as_deref();
        topic.ok_or_else(|| {
            let message = "the application has no dead letters: no dead-letter topic is set";
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
    }

    /// A page of the list, the newest first. Blocks.
    ///
    /// # Errors
    /// 404 if there is no dead-letter topic; errors of the log.
    pub(super) fn page(&self, before: Option<&Cursor>, limit: usize) -> Result<Value, Refusal> {
        let topic = self.topic()?;
        let log = self.handle.log()?;
        let page = pages::page(&*log, topic, before, limit)?;
        let marks = marks::read(&*log, &self.handle.about().application)?;
        let letters = page.letters.iter().map(|letter| {
            let mut json = letter.json();
            json["redriven"] = marks.contains(&letter.mark()).into();
            json
        });
        Ok(json!({
            "topic": topic,
            "letters": letters.collect::<Vec<_>>(),
            "next": page.next.map(|cursor| cursor.to_string()),
        }))
    }

    /// Sends one again. Blocks.
    ///
    /// # Errors
    /// 404 if it does not exist, 409 if it was sent before or cannot be sent, 503 if the log does not answer.
    pub(super) fn redrive(&self, partition: u32, offset: Offset) -> Result<Value, Refusal> {
        let topic = self.topic()?;
        let log = self.handle.log()?;
        let place = TopicPartition::new(topic, partition);
        let letter = pages::one(&*log, &place, offset)?;
        let letter = letter.ok_or_else(|| {
            let message = format!("there is no dead letter at {place} offset {offset}");
            Refusal::new(StatusCode::NOT_FOUND, message)
        })?;
        let about = self.handle.about();
        let redriver = self.redriver.lock();
        let mut redriver = redriver.unwrap_or_else(PoisonError::into_inner);
        redriver.send(&log, self.handle.env(), &about.application, &letter)?;
        self.redriven.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%place, offset, "dead letter sent again");
        let source = letter.source.as_ref();
        Ok(json!({ "redriven": letter.id(), "to": source.map(ToString::to_string) }))
    }
}
