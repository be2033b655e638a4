//! The topic that records which dead letters were sent again.

use std::collections::BTreeSet;

use crate::admin::records::each_record;
use crate::base::{Result, TopicPartition};
use crate::log::{Cleanup, Isolation, Log, TopicSpec};

/// The marks of an application. One partition, because a sender must see all of them.
pub(super) fn place(application: &str) -> TopicPartition {
    TopicPartition::new(format!("{application}-redriven-changelog"), 0)
}

/// Creates the topic if it does not exist.
pub(super) fn create(log: &dyn Log, application: &str) -> Result<()> {
    let topic = TopicSpec::new(&*place(application).topic, 1).with_cleanup(Cleanup::Compact);
    log.create_topics(&[topic])
}

/// All marks; none if the topic does not exist yet.
pub(super) fn read(log: &dyn Log, application: &str) -> Result<BTreeSet<String>> {
    let place = place(application);
    let mut marks = BTreeSet::new();
    if log.topic(&place.topic)?.is_none() {
        return Ok(marks);
    }
    let end = log.end_offset(&place, Isolation::ReadCommitted)?;
    let start = log.start_offset(&place)?;
    each_record(log, &place, start, end, &mut |record| {
        if let Some(key) = record.key {
            marks.insert(String::from_utf8_lossy(key).into_owned());
        }
        Ok(())
    })?;
    Ok(marks)
}
