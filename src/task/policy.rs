//! What happens to a record that cannot be handled.

/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes are not what the source's codec reads, or its timestamp is negative.
    Decode,
    /// An operator failed or panicked.
    Process,
    /// A result could not be encoded, or is larger than its topic takes; or a row is larger than its
    /// changelog takes.
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

/// What to do about it. Each is atomic over the input record: of a record that is skipped or sent to
/// the dead letters, no write and no output remains. A row that was held until its window closed counts
/// for itself, not for the record that made time pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// Stop the application with an error that names topic, partition, offset and cause.
    #[default]
    Fail,
    /// Count it as dropped and go on.
    Skip,
    /// Send the raw input record to the dead-letter topic, with headers that name topic, partition,
    /// offset, stage and error, in the same commit; then go on.
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

    /// Whether a record may have to be undone after an operator touched state, so that each record
    /// needs a mark.
    pub fn needs_marks(&self) -> bool {
        self.process != Policy::Fail || self.encode != Policy::Fail
    }

    /// Whether some stage sends dead letters.
    pub fn sends_dead_letters(&self) -> bool {
        [self.decode, self.process, self.encode].contains(&Policy::DeadLetter)
    }
}
