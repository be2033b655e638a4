//! What the client's errors mean for marea.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::base::{Error, ErrorKind};
use crate::log::CommitError;

pub(super) fn unavailable(message: impl Into<String>, cause: KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, message).with_source(cause)
}

/// An error of an administrative request: what was requested, and the code.
pub(super) fn refused(what: &str, code: Code) -> Error {
    let (kind, cure) = match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => (
            ErrorKind::Invalid,
            "grant this permission to the application's user",
        ),
        Code::InvalidTopic
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::PolicyViolation => (
            ErrorKind::Invalid,
            "the cluster's settings or policies forbid it",
        ),
        Code::MessageSizeTooLarge | Code::InvalidRecord => (
            ErrorKind::Invalid,
            "raise the topic's max.message.bytes or make the record smaller",
        ),
        Code::InvalidTransactionTimeout => (
            ErrorKind::Invalid,
            "set transaction.timeout.ms to at most the brokers' transaction.max.timeout.ms",
        ),
        Code::InvalidTimestamp => (
            ErrorKind::Invalid,
            "raise the topic's message.timestamp.before.max.ms and after.max.ms",
        ),
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
            (ErrorKind::Invalid, "create the topic first")
        }
        _ => (ErrorKind::Unavailable, "try again"),
    };
    Error::new(kind, format!("{what}: {code}; {cure}"))
}

/// The same for an error that may or may not have a code.
pub(super) fn failed(what: &str, cause: KafkaError) -> Error {
    match cause.rdkafka_error_code() {
        Some(code) => refused(what, code).with_source(cause),
        None => unavailable(format!("{what}: no response"), cause),
    }
}

/// What must happen after an error in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Repeat the request.
    Retry,
    /// Abort the transaction; another one may succeed.
    Abort,
    /// Abort it; the group's generation has moved on, and the member's with it.
    Regenerate,
    /// Abort it; the group has moved on without the member.
    Expelled,
    /// The producer can no longer be used: another client opened its id.
    Fenced,
    /// The producer can no longer be used.
    Fatal,
}

/// Whether a client that ended with this code was replaced by another one of its id.
pub(super) fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::ProducerFenced | Code::Fenced | Code::InvalidProducerEpoch
    )
}

pub(super) fn judge(error: &KafkaError) -> Verdict {
    let code = error.rdkafka_error_code();
    let fenced = code.is_some_and(is_fencing);
    if let KafkaError::Transaction(inner) = error {
        if inner.is_fatal() {
            return if fenced {
                Verdict::Fenced
            } else {
                Verdict::Fatal
            };
        }
        return match code {
            Some(Code::IllegalGeneration | Code::RebalanceInProgress | Code::StaleMemberEpoch) => {
                Verdict::Regenerate
            }
            Some(Code::UnknownMemberId | Code::FencedInstanceId | Code::FencedMemberEpoch) => {
                Verdict::Expelled
            }
            _ if inner.txn_requires_abort() => Verdict::Abort,
            _ if inner.is_retriable() || code == Some(Code::OperationTimedOut) => Verdict::Retry,
            // The library is in a state that forbids the call: an abort shows which.
            Some(Code::State) => Verdict::Abort,
            _ => Verdict::Fatal,
        };
    }
    match code {
        Some(Code::ProducerFenced | Code::Fenced) => Verdict::Fenced,
        Some(Code::Fatal) => Verdict::Fatal,
        // An epoch may have expired because the transaction took too long: the abort shows this.
        _ => Verdict::Abort,
    }
}

/// The error of a writer whose client can write no more. Its unfinished work is settled by the next one
/// to open the id; if that would be refused in the same way, the error says what to do.
pub(super) fn dead_writer(id: &str, verdict: Verdict, cause: KafkaError) -> CommitError {
    if verdict == Verdict::Fenced {
        return CommitError::Fenced(crate::log::check::fenced_writer(id));
    }
    let error = failed(&format!("writer {id}"), cause.clone());
    match error.kind() {
        ErrorKind::Invalid => CommitError::Fatal(error),
        _ => CommitError::Lost(unavailable(
            format!("writer {id} can no longer write: {cause}; reopen it"),
            cause,
        )),
    }
}
