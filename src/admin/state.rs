//! `/state`: everything the page shows, as JSON. What is unknown is null.

use serde_json::{Map, Value, json};

use super::health::Health;
use super::options::Section;
use super::process;
use super::words::{guarantee_word, state_word};
use crate::runtime::{
    About, HeldBack, InputSnapshot, Latencies, Snapshot, StoreSnapshot, TaskSnapshot, Traffic,
    WorkerSnapshot,
};

/// The state at `wall_ms`, without what sections add.
pub(super) fn json(about: &About, snapshot: &Snapshot, wall_ms: i64, redriven: u64) -> Value {
    let health = |health: Health| json!({ "ok": health.is_well, "reasons": health.reasons });
    let workers = &snapshot.workers;
    let mut latencies = Latencies::default();
    for worker in workers {
        latencies.add(&worker.latencies);
    }
    json!({
        "at_ms": wall_ms,
        "application": about.application,
        "version": env!("CARGO_PKG_VERSION"),
        "state": state_word(snapshot.state),
        "guarantee": guarantee_word(about.guarantee),
        "live": health(Health::live(about, snapshot)),
        "ready": health(Health::ready(about, snapshot)),
        "error": snapshot.error,
        "lag_records": snapshot.lag,
        "processed_records": snapshot.records,
        "commits": snapshot.commits,
        "committed_ms": workers.iter().filter_map(|worker| worker.committed_ms).min(),
        "commit_latency": latency(&latencies),
        "drops": drops(&snapshot.drops),
        "failures": (snapshot.drops.failures().iter())
            .map(|(stage, count)| (stage.name().to_owned(), count.into()))
            .collect::<Map<_, _>>(),
        "deleted_unread_records": snapshot.deleted_unread,
        "tasks_total": about.tasks,
        "workers_total": about.workers,
        "workers_running": snapshot.workers_running,
        "memory": memory(snapshot),
        "workers": workers.iter().map(worker).collect::<Vec<_>>(),
        "tasks": snapshot.tasks.iter().map(task).collect::<Vec<_>>(),
        "restoring": snapshot.restoring.iter().map(|task| json!({
            "task": task.task.to_string(),
            "worker": task.worker,
            "for_ms": task.for_ms,
            "records": task.records,
            "records_total": (task.records_total > 0).then_some(task.records_total),
            "left_ms": task.left_ms,
        })).collect::<Vec<_>>(),
        "waiting": snapshot.waiting.iter().map(|task| json!({
            "task": task.task.to_string(),
            "worker": task.worker,
            "for_ms": task.for_ms,
            "tries": task.tries,
            "next_try_in_ms": task.next_try_in_ms,
            "error": task.error,
        })).collect::<Vec<_>>(),
        "dead_letters": { "topic": about.dead_letter_topic, "redriven_records": redriven },
    })
}

/// The topology, with what the start found on the log under `change`.
pub(super) fn topology(about: &About) -> String {
    let mut topology: Value = serde_json::from_str(&about.topology_json).unwrap_or_default();
    topology["change"] = serde_json::to_value(&about.change).unwrap_or_default();
    topology.to_string()
}

/// The current data of each section; null for a section without data, or whose function panics.
pub(super) fn sections(sections: &[Section]) -> Value {
    let data = sections.iter().map(|section| {
        let data = section.data.as_ref();
        let data = data.and_then(|data| {
            let call = std::panic::AssertUnwindSafe(|| data());
            std::panic::catch_unwind(call).ok()
        });
        (section.id.clone(), data.unwrap_or(Value::Null))
    });
    Value::Object(data.collect())
}

fn traffic(traffic: Traffic) -> Value {
    json!({ "records": traffic.records, "bytes": traffic.bytes })
}

fn drops(drops: &crate::runtime::Drops) -> Map<String, Value> {
    let counts = drops.iter();
    counts
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect()
}

/// Buckets as they are, so that a reader can compute the commits of the last minute from two states.
fn latency(latencies: &Latencies) -> Value {
    let buckets = latencies.buckets();
    let buckets = buckets.map(|(bound_ms, count)| json!([bound_ms, count]));
    json!({
        "buckets_ms": buckets.collect::<Vec<_>>(),
        "count": latencies.count(),
        "sum_ms": latencies.sum_ns() / 1_000_000,
    })
}

fn memory(snapshot: &Snapshot) -> Value {
    let memory = &snapshot.memory;
    json!({
        "limit_bytes": memory.limit_bytes,
        "used_bytes": memory.used_bytes(),
        "log_bytes": memory.log_bytes,
        "rocksdb_bytes": memory.disk_bytes,
        "globals_bytes": memory.globals_bytes,
        "fetched_bytes": memory.workers.fetched_bytes,
        "uncommitted_bytes": memory.workers.uncommitted_bytes,
        "cached_bytes": memory.workers.cached_bytes,
        "process_bytes": process::resident_bytes(),
    })
}

fn worker(worker: &WorkerSnapshot) -> Value {
    json!({
        "worker": worker.worker,
        "commits": worker.commits,
        "aborts": worker.aborts,
        "places_lost": worker.places_lost,
        "committed_ms": worker.committed_ms,
        "reported_ms": worker.reported_ms,
        "expelled": worker.expelled,
        "latency": latency(&worker.latencies),
        "outage": worker.outage.as_ref().map(|outage| json!({
            "for_ms": outage.for_ms,
            "reason": outage.reason,
        })),
        "stuck": worker.stuck.as_ref().map(|stuck| json!({
            "for_ms": stuck.for_ms,
            "task": stuck.task.to_string(),
            "node": stuck.node,
            "partition": stuck.partition.to_string(),
            "offset": stuck.offset,
        })),
    })
}

fn task(task: &TaskSnapshot) -> Value {
    json!({
        "task": task.task.to_string(),
        "subtopology": *task.task.subtopology,
        "partition": task.task.partition,
        "worker": task.worker,
        "ended": task.ended,
        "restored_records": task.restored,
        "stream_time_ms": (task.stream_time_ms >= 0).then_some(task.stream_time_ms),
        "floor_ms": task.floor_ms,
        "held_back": task.held_back.as_ref().map(|held| held_back(held, task.held_back_ms)),
        "inputs": task.inputs.iter().map(input).collect::<Vec<_>>(),
        "outputs": task.outputs.iter().map(|(topic, sent)| json!({
            "topic": **topic,
            "records": sent.records,
            "bytes": sent.bytes,
        })).collect::<Vec<_>>(),
        "stores": task.stores.iter().map(store).collect::<Vec<_>>(),
        "drops": drops(&task.drops),
    })
}

fn held_back(held_back: &HeldBack, for_ms: u64) -> Value {
    json!({
        "for_ms": for_ms,
        "topic": *held_back.input.topic,
        "partition": held_back.input.partition,
        "origin": held_back.origin,
        "time_ms": (held_back.time_ms >= 0).then_some(held_back.time_ms),
        "ahead_ms": (held_back.ahead_ms >= 0).then_some(held_back.ahead_ms),
    })
}

fn input(input: &InputSnapshot) -> Value {
    json!({
        "topic": *input.partition.topic,
        "partition": input.partition.partition,
        "repartition": input.is_repartition,
        "position": input.position,
        "lag_records": input.lag,
        "time_ms": input.partition_time_ms,
        "records": input.figures.taken.records,
        "bytes": input.figures.taken.bytes,
        "rejected": input.figures.rejected,
    })
}

fn store(store: &StoreSnapshot) -> Value {
    let rows = &store.figures.rows;
    json!({
        "store": store.figures.store,
        "rows": rows.rows,
        "bytes": rows.bytes,
        "file_bytes": rows.file_bytes,
        "buffer_bytes": rows.buffer_bytes,
        "compaction_pending_bytes": rows.compaction_bytes,
        "dirty_bytes": store.figures.dirty_bytes,
        "cached_bytes": store.figures.cached_bytes,
        "changelog": store.changelog.as_deref(),
        "changelog_written": store.changelog.as_ref().map(|_| traffic(store.written)),
    })
}
