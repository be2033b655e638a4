//! What happens to a record that cannot be handled.

/// The stage in which a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The source's codec cannot read its bytes, or its timestamp is negative.
    Decode,
    /// An operator failed or panicked.
    Process,
    /// A result could not be encoded, or is too large for its topic; or a row is too large for its
    /// changelog.
    Encode,
}

impl Stage {
    /// The word in headers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Process => "process",
            Self::Encode => "encode",
        }
    }
}

/// What to do about it. All but [`Policy::Continue`] are atomic over the input record: if a record is
/// skipped or sent to the dead letters, all its writes and outputs are undone. A row that was held until
/// its window closed counts separately, not as part of the record that advanced time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// Stop the application with an error that names topic, partition, offset and cause.
    #[default]
    Fail,
    /// Count it as dropped and continue.
    Skip,
    /// As [`Policy::Skip`], but if an operator fails, only what that operator was given is dropped: what
    /// was written before stays, and so does what other branches of the topology make of the record. What
    /// fails without a record of its own (a timer, a held row, a flush), or while it is encoded for a topic, is
    /// undone whole, as with [`Policy::Skip`]. This is `LogAndContinueProcessingExceptionHandler` of Kafka Streams.
    Continue,
    /// Send the raw input record to the dead-letter topic, with headers that name topic, partition,
    /// offset, stage and error, in the same commit; then continue.
    DeadLetter,
}

/// A policy for each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ErrorPolicies {
    /// For [`Stage::Decode`].
    pub decode: Policy,
    /// For [`Stage::Process`].
    pub process: Policy,
    /// For [`Stage::Encode`].
    pub encode: Policy,
}

impl ErrorPolicies {
    /// The same policy for all stages.
    pub fn all(policy: Policy) -> Self {
        Self {
            decode: policy,
            process: policy,
            encode: policy,
        }
    }

    /// The policy of a stage.
    pub fn of(&self, stage: Stage) -> Policy {
        match stage {
            Stage::Decode => self.decode,
            Stage::Process => self.process,
            Stage::Encode => self.encode,
        }
    }

    /// Whether a record may have to be undone after an operator has changed state, so that each record
    /// needs a mark.
    pub fn needs_marks(&self) -> bool {
        self.process != Policy::Fail || self.encode != Policy::Fail
    }

    /// Whether some stage sends dead letters.
    pub fn sends_dead_letters(&self) -> bool {
        [self.decode, self.process, self.encode].contains(&Policy::DeadLetter)
    }
}
