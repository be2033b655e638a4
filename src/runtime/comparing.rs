//! Compares a topology with the data on the log, before anything is created for an application.

use super::change::{OrphanFate, Present, TopologyChange, compare};
use super::layout::{Layout, LayoutPlan};
use super::moves;
use super::record::{Notes, Record, recorded};
use super::settings::Settings;
use crate::base::{ErrorKind, Result};
use crate::log::Log;
use crate::topology::Topology;

/// What a start would keep, add, move, leave behind and refuse. Creates nothing.
///
/// # Errors
/// As [`ApplicationBuilder::compare`](super::ApplicationBuilder::compare).
pub(super) fn compared(
    topology: &Topology,
    application: &str,
    log: &dyn Log,
    settings: &Settings,
) -> Result<TopologyChange> {
    let plan = Layout::plan(topology, application, log, settings)?;
    let record = recorded(log, application)?;
    let record = record.as_ref();
    let (mut change, _) = against(&plan, record, log, settings, None)?;
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
                "accept_orphans names {name}, which this start does not leave behind; remove it"
            );
        }
    }
    for returned in &change.returns {
        let piece = &returned.piece;
        tracing::warn!(
            "{piece} is used again, with the contents it had when it was left behind; to start with an \
             empty one, stop and delete its topic"
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
