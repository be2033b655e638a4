//! How an assignment is changed without disturbing what stays.
//!
//! ```text
//!  wanted --+-- stays: is assigned, at that position            the client is told nothing of it
//!           +-- begins: all others                              incremental_assign
//!  assigned and not staying                                     incremental_unassign, before
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::Consumer as _;

use super::{KafkaReader, STALLED_MS, Slot};
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::BatchBuilder;
use crate::log::kafka::cluster::questions::Which;
use crate::log::kafka::convert::{self, list, offset_of};
use crate::log::kafka::error::failed;

impl KafkaReader {
    /// Makes these partitions the assignment. Those whose slot `stays` at the position continue. Waits at
    /// most `patience` for the starts of the others; the request stays pending for an identical later
    /// call.
    pub(super) fn change(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        stays: impl Fn(&Slot, Offset) -> bool,
        patience: Duration,
    ) -> Result<()> {
        let topics: BTreeSet<Arc<str>> = positions.iter().map(|(at, _)| at.topic.clone()).collect();
        let topics: Vec<Arc<str>> = topics.into_iter().collect();
        let mut places = HashMap::new();
        let mut staying = HashMap::new();
        let mut begun: Vec<Slot> = Vec::new();
        for (index, (partition, position)) in positions.iter().enumerate() {
            let number = convert::number_of(partition)?;
            let place = (partition.topic.to_string(), number);
            let position = (*position).max(0);
            let known = self.places.get(&place).copied();
            match known.filter(|known| !self.is_torn && stays(&self.slots[*known], position)) {
                Some(known) => {
                    staying.insert(known, index);
                }
                None => begun.push(Slot {
                    partition: partition.clone(),
                    number,
                    position,
                    is_stale: false,
                    paused: false,
                    stopped: false,
                    base_offset: 0,
                    builder: BatchBuilder::default(),
                }),
            }
            places.insert(place, index);
        }
        // Also refuses partitions that do not exist.
        let new: Vec<TopicPartition> = begun.iter().map(|slot| slot.partition.clone()).collect();
        let starts = self.starts_of(new, patience)?;
        self.topic_ids.note(&self.cluster, &topics)?;
        if staying.is_empty() {
            self.is_astray = false;
        }
        for (slot, start) in begun.iter_mut().zip(starts) {
            if slot.position < start {
                self.skipped.push(slot.skip_to(start));
            }
        }
        self.is_torn = true;
        self.tell_client(&staying, &mut begun)?;
        self.is_torn = false;
        let mut begun = begun.into_iter();
        let old = std::mem::take(&mut self.slots).into_iter().enumerate();
        let mut kept: HashMap<usize, Slot> = old
            .filter_map(|(known, slot)| Some((*staying.get(&known)?, slot)))
            .collect();
        let next = |index| kept.remove(&index).or_else(|| begun.next());
        self.slots = (0..positions.len()).filter_map(next).collect();
        self.places = places;
        self.starts = None;
        self.ends = None;
        if let Some(client) = &mut self.client {
            let topics = self.slots.iter().map(|slot| &slot.partition.topic);
            client.learn_leaders(topics, Duration::from_millis(STALLED_MS));
        }
        Ok(())
    }

    /// Where partitions begin, which a broker that is down does not say.
    fn starts_of(
        &mut self,
        partitions: Vec<TopicPartition>,
        patience: Duration,
    ) -> Result<Vec<Offset>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let standing = self.begin_at.take();
        let mut asked = match standing.filter(|asked| asked.is_of(&partitions)) {
            Some(asked) => asked,
            None => self.cluster.ask(Which::Starts, partitions)?,
        };
        match asked.look(patience)? {
            Some((_, starts)) => Ok(starts.to_vec()),
            None => {
                self.begin_at = Some(asked);
                let message = format!(
                    "the brokers have not reported within {} ms where partitions begin; try again",
                    patience.as_millis()
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Tells the client what is removed and what is added.
    fn tell_client(&mut self, staying: &HashMap<usize, usize>, begun: &mut [Slot]) -> Result<()> {
        let place = |slot: &Slot| (slot.partition.clone(), KafkaOffset::Offset(slot.position));
        let wanted: Vec<_> = begun.iter().map(place).collect();
        let wanted = list(
            wanted
                .iter()
                .map(|(partition, offset)| (partition, *offset)),
        )?;
        let going: Vec<usize> = (0..self.slots.len())
            .filter(|known| !staying.contains_key(known))
            .collect();
        for known in &going {
            self.end_pause(*known)?;
        }
        let consumer = self.consumer()?;
        let told = if staying.is_empty() {
            // Records already fetched belong to the old assignment, even if the partition stays.
            consumer.unassign().and_then(|()| match wanted.count() {
                0 => Ok(()),
                _ => consumer.assign(&wanted),
            })
        } else {
            let going: Vec<_> = going
                .iter()
                .map(|known| place(&self.slots[*known]))
                .collect();
            let going = list(going.iter().map(|(partition, offset)| (partition, *offset)))?;
            let gone = match going.count() {
                0 => Ok(()),
                _ => consumer.incremental_unassign(&going),
            };
            gone.and_then(|()| match wanted.count() {
                0 => Ok(()),
                _ => consumer.incremental_assign(&wanted),
            })
        };
        told.map_err(|cause| failed("assigning partitions", cause))?;
        let stands = consumer.position();
        let stands = stands.map_err(|cause| failed("requesting positions", cause))?;
        for element in stands.elements() {
            let is_it = |slot: &&mut Slot| {
                slot.number == element.partition() && *slot.partition.topic == *element.topic()
            };
            if let Some(slot) = begun.iter_mut().find(is_it) {
                slot.is_stale = offset_of(element.offset()).is_some();
            }
        }
        Ok(())
    }
}
