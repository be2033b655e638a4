//! One error type for the library: few kinds, each of which calls for a different action by the caller.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

/// A result with marea's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program or its configuration asks for something impossible. Change it as the message says.
    Invalid,
    /// Something that is needed is unreachable or busy. Trying again later may succeed.
    Unavailable,
    /// Another member or process has taken over. Stop; do not retry.
    Fenced,
    /// Stored bytes are not what was written, or have a format this version cannot read. The message
    /// names the place and the remedy.
    Corrupt,
    /// A disk or a quota is full. Nothing was lost: free some space and restart.
    Full,
    /// The object was closed before the call. Open it again if you need it.
    Closed,
    /// A record or the code that processes it is at fault. The message names topic, partition and
    /// offset; the error policy says what happens to such records.
    User,
    /// A record, or the row made from it, is too large for its topic. Make it smaller or raise the
    /// topic's limit; the error policy for encoding says what happens to such records.
    TooLarge,
    /// A defect in marea. Please report it with the message.
    Internal,
}

/// What went wrong: a kind to act on, a message for people, and the cause if there is one.
///
/// It is one pointer wide, so a `Result` on the hot path costs only a register.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message that says what happened and what to do.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    #[cold]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    #[cold]
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Shorthand for [`ErrorKind::User`].
    #[cold]
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Prepends `context` and a colon to the message, keeping kind and source.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without the chain of causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn message_context_and_cause_are_shown() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::corrupt("bad magic")
            .with_source(cause)
            .context("t-0@7");
        assert_eq!(error.to_string(), "t-0@7: bad magic: disk on fire");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
