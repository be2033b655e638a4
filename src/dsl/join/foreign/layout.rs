//! The messages between the two sides of a join by a foreign key, laid out as Kafka Streams does.
//!
//! ```text
//! subscription   (null hash 0x80 | version 1) u8 | instruction u8 | hash 16 bytes | left key | partition i32 BE
//!                version 0 has no partition; it is read
//! response       (null hash 0x80 | version 0) u8 | hash 16 bytes | right row
//!                version 1 (ours): the right row is there and has no bytes
//!                version 2 (ours): there is none, which matters only where a result is out
//! combined key   length of the foreign key i32 BE | foreign key | left key
//! ```
//!
//! Source: `SubscriptionWrapperSerde`, `SubscriptionResponseWrapperSerde`, `CombinedKeySchema`.

use super::hash::RowHash;
use crate::base::{Error, Result};
use crate::codec::{Codec, Encoded, SharedCodec};

const NULL_HASH: u8 = 0x80;
const WITHOUT_PARTITION: u8 = 0;
const WITH_PARTITION: u8 = 1;
const ROW: u8 = 0;
const EMPTY_ROW: u8 = 1;
const NOT_FOUND: u8 = 2;

/// What the right side does with a subscription. The numbers are those of Kafka Streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// Ends the subscription.
    End = 0,
    /// Ends it, and answers that there is no row.
    EndAndAnswer = 1,
    /// Stores it, and answers in any case.
    Answer = 2,
    /// Stores it, and answers; a missing row matters only to a subscriber that has a result from an
    /// earlier one.
    AnswerIfFound = 3,
}

/// A request from a left row to the right side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Of the left row; `None` if it was deleted.
    pub(super) hash: Option<RowHash>,
    pub(super) instruction: Instruction,
    /// The left key.
    pub(super) key: Vec<u8>,
    /// The left task's partition, to which answers go.
    pub(super) partition: Option<u32>,
}

/// An answer from the right side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// Of the left row that asked.
    pub(super) hash: Option<RowHash>,
    /// The right row.
    pub(super) row: Option<Vec<u8>>,
    /// There is no row, and none was required: [`Instruction::AnswerIfFound`].
    pub(super) not_found: bool,
    /// The partition it goes to; it is not encoded.
    pub(super) partition: Option<u32>,
}

/// The codec of [`Subscription`].
pub(super) struct SubscriptionCodec;

impl Codec<Subscription> for SubscriptionCodec {
    fn encode(&self, subscription: &Subscription, out: &mut Vec<u8>) -> Result<Encoded> {
        let version = match subscription.partition {
            Some(_) => WITH_PARTITION,
            None => WITHOUT_PARTITION,
        };
        let null_hash = subscription.hash.map_or(NULL_HASH, |_| 0);
        out.extend([version | null_hash, subscription.instruction as u8]);
        out.extend(subscription.hash.iter().flatten());
        out.extend_from_slice(&subscription.key);
        if let Some(partition) = subscription.partition {
            out.extend(partition.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Subscription> {
        let damaged = || Error::user("the bytes are not a subscription of a join by a foreign key");
        let [flags, instruction, rest @ ..] = bytes.unwrap_or_default() else {
            return Err(damaged());
        };
        let (hash, rest) = take_hash(*flags, rest).ok_or_else(damaged)?;
        let (key, partition) = match flags & !NULL_HASH {
            WITHOUT_PARTITION => (rest, None),
            WITH_PARTITION => {
                let (key, partition) = rest.split_last_chunk().ok_or_else(damaged)?;
                (key, Some(u32::from_be_bytes(*partition)))
            }
            _ => return Err(damaged()),
        };
        let instruction = match instruction {
            0 => Instruction::End,
            1 => Instruction::EndAndAnswer,
            2 => Instruction::Answer,
            3 => Instruction::AnswerIfFound,
            _ => return Err(damaged()),
        };
        Ok(Subscription {
            hash,
            instruction,
            key: key.to_vec(),
            partition,
        })
    }

    fn name(&self) -> String {
        "subscription".to_owned()
    }
}

/// The codec of [`Response`].
pub(super) struct ResponseCodec;

impl Codec<Response> for ResponseCodec {
    fn encode(&self, response: &Response, out: &mut Vec<u8>) -> Result<Encoded> {
        let version = match &response.row {
            Some(row) if row.is_empty() => EMPTY_ROW,
            None if response.not_found => NOT_FOUND,
            _ => ROW,
        };
        out.push(version | response.hash.map_or(NULL_HASH, |_| 0));
        out.extend(response.hash.iter().flatten());
        out.extend(response.row.iter().flatten());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Response> {
        let damaged = || Error::user("the bytes are not a response of a join by a foreign key");
        let (flags, rest) = bytes.and_then(<[u8]>::split_first).ok_or_else(damaged)?;
        let (hash, row) = take_hash(*flags, rest).ok_or_else(damaged)?;
        let version = flags & !NULL_HASH;
        let row = match (version, row) {
            (ROW | NOT_FOUND, []) => None,
            (ROW, row) => Some(row.to_vec()),
            (EMPTY_ROW, []) => Some(Vec::new()),
            _ => return Err(damaged()),
        };
        Ok(Response {
            hash,
            row,
            not_found: version == NOT_FOUND,
            partition: None,
        })
    }

    fn name(&self) -> String {
        "response".to_owned()
    }
}

fn take_hash(flags: u8, rest: &[u8]) -> Option<(Option<RowHash>, &[u8])> {
    match flags & NULL_HASH {
        0 => {
            let (hash, rest) = rest.split_first_chunk()?;
            Some((Some(*hash), rest))
        }
        _ => Some((None, rest)),
    }
}

/// A key that is already encoded, or null; it goes to the partition of the key itself.
pub(super) struct EncodedKey<L>(pub(super) SharedCodec<L>);

impl<L: 'static> Codec<Option<Vec<u8>>> for EncodedKey<L> {
    fn encode(&self, key: &Option<Vec<u8>>, out: &mut Vec<u8>) -> Result<Encoded> {
        let Some(key) = key else {
            return Ok(Encoded::Null);
        };
        out.extend_from_slice(key);
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        Ok(bytes.map(<[u8]>::to_vec))
    }

    fn is_null(&self, key: &Option<Vec<u8>>) -> bool {
        key.is_none()
    }

    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.0.partition_bytes(encoded)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

/// Writes the prefix of the combined keys of a foreign key to `out`, replacing its content.
///
/// # Errors
/// `TooLarge` if its length does not fit into four bytes.
pub(super) fn begin_combined(foreign: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let Ok(length) = i32::try_from(foreign.len()) else {
        let message = format!("a foreign key of {} bytes is too large", foreign.len());
        return Err(Error::new(crate::base::ErrorKind::TooLarge, message));
    };
    out.clear();
    out.extend(length.to_be_bytes());
    out.extend_from_slice(foreign);
    Ok(())
}

/// The first key after all keys with this prefix, `None` if there is none.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}

/// The bytes of a value, `None` if it is null.
pub(super) fn bytes_of<T: 'static>(codec: &dyn Codec<T>, value: &T) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let encoded = codec.encode(value, &mut bytes)?;
    Ok((encoded == Encoded::Bytes).then_some(bytes))
}
