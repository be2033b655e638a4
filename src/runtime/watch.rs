//! Input topics that change while an application runs.
//!
//! The tasks are decided once, at start: partitions that are added later are not read by any task, and a
//! key may be in another partition than its state. So the number is compared from time to time, and on a
//! difference the application fails with both numbers rather than leave records unread.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::Context;
use super::shared::Shared;
use crate::base::{Error, ErrorKind, Result};

/// How often the topics are checked.
const LOOK: Duration = Duration::from_secs(10);
/// Checks until the application ends. A topic that changed fails it.
pub(super) fn watch(shared: &Shared) {
    let expected = counts(&shared.context);
    while shared.liveness.pause(LOOK) {
        match compare(&shared.context, &expected) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(%error, "checking the input topics again");
            }
            Err(error) => {
                tracing::error!(%error, "the application's input has changed");
                shared.status.fail(&error);
                shared.context.stop_soon();
                return;
            }
        }
    }
}

/// How many partitions of each of the user's topics are read.
fn counts(context: &Context) -> BTreeMap<&str, u32> {
    let inputs = context.layout.specs.values().flat_map(|spec| &spec.inputs);
    let of_user = inputs.filter(|input| !context.layout.is_repartition(&input.topic));
    let partitions: BTreeSet<(&str, u32)> = of_user
        .map(|input| (&*input.topic, input.partition))
        .collect();
    let mut counts = BTreeMap::new();
    for (topic, _) in partitions {
        *counts.entry(topic).or_default() += 1;
    }
    counts
}

fn compare(context: &Context, expected: &BTreeMap<&str, u32>) -> Result<()> {
    for (topic, expected) in expected {
        let found = context.log.topic(topic)?;
        let application = &context.layout.application;
        match found {
            Some(found) if found.partitions == *expected => {}
            Some(found) => {
                let found = found.partitions;
                return Err(Error::invalid(format!(
                    "topic {topic} has {found} partitions, but application {application} was started with \
                     {expected}: records of the others are not read, and keys have moved between \
                     partitions. Stop every instance, reset the application (delete its group, its \
                     internal topics and its state directories), and start it on {found} partitions"
                )));
            }
            None => {
                return Err(Error::invalid(format!(
                    "topic {topic}, which application {application} reads, was deleted; create it and restart"
                )));
            }
        }
    }
    Ok(())
}
