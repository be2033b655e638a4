//! Reading backwards: a log can only be read forwards, so each partition is read in stretches that end at a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::http::StatusCode;

use super::letter::Letter;
use crate::admin::Refusal;
use crate::admin::records::each_record;
use crate::base::{Offset, Result, TopicPartition};
use crate::log::{Isolation, Log};

/// Where a page ends: for each partition, the offset before which the next page continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::admin) struct Cursor(BTreeMap<u32, Offset>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (partition, offset) in &self.0 {
            write!(f, "{between}{partition}-{offset}")?;
            between = ".";
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bound = |bound: &str| {
            let (partition, offset) = bound.split_once('-')?;
            let offset: Offset = offset.parse().ok()?;
            Some((partition.parse().ok()?, offset)).filter(|_| offset >= 0)
        };
        let bounds: Option<_> = text.split('.').map(bound).collect();
        bounds.map(Self).ok_or_else(|| {
            let message = "`before` is not a position in the list; use `next` of the previous page";
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })
    }
}

/// A part of the list.
pub(super) struct Page {
    pub(super) letters: Vec<Letter>,
    /// Where the next one begins; `None` at the end.
    pub(super) next: Option<Cursor>,
}

/// The newest letters before a cursor, by their timestamps across partitions.
pub(super) fn page(
    log: &dyn Log,
    topic: &str,
    before: Option<&Cursor>,
    limit: usize,
) -> Result<Page> {
    let spec = log.topic(topic)?;
    let partitions = spec.map_or(0, |spec| spec.partitions);
    let places = (0..partitions).map(|partition| TopicPartition::new(topic, partition));
    let places: Vec<TopicPartition> = places.collect();
    let ends = log.end_offsets(&places, Isolation::ReadCommitted)?;
    let mut bounds = Cursor::default();
    let mut starts = BTreeMap::new();
    let mut stretches: Vec<Vec<Letter>> = Vec::new();
    for (place, end) in places.iter().zip(ends) {
        let bound = before.and_then(|cursor| cursor.0.get(&place.partition).copied());
        let bound = bound.map_or(end, |bound| bound.min(end));
        let start = log.start_offset(place)?;
        starts.insert(place.partition, start);
        let mut stretch = Vec::new();
        let mut upper = bound;
        // Marks of transactions take offsets too: go further back until there are enough letters.
        while stretch.len() < limit && upper > start {
            let from = upper.saturating_sub(limit as Offset * 2).max(start);
            let mut older = read(log, place, from, upper)?;
            older.append(&mut stretch);
            stretch = older;
            upper = from;
        }
        bounds.0.insert(place.partition, bound);
        stretches.push(stretch);
    }
    let mut letters = Vec::new();
    while letters.len() < limit {
        let newest = stretches.iter_mut().filter(|stretch| !stretch.is_empty());
        let newest = newest.max_by_key(|stretch| stretch.last().map(|letter| letter.timestamp_ms));
        let Some(letter) = newest.and_then(Vec::pop) else {
            break;
        };
        bounds.0.insert(letter.place.partition, letter.offset);
        letters.push(letter);
    }
    let has_more = letters.len() == limit && {
        let mut bounds = bounds.0.iter();
        bounds.any(|(partition, bound)| starts.get(partition).is_some_and(|start| bound > start))
    };
    Ok(Page {
        letters,
        next: has_more.then_some(bounds),
    })
}

/// The letter at a place, if it exists.
pub(super) fn one(log: &dyn Log, place: &TopicPartition, offset: Offset) -> Result<Option<Letter>> {
    let spec = log.topic(&place.topic)?;
    if spec.is_none_or(|spec| place.partition >= spec.partitions) {
        return Ok(None);
    }
    let end = log.end_offset(place, Isolation::ReadCommitted)?;
    if !(log.start_offset(place)?..end).contains(&offset) {
        return Ok(None);
    }
    let letters = read(log, place, offset, offset + 1)?;
    Ok(letters.into_iter().next())
}

/// The letters from one offset up to another, exclusive, which is at most the end.
fn read(log: &dyn Log, place: &TopicPartition, from: Offset, to: Offset) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    each_record(log, place, from, to, &mut |record| {
        letters.push(Letter::of(place, record)?);
        Ok(())
    })?;
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_it_was_written_as() {
        let cursor = Cursor(BTreeMap::from([(0, 12), (3, 0)]));
        assert_eq!(cursor.to_string(), "0-12.3-0");
        assert_eq!("0-12.3-0".parse::<Cursor>().expect("a cursor"), cursor);
        for text in ["", "0", "a-1", "0-b", "0--1", "0-1.", "../../etc"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
