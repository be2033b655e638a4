//! Builds a complete database from what can be read of a damaged one.

use std::collections::BTreeMap;

use super::{LostRecords, MovedBack, Repair};
use crate::base::{Offset, Result, TopicPartition};
use crate::disk::{Column, Database, Durability, Range, WriteBatch};
use crate::log::embedded::format::{
    self, BATCHES, GROUPS, META, OFFSETS, PARTITIONS, PartitionRow, Place, Row, TOPICS,
    base_offset_of, batch_key, partition_key,
};
use crate::log::embedded::partition::after;
use crate::log::embedded::point::Mark;
use crate::log::{Batch, Cleanup, TopicSpec};

/// How much is written at once, in bytes.
const CHUNK_BYTES: usize = 4 << 20;

pub(super) type Ends = BTreeMap<Place, Offset>;

/// The ends of partitions, as far as rows of them exist.
pub(super) fn ends(database: &Database) -> Result<Ends> {
    let mut ends = Ends::new();
    for ((id, spec), _) in topics(database, &mut Repair::default())? {
        for number in 0..spec.partitions {
            let place = (id, number);
            if let Some(row) = partition_row(database, place, &mut Repair::default())? {
                ends.insert(place, row.end);
            }
        }
    }
    Ok(ends)
}

/// Whether everything can be read, and no batch is beyond the end of its partition.
pub(super) fn is_whole(database: &Database) -> Result<bool> {
    let mut report = Repair::default();
    let meta = rows(database, META, &mut report);
    let rows_are_whole = rows(database, OFFSETS, &mut report)
        .iter()
        .all(|(key, row)| {
            format::read_offset_key(key).is_ok() && format::read_offset_row(row).is_ok()
        })
        && (meta.iter().chain(&rows(database, GROUPS, &mut report)))
            .filter(|(key, _)| key != b"format")
            .all(|(_, row)| format::Fields::open(row).is_ok());
    if !rows_are_whole {
        return Ok(false);
    }
    for ((id, spec), _) in topics(database, &mut report)? {
        for number in 0..spec.partitions {
            let place = (id, number);
            let row = partition_row(database, place, &mut report)?.unwrap_or_default();
            let name = TopicPartition::new(spec.name.as_str(), number);
            // An earlier repair may have left gaps, and has reported them.
            let mut salvaging = Salvaging::new(name, row, false);
            salvaging.read(database, place, &mut report, |_, _| Ok(()))?;
            if salvaging.beyond {
                return Ok(false);
            }
        }
    }
    Ok(report == Repair::default())
}

/// What is known about a log besides its rows.
pub(super) struct Known<'a> {
    /// Of the new log.
    pub(super) incarnation: u128,
    /// How much was written, if the database no longer says so.
    pub(super) written: Mark,
    /// Ends for which there is evidence.
    pub(super) seen: &'a Ends,
    /// Whether rows of different commits may be mixed. Otherwise groups' offsets match the records, and
    /// their meaning is unknown: a feeder stores the line number of a file there.
    pub(super) in_pieces: bool,
}

/// Fills `to` with what can be read of `from`, and reports what cannot, and how much there is.
pub(super) fn salvage(from: &Database, to: &Database, log: &Known<'_>) -> Result<(Repair, Mark)> {
    let mut report = Repair::default();
    let mut out = Out::new(to);
    let mut next_topic = 0;
    let mut value = Vec::new();
    if matches!(from.get(META, format::NEXT_TOPIC, &mut value), Ok(true)) {
        next_topic = format::Fields::open(&value)
            .and_then(|mut fields| fields.u32())
            .unwrap_or(0);
    }
    let mut known = BTreeMap::new();
    for ((id, spec), row) in topics(from, &mut report)? {
        next_topic = next_topic.max(id + 1);
        out.batch.put(TOPICS, spec.name.as_bytes(), &row);
        for number in 0..spec.partitions {
            let place = (id, number);
            let name = TopicPartition::new(spec.name.as_str(), number);
            let row = partition_row(from, place, &mut report)?;
            let seen_end = log.seen.get(&place).copied().unwrap_or(0);
            let end = partition(
                from,
                &mut out,
                (place, &name),
                (&spec, row),
                seen_end,
                &mut report,
            )?;
            known.insert(place, (name, end));
        }
    }
    for id in nameless(from, &known)? {
        let message =
            format!("topic id {id} is lost with all its records: its name cannot be read");
        report.problems.push(message);
    }
    for (key, row) in rows(from, OFFSETS, &mut report) {
        let decoded = format::read_offset_key(&key)
            .and_then(|(group, place)| Ok((group, place, format::read_offset_row(&row)?)));
        let Ok((group, place, mut committed)) = decoded else {
            report
                .problems
                .push("a committed offset of a group could not be read".to_owned());
            continue;
        };
        let Some((name, end)) = known.get(&place) else {
            continue;
        };
        if log.in_pieces && committed.offset > *end {
            report.moved_back.push(MovedBack {
                group: group.clone(),
                partition: name.clone(),
                from: committed.offset,
                to: *end,
            });
            committed.offset = *end;
        }
        out.batch
            .put(OFFSETS, &key, &format::offset_row(&committed));
    }
    for (group, row) in rows(from, GROUPS, &mut report) {
        out.batch.put(GROUPS, &group, &row);
    }
    let mark = Mark::of(from).ok().flatten().unwrap_or(log.written);
    let row = Row::new().put(&log.incarnation.to_le_bytes()).seal();
    out.batch.put(META, format::INCARNATION, &row);
    let row = Row::new().put(&next_topic.to_le_bytes()).seal();
    out.batch.put(META, format::NEXT_TOPIC, &row);
    out.batch.put(META, format::WRITTEN, &mark.row());
    out.write()?;
    Ok((report, mark))
}

/// Rows on their way to the new database.
struct Out<'a> {
    database: &'a Database,
    batch: WriteBatch,
}

impl<'a> Out<'a> {
    fn new(database: &'a Database) -> Self {
        let batch = database.batch();
        Self { database, batch }
    }

    fn write(&mut self) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, self.database.batch());
        self.database.write(batch, Durability::Logged)
    }
}

/// The rows of a small column, as far as they can be read.
fn rows(database: &Database, column: Column, report: &mut Repair) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut read = || -> Result<()> {
        let mut rows = database.iter(column, Range::all())?;
        while let Some((key, row)) = rows.next()? {
            found.push((key.to_vec(), row.to_vec()));
        }
        Ok(())
    };
    if let Err(error) = read() {
        let what = format::COLUMNS.get(column.0).copied().unwrap_or_default();
        report
            .problems
            .push(format!("rows of {what} could not be read: {error}"));
    }
    found
}

/// Ids of topics that have batches and no name.
fn nameless(
    database: &Database,
    known: &BTreeMap<Place, (TopicPartition, Offset)>,
) -> Result<Vec<u32>> {
    let mut nameless = Vec::new();
    let mut from = Some(0);
    while let Some(id) = from {
        let range = Range {
            from: Some(batch_key((id, 0), 0).to_vec()),
            to: None,
        };
        let mut rows = database.iter(BATCHES, range)?;
        let next = match rows.next() {
            Ok(next) => next.and_then(|(key, _)| key.first_chunk::<4>().copied()),
            Err(_) => None,
        };
        let Some(found) = next.map(u32::from_be_bytes) else {
            break;
        };
        if known
            .range((found, 0)..)
            .next()
            .is_none_or(|(place, _)| place.0 != found)
        {
            nameless.push(found);
        }
        from = found.checked_add(1);
    }
    Ok(nameless)
}

type TopicRow = ((u32, TopicSpec), Vec<u8>);

fn topics(database: &Database, report: &mut Repair) -> Result<Vec<TopicRow>> {
    let mut topics = Vec::new();
    for (name, row) in rows(database, TOPICS, report) {
        match format::read_topic_row(&name, &row) {
            Ok(topic) => topics.push((topic, row)),
            Err(error) => {
                let name = String::from_utf8_lossy(&name);
                report
                    .problems
                    .push(format!("topic {name} is lost: {error}"));
            }
        }
    }
    Ok(topics)
}

fn partition_row(
    database: &Database,
    place: Place,
    report: &mut Repair,
) -> Result<Option<PartitionRow>> {
    let mut row = Vec::new();
    let read = database.get(PARTITIONS, &partition_key(place), &mut row);
    let read = read.and_then(|found| found.then(|| PartitionRow::decode(&row)).transpose());
    Ok(read.unwrap_or_else(|error| {
        let (topic, partition) = place;
        let message =
            format!("the row of partition {partition} of topic id {topic} is lost: {error}");
        report.problems.push(message);
        None
    }))
}

/// Copies a partition; returns where it ends.
fn partition(
    from: &Database,
    out: &mut Out<'_>,
    (place, name): (Place, &TopicPartition),
    (spec, row): (&TopicSpec, Option<PartitionRow>),
    seen_end: Offset,
    report: &mut Repair,
) -> Result<Offset> {
    let mut kept = row.unwrap_or(PartitionRow {
        end: Offset::MAX,
        ..PartitionRow::default()
    });
    // Without a row, the first batch is the start; batches of a topic that is not compacted follow each
    // other.
    let without_gaps = spec.cleanup == Cleanup::Delete && row.is_some();
    let mut salvaging = Salvaging::new(name.clone(), kept, without_gaps);
    (kept.bytes, kept.clean_bytes) = (0, 0);
    salvaging.read(from, place, report, |base, batch| {
        let bytes = batch.as_bytes().len() as u64;
        kept.bytes += bytes;
        if base < kept.clean_until {
            kept.clean_bytes += bytes;
        }
        out.batch
            .put(BATCHES, &batch_key(place, base), batch.as_bytes());
        if out.batch.size_bytes() >= CHUNK_BYTES {
            out.write()?;
        }
        Ok(())
    })?;
    if row.is_none() {
        kept.end = salvaging.expected;
    }
    kept.clean_until = kept.clean_until.min(kept.end);
    kept.horizon = kept.horizon.min(kept.end);
    if seen_end > kept.end {
        report.lost_records.push(LostRecords {
            partition: name.clone(),
            from: kept.end,
            to: seen_end,
        });
    }
    if row.is_some() || kept.end > 0 {
        out.batch
            .put(PARTITIONS, &partition_key(place), &kept.encode());
    }
    Ok(kept.end)
}

/// Reads the batches of a partition, skipping what cannot be read.
struct Salvaging {
    name: TopicPartition,
    row: PartitionRow,
    /// Whether each batch begins where the previous one ended.
    without_gaps: bool,
    /// Where the next batch has to begin.
    expected: Offset,
    /// Whether something since the last batch could not be read.
    unreadable: bool,
    /// Whether there are batches above the end: remnants of commits that are missing.
    beyond: bool,
}

impl Salvaging {
    fn new(name: TopicPartition, row: PartitionRow, without_gaps: bool) -> Self {
        Self {
            name,
            row,
            without_gaps,
            expected: row.start,
            unreadable: false,
            beyond: false,
        }
    }

    fn read(
        &mut self,
        database: &Database,
        place: Place,
        report: &mut Repair,
        mut keep: impl FnMut(Offset, &Batch) -> Result<()>,
    ) -> Result<()> {
        let mut from = Some(0);
        while let Some(at) = from {
            let range = Range::between(batch_key(place, at), batch_key(place, Offset::MAX));
            let mut rows = database.iter(BATCHES, range)?;
            let mut last = at;
            from = loop {
                match rows.next() {
                    Ok(None) => break None,
                    Ok(Some((key, value))) => {
                        let base = base_offset_of(key)?;
                        last = base + 1;
                        self.take(
                            base,
                            Batch::from_bytes(value.to_vec()).ok(),
                            report,
                            &mut keep,
                        )?;
                    }
                    Err(_) => {
                        self.unreadable = true;
                        break self.readable_after(database, place, last)?;
                    }
                }
            };
        }
        if self.row.end < Offset::MAX {
            self.missing_up_to(self.row.end, report);
        }
        Ok(())
    }

    fn take(
        &mut self,
        base: Offset,
        batch: Option<Batch>,
        report: &mut Repair,
        keep: &mut impl FnMut(Offset, &Batch) -> Result<()>,
    ) -> Result<()> {
        let Some(batch) = batch else {
            self.unreadable = true;
            return Ok(());
        };
        let next = after(base, &batch);
        if next > self.row.end {
            self.beyond = true;
        } else if next > self.expected {
            self.missing_up_to(base, report);
            keep(base, &batch)?;
            self.expected = next;
        }
        Ok(())
    }

    /// Records what is missing between the last batch and `to`.
    fn missing_up_to(&mut self, to: Offset, report: &mut Repair) {
        if to > self.expected && (self.unreadable || self.without_gaps) {
            report.lost_records.push(LostRecords {
                partition: self.name.clone(),
                from: self.expected,
                to,
            });
        }
        self.unreadable = false;
    }

    /// An offset at which reading continues, not far above the damage: at most as far as the damage is
    /// long.
    fn readable_after(
        &self,
        database: &Database,
        place: Place,
        after: Offset,
    ) -> Result<Option<Offset>> {
        let mut step = 1;
        loop {
            let probe = after.saturating_add(step);
            if probe >= self.row.end || step > Offset::MAX / 4 {
                return Ok(None);
            }
            let range = Range::between(batch_key(place, probe), batch_key(place, Offset::MAX));
            if database.iter(BATCHES, range)?.next().is_ok() {
                return Ok(Some(probe));
            }
            step *= 2;
        }
    }
}
