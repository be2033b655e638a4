//! Where a record comes from.

use crate::base::Offset;
use crate::task::Context;

/// The origin of the record that a processor handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata<'a> {
    /// The topic from which the task read it; behind a repartition, the repartition topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: Offset,
    /// The timestamp that the source assigned, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl<'a> RecordMetadata<'a> {
    /// That of the record that the task handles, if it handles one.
    pub(in crate::dsl) fn of(context: &'a Context) -> Option<Self> {
        Some(Self {
            timestamp_ms: context.record_ms()?,
            topic: context.topic(),
            partition: context.partition(),
            offset: context.offset(),
        })
    }
}
