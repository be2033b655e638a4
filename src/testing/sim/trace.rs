//! The events of a run, as a hash that two equal runs share, and the last events in words.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Number of events kept in words.
const KEPT: usize = 60;

#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    /// Records of each instance after its last turn.
    records: BTreeMap<usize, u64>,
    kept: VecDeque<Event>,
}

#[derive(Debug)]
struct Event {
    at_ms: u64,
    instance: Option<usize>,
    what: &'static str,
    number: u64,
    records: u64,
}

impl Trace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hash: seed,
            records: BTreeMap::new(),
            kept: VecDeque::new(),
        }
    }

    /// An event that is not a turn.
    pub(super) fn say(
        &mut self,
        at_ms: u64,
        instance: Option<usize>,
        what: &'static str,
        number: u64,
    ) {
        self.add(Event {
            at_ms,
            instance,
            what,
            number,
            records: 0,
        });
    }

    /// A turn of an instance: when it wants the next one, and how many records it has handled.
    pub(super) fn turn(&mut self, at_ms: u64, instance: usize, wake_at_ms: u64, records: u64) {
        self.add(Event {
            at_ms,
            instance: Some(instance),
            what: "turn",
            number: wake_at_ms,
            records,
        });
    }

    fn add(&mut self, event: Event) {
        self.mix(event.at_ms);
        self.mix(event.instance.map_or(u64::MAX, |instance| instance as u64));
        event
            .what
            .bytes()
            .for_each(|byte| self.mix(u64::from(byte)));
        self.mix(event.number);
        self.mix(event.records);
        // Only turns in which something was done are worth reading.
        if let ("turn", Some(instance)) = (event.what, event.instance)
            && self.records.insert(instance, event.records) == Some(event.records)
        {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    /// Adds a number to the hash.
    pub(super) fn mix(&mut self, number: u64) {
        // FNV-1a, a word at a time.
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.kept {
            write!(f, "\n  {:>8} ms  ", event.at_ms)?;
            match event.instance {
                Some(instance) => write!(f, "{instance}  ")?,
                None => write!(f, "   ")?,
            }
            write!(f, "{} {}", event.what, event.number)?;
            if event.what == "turn" {
                write!(f, ", {} records", event.records)?;
            }
        }
        Ok(())
    }
}
