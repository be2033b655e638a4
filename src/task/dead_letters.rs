//! Records that go to the dead letters instead of through the graph, with headers that say why.

use super::{Context, DropReason, Stage};
use crate::base::{Error, Header, Headers, Result};

impl Context {
    /// Appends a dead letter that names the current record, and counts it.
    ///
    /// # Errors
    /// `Invalid` if it is too large for the dead-letter topic.
    pub(super) fn dead_letter(
        &mut self,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        timestamp_ms: i64,
        mut headers: Vec<Header>,
        stage: Stage,
        message: String,
    ) -> Result<()> {
        let Some(output) = self.dead_letters else {
            return Ok(());
        };
        headers.push(error_header("topic", self.topic.to_string()));
        headers.push(error_header("partition", self.partition.to_string()));
        headers.push(error_header("offset", self.offset.to_string()));
        headers.push(error_header("stage", stage.name().to_owned()));
        headers.push(error_header("message", message));
        let headers = Headers::from_vec(headers);
        let spec = self.effects.output(output);
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.byte_len();
        if size > spec.max_record_bytes {
            return Err(Error::invalid(format!(
                "a dead letter of {size} bytes, with the headers that say why, is larger than the {} \
                 that topic {} takes; raise that topic's limit",
                spec.max_record_bytes, spec.topic
            )));
        }
        let partition = self.partition % spec.partitions;
        let (timestamp_ms, headers) = (timestamp_ms.max(0), headers.as_slice());
        self.effects
            .append(output, partition, key, value, timestamp_ms, headers, None);
        self.drop_record(DropReason::DeadLetter);
        Ok(())
    }
}

/// A header of a dead letter.
pub(super) fn error_header(key: &str, value: String) -> Header {
    Header {
        key: format!("marea.error.{key}"),
        value: Some(value.into_bytes()),
    }
}
