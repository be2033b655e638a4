//! Compares a topology with the data on the log, before anything is created for an application.

use super::change::{Present, compare};
use super::layout::{Layout, LayoutPlan};
use super::moves;
use super::record::{Notes, Record, recorded};
use super::{ApplicationBuilder, OrphanFate, Settings, TopologyChange};
use crate::base::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::topology::Topology;

impl ApplicationBuilder {
    /// What a start on this log would keep, add, move, leave behind and refuse. Creates nothing and stops nothing:
    /// the application may be running.
    ///
    /// ```
    /// use marea::prelude::*;
    ///
    /// let builder = StreamBuilder::new();
    /// let words = builder.stream::<String, String>("words");
    /// words.group_by_key("by-word").count("counts").to_stream().to("totals");
    ///
    /// let log = marea::open("memory:")?;
    /// log.create_topics(&[TopicSpec::new("words", 1), TopicSpec::new("totals", 1)])?;
    /// let change = Application::builder(builder.build()?, "counting").log(log).compare()?;
    /// assert_eq!(change.adds[0].name, "counts");
    /// println!("{change}");
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if input or output topics are missing or do not fit; `Corrupt` for a record that cannot be read;
    /// those of the log. What the application itself would refuse is in [`TopologyChange::check`].
    pub fn compare(&self) -> Result<TopologyChange> {
        let log = self.log.as_deref().ok_or_else(no_log)?;
        let plan = Layout::plan(&self.topology, &self.id, log, &self.settings)?;
        let record = recorded(log, &self.id)?;
        let record = record.as_ref();
        let (mut change, _) = against(&plan, record, log, &self.settings, None)?;
        let mut there = Vec::new();
        for spec in &plan.topics {
            if log.topic(&spec.name)?.is_some() {
                there.push(spec.clone());
            }
        }
        let settled = log.check_topics(&there);
        let moved = check_moves(&plan, record, &change, log);
        for outcome in [settled, moved] {
            match outcome {
                Err(error) if error.kind() == ErrorKind::Invalid => change.refuse(&error),
                outcome => outcome?,
            }
        }
        Ok(change)
    }
}

pub(super) fn no_log() -> Error {
    Error::invalid("an application needs a log; give it one with `log`")
}

/// Determines what an application consists of, refuses what would leave state behind silently, and creates its
/// internal topics.
///
/// # Errors
/// `Invalid`, with the remedy; those of the log.
pub(super) fn lay_out(
    topology: &Topology,
    application: &str,
    log: &dyn Log,
    settings: &Settings,
    instance: Option<&str>,
) -> Result<(Layout, TopologyChange)> {
    let mut plan = Layout::plan(topology, application, log, settings)?;
    let record = recorded(log, application)?;
    let record = record.as_ref();
    let (change, notes) = against(&plan, record, log, settings, instance)?;
    change.check_orphans()?;
    check_moves(&plan, record, &change, log)?;
    for orphan in &change.orphans {
        let fate = orphan.fate;
        match fate {
            OrphanFate::Before { .. } => tracing::debug!("{orphan}: {fate}"),
            OrphanFate::Empty => tracing::info!("{orphan}: {fate}"),
            _ => tracing::warn!("{orphan}: {fate}"),
        }
    }
    for name in &settings.accept_orphans {
        if !change
            .orphans
            .iter()
            .any(|orphan| orphan.piece.name == *name)
        {
            tracing::warn!(
                "accept_orphans names {name}, which this start does not leave behind; take it out"
            );
        }
    }
    for returned in &change.returns {
        let piece = &returned.piece;
        tracing::warn!(
            "{piece} is used again, with what it had when it was left behind; to begin it empty, stop and delete its \
             topic"
        );
    }
    plan.layout.notes = notes;
    plan.layout.keeps_record |= change.has_record;
    Ok((plan.make(log)?, change))
}

fn against(
    plan: &LayoutPlan<'_>,
    record: Option<&Record>,
    log: &dyn Log,
    settings: &Settings,
    instance: Option<&str>,
) -> Result<(TopologyChange, Notes)> {
    let present = Present {
        log,
        application: &plan.layout.application,
        record,
        accepts: &settings.accept_orphans,
        instance,
    };
    compare(plan.topology, &plan.layout.wanted, &plan.topics, &present)
}

fn check_moves(
    plan: &LayoutPlan<'_>,
    record: Option<&Record>,
    change: &TopologyChange,
    log: &dyn Log,
) -> Result<()> {
    let (application, wanted) = (&plan.layout.application, &plan.layout.wanted);
    let is_judged = |topic: &str| {
        let mut orphans = change.orphans.iter();
        orphans.any(|orphan| orphan.piece.topic.as_deref() == Some(topic))
    };
    record.map_or(Ok(()), |record| {
        moves::check(record, log, application, wanted, is_judged)
    })
}
