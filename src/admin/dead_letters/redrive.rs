//! Sends a dead letter again, exactly once; the steps are in `mod.rs`.

use std::sync::Arc;

use axum::http::StatusCode;

use super::letter::Letter;
use super::marks;
use crate::admin::Refusal;
use crate::admin::records::deliver;
use crate::base::{Env, Error, ErrorKind, Header};
use crate::log::{Batch, BatchBuilder, Commit, CommitError, Log, Writer};

/// How long to wait for the outcome of a commit, in milliseconds.
const PATIENCE_MS: u64 = 20_000;
/// What the writer may keep of a letter, in bytes.
const WRITER_BYTES: usize = 1 << 20;

/// Sends dead letters again, one at a time.
#[derive(Default)]
pub(super) struct Redriver {
    /// Kept open from one redrive to the next; dropped after any failure.
    writer: Option<Box<dyn Writer>>,
}

impl Redriver {
    /// Sends one.
    ///
    /// # Errors
    /// 409 if it was sent before or cannot be sent; 503 if the log does not answer, or another instance is sending
    /// one too: then try again.
    pub(super) fn send(
        &mut self,
        log: &Arc<dyn Log>,
        env: &Arc<dyn Env>,
        application: &str,
        letter: &Letter,
    ) -> Result<(), Refusal> {
        let conflict = |message: String| Refusal::new(StatusCode::CONFLICT, message);
        if let Some(refusal) = letter.refusal() {
            return Err(conflict(refusal));
        }
        let Some(source) = &letter.source else {
            return Ok(());
        };
        let topic = log.topic(&source.topic)?;
        if topic.is_none_or(|topic| source.partition >= topic.partitions) {
            return Err(conflict(format!("{source} no longer exists")));
        }
        marks::create(&**log, application)?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => log.writer(&format!("{application}-redrive"), WRITER_BYTES)?,
        };
        // After the writer was opened: another instance that is sending now is fenced, and what it has sent is
        // settled.
        let mark = letter.mark();
        if marks::read(&**log, application)?.contains(&mark) {
            self.writer = Some(writer);
            return Err(conflict("it was already sent again".to_owned()));
        }
        let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
        let timestamp_ms = letter.timestamp_ms;
        let record = one(key, value, timestamp_ms, &letter.headers)?;
        let at = env.wall_ms().to_string();
        let marked = one(
            Some(mark.as_bytes()),
            Some(at.as_bytes()),
            env.wall_ms(),
            &[],
        )?;
        let commit = Commit {
            appends: vec![
                (source.clone(), record),
                (marks::place(application), marked),
            ],
            group: None,
        };
        deliver(&mut *writer, commit, &**env, PATIENCE_MS).map_err(|error| match error {
            CommitError::Unknown(_) | CommitError::Lost(_) => {
                let message =
                    "it is not yet known whether it was sent; try again: it will not be sent twice";
                Error::new(ErrorKind::Unavailable, message)
            }
            error => error.into_error(),
        })?;
        self.writer = Some(writer);
        Ok(())
    }
}

/// A batch of one record.
fn one(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    timestamp_ms: i64,
    headers: &[Header],
) -> Result<Batch, Error> {
    let mut batch = BatchBuilder::default();
    batch.push(key, value, timestamp_ms, headers);
    let sealed = batch.seal();
    sealed.ok_or_else(|| Error::internal("a batch of one record is empty"))
}
