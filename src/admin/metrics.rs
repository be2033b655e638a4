//! `/metrics`: a snapshot for a scraper.

use std::fmt::Display;

use super::counter::Counter;
use super::exposition::{Exposition, Format, Kind, Labels, Seconds};
use super::process;
use super::words::{guarantee_word, state_word};
use crate::runtime::{About, Latencies, Snapshot, State, TaskSnapshot, WorkerSnapshot};

/// What the endpoint itself counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    /// Dead letters that were sent again.
    pub(super) redriven: u64,
    /// Open streams of events.
    pub(super) streams: usize,
}

/// All metrics of an application, and those that it counts itself.
pub(super) fn text(
    about: &About,
    snapshot: &Snapshot,
    own: Own,
    counters: &[Counter],
    format: Format,
) -> String {
    let mut out = Exposition::new(format);
    application(&mut out, about, snapshot);
    workers(&mut out, &snapshot.workers);
    tasks(&mut out, &snapshot.tasks);
    inputs(&mut out, &snapshot.tasks);
    outputs(&mut out, &snapshot.tasks);
    stores(&mut out, &snapshot.tasks);
    opening(&mut out, snapshot);
    memory(&mut out, snapshot);
    let help = "Dead letters that were sent again to the topic they came from.";
    counter(&mut out, "marea_redriven_records", help, own.redriven);
    let help = "Open event streams.";
    gauge(&mut out, "marea_event_streams", help, own.streams);
    for counter in counters {
        counter.write(&mut out);
    }
    out.finish()
}

fn counter(out: &mut Exposition, name: &str, help: &str, value: impl Display) {
    out.family(name, Kind::Counter, help).sample(&[], value);
}

fn gauge(out: &mut Exposition, name: &str, help: &str, value: impl Display) {
    out.family(name, Kind::Gauge, help).sample(&[], value);
}

fn application(out: &mut Exposition, about: &About, snapshot: &Snapshot) {
    let guarantee = guarantee_word(about.guarantee);
    let labels: Labels<'_> = &[
        ("version", &env!("CARGO_PKG_VERSION")),
        ("application", &about.application),
        ("guarantee", &guarantee),
    ];
    out.family("marea_application", Kind::Info, "The running application.")
        .sample(labels, 1);
    let help = "State of the application: 1 for the current state, 0 for the others.";
    let mut family = out.family("marea_application_state", Kind::Gauge, help);
    let states = [
        State::Starting,
        State::Running,
        State::Draining,
        State::Stopping,
        State::Stopped,
        State::Failed,
    ];
    for state in states {
        let is_in = u8::from(state == snapshot.state);
        family.sample(&[("state", &state_word(state))], is_in);
    }
    let help = "Records processed since the start, including repartitioned ones.";
    counter(out, "marea_processed_records", help, snapshot.records);
    if let Some(lag) = snapshot.lag {
        let help = "Unprocessed records in all inputs of this instance. Absent while unknown.";
        gauge(out, "marea_lag_records", help, lag);
    }
    let help = "Records, or parts of their effects, that were dropped, by reason.";
    let mut family = out.family("marea_dropped_records", Kind::Counter, help);
    for (reason, count) in snapshot.drops.iter() {
        family.sample(&[("reason", &reason.name())], count);
    }
    let help = "Records that failed without stopping the application, by stage: a policy skipped them or sent them to \
                the dead letters.";
    let mut family = out.family("marea_failed_records", Kind::Counter, help);
    for (stage, count) in snapshot.drops.failures().iter() {
        family.sample(&[("stage", &stage.name())], count);
    }
    let help = "Input offsets whose records were deleted before they were read.";
    counter(
        out,
        "marea_deleted_unread_records",
        help,
        snapshot.deleted_unread,
    );
}

fn workers(out: &mut Exposition, workers: &[WorkerSnapshot]) {
    type Count = fn(&WorkerSnapshot) -> u64;
    let counts: [(&str, &str, Count); 3] = [
        ("marea_commits", "Commits.", |worker| worker.commits),
        (
            "marea_aborted_commits",
            "Commits that were aborted; their work was repeated.",
            |worker| worker.aborts,
        ),
        (
            "marea_lost_places",
            "How often the worker has lost its place in the group.",
            |worker| worker.places_lost,
        ),
    ];
    for (name, help, count) in counts {
        let mut family = out.family(name, Kind::Counter, help);
        for worker in workers {
            family.sample(&[("worker", &worker.worker)], count(worker));
        }
    }
    let help = "Duration of commits, from their start until the outcome is definite and applied.";
    let mut family = out.family("marea_commit_latency_seconds", Kind::Histogram, help);
    for worker in workers {
        let latencies: &Latencies = &worker.latencies;
        let buckets = latencies
            .buckets()
            .map(|(bound_ms, count)| (bound_ms.map(Seconds::of_ms), count));
        let sum = Seconds {
            ns: latencies.sum_ns().into(),
        };
        family.histogram(&[("worker", &worker.worker)], buckets, sum);
    }
    type Age = fn(&WorkerSnapshot) -> Option<u64>;
    let ages: [(&str, &str, Age); 4] = [
        (
            "marea_commit_age_seconds",
            "Time since the outcome of the last commit became definite. Absent before the first commit.",
            |worker| worker.committed_ms,
        ),
        (
            "marea_worker_report_age_seconds",
            "Time since the last report of the worker. More than a second means that it is still at one \
             record.",
            |worker| Some(worker.reported_ms),
        ),
        (
            "marea_log_outage_seconds",
            "Time for which the log has not answered the worker; 0 if it answers.",
            |worker| Some(worker.outage.as_ref().map_or(0, |outage| outage.for_ms)),
        ),
        (
            "marea_stuck_seconds",
            "How long the worker has been processing one record, if for a second or more; otherwise 0.",
            |worker| Some(worker.stuck.as_ref().map_or(0, |stuck| stuck.for_ms)),
        ),
    ];
    for (name, help, age) in ages {
        let mut family = out.family(name, Kind::Gauge, help);
        for worker in workers {
            if let Some(age_ms) = age(worker) {
                family.sample(&[("worker", &worker.worker)], Seconds::of_ms(age_ms));
            }
        }
    }
    let help =
        "1 if the group has reassigned the worker's tasks because it was stuck, otherwise 0.";
    let mut family = out.family("marea_worker_expelled", Kind::Gauge, help);
    for worker in workers {
        family.sample(&[("worker", &worker.worker)], u8::from(worker.expelled));
    }
}

fn tasks(out: &mut Exposition, tasks: &[TaskSnapshot]) {
    let help = "Open tasks: 1 while the task is running, 0 once its input has ended.";
    let mut family = out.family("marea_task_running", Kind::Gauge, help);
    for task in tasks {
        let labels: Labels<'_> = &[("task", &task.task), ("worker", &task.worker)];
        family.sample(labels, u8::from(!task.ended));
    }
    type Time = fn(&TaskSnapshot) -> Option<i64>;
    let times: [(&str, &str, Time); 3] = [
        (
            "marea_task_stream_time_seconds",
            "The largest timestamp of the records taken by the task, since 1970. Absent before the first \
             record.",
            |task| (task.stream_time_ms >= 0).then_some(task.stream_time_ms),
        ),
        (
            "marea_task_floor_seconds",
            "The time that all inputs of the task have reached, since 1970: no window that ends later may \
             close. Absent while there is none.",
            |task| task.floor_ms,
        ),
        (
            "marea_task_held_back_seconds",
            "How long the time of the task has stood still, waiting for one of its origins; 0 if it is not \
             waiting.",
            |task| i64::try_from(task.held_back_ms).ok(),
        ),
    ];
    for (name, help, time) in times {
        let mut family = out.family(name, Kind::Gauge, help);
        for task in tasks {
            if let Some(ms) = time(task) {
                family.sample(&[("task", &task.task)], Seconds::of_ms(ms));
            }
        }
    }
}

fn inputs(out: &mut Exposition, tasks: &[TaskSnapshot]) {
    use crate::runtime::InputSnapshot as Input;
    type Number = fn(&Input) -> Option<Box<dyn Display>>;
    fn some<T: Display + 'static>(value: T) -> Option<Box<dyn Display>> {
        Some(Box::new(value))
    }
    let numbers: [(&str, Kind, &str, Number); 5] = [
        (
            "marea_input_records",
            Kind::Counter,
            "Records taken since the task was opened. Records read again after an aborted commit count \
             again.",
            |input| some(input.figures.taken.records),
        ),
        (
            "marea_input_bytes",
            Kind::Counter,
            "Bytes of the keys, values and headers of these records.",
            |input| some(input.figures.taken.bytes),
        ),
        (
            "marea_input_rejected_records",
            Kind::Counter,
            "Those of these records that their source refused, or that a policy skipped or sent to the \
             dead letters.",
            |input| some(input.figures.rejected),
        ),
        (
            "marea_input_lag_records",
            Kind::Gauge,
            "Unprocessed records. Absent while the end of the partition is unknown.",
            |input| input.lag.and_then(some),
        ),
        (
            "marea_input_time_seconds",
            Kind::Gauge,
            "The largest timestamp taken from the partition, since 1970. Absent before the first record.",
            |input| input.partition_time_ms.map(Seconds::of_ms).and_then(some),
        ),
    ];
    for (name, kind, help, number) in numbers {
        let mut family = out.family(name, kind, help);
        for task in tasks {
            for input in &task.inputs {
                if let Some(value) = number(input) {
                    let partition = &input.partition;
                    let labels: Labels<'_> = &[
                        ("task", &task.task),
                        ("topic", &partition.topic),
                        ("partition", &partition.partition),
                    ];
                    family.sample(labels, value);
                }
            }
        }
    }
}

fn outputs(out: &mut Exposition, tasks: &[TaskSnapshot]) {
    let help = "Committed records written since the task was opened.";
    let mut family = out.family("marea_output_records", Kind::Counter, help);
    for task in tasks {
        for (topic, traffic) in &task.outputs {
            family.sample(&[("task", &task.task), ("topic", topic)], traffic.records);
        }
    }
    let help = "Bytes of these records, encoded in batches.";
    let mut family = out.family("marea_output_bytes", Kind::Counter, help);
    for task in tasks {
        for (topic, traffic) in &task.outputs {
            family.sample(&[("task", &task.task), ("topic", topic)], traffic.bytes);
        }
    }
}

fn stores(out: &mut Exposition, tasks: &[TaskSnapshot]) {
    use crate::runtime::StoreSnapshot as Store;
    type Number = fn(&Store) -> Option<u64>;
    let numbers: [(&str, Kind, &str, Number); 9] = [
        (
            "marea_store_rows",
            Kind::Gauge,
            "Committed rows; an estimate if they are on disk.",
            |store| store.figures.rows.rows,
        ),
        (
            "marea_store_bytes",
            Kind::Gauge,
            "Bytes of committed rows on disk; an estimate.",
            |store| store.figures.rows.bytes,
        ),
        (
            "marea_store_file_bytes",
            Kind::Gauge,
            "Bytes of the store's files.",
            |store| store.figures.rows.file_bytes,
        ),
        (
            "marea_store_buffer_bytes",
            Kind::Gauge,
            "Bytes of the store's write buffers.",
            |store| store.figures.rows.buffer_bytes,
        ),
        (
            "marea_store_compaction_pending_bytes",
            Kind::Gauge,
            "Bytes waiting for compaction; while this grows, the disk does not keep up.",
            |store| store.figures.rows.compaction_bytes,
        ),
        (
            "marea_store_dirty_bytes",
            Kind::Gauge,
            "Bytes of rows that are not committed yet.",
            |store| Some(store.figures.dirty_bytes),
        ),
        (
            "marea_store_cached_bytes",
            Kind::Gauge,
            "Bytes of committed rows cached in memory.",
            |store| Some(store.figures.cached_bytes),
        ),
        (
            "marea_changelog_records",
            Kind::Counter,
            "Records written to the store's changelog since the task was opened.",
            |store| store.changelog.as_ref().map(|_| store.written.records),
        ),
        (
            "marea_changelog_bytes",
            Kind::Counter,
            "Bytes of these records, encoded in batches.",
            |store| store.changelog.as_ref().map(|_| store.written.bytes),
        ),
    ];
    for (name, kind, help, number) in numbers {
        let mut family = out.family(name, kind, help);
        for task in tasks {
            for store in &task.stores {
                if let Some(value) = number(store) {
                    family.sample(
                        &[("task", &task.task), ("store", &store.figures.store)],
                        value,
                    );
                }
            }
        }
    }
}

fn opening(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Changelog records read so far by a task that is being restored.";
    let mut family = out.family("marea_restored_records", Kind::Gauge, help);
    for task in &snapshot.restoring {
        family.sample(
            &[("task", &task.task), ("worker", &task.worker)],
            task.records,
        );
    }
    let help = "Changelog records that it must read in total; 0 until this is known.";
    let mut family = out.family("marea_restore_expected_records", Kind::Gauge, help);
    for task in &snapshot.restoring {
        family.sample(
            &[("task", &task.task), ("worker", &task.worker)],
            task.records_total,
        );
    }
    let help = "Estimated time until the task is restored, at the rate so far. Absent until it can be estimated.";
    let mut family = out.family("marea_restore_left_seconds", Kind::Gauge, help);
    for task in &snapshot.restoring {
        if let Some(left_ms) = task.left_ms {
            let labels: Labels<'_> = &[("task", &task.task), ("worker", &task.worker)];
            family.sample(labels, Seconds::of_ms(left_ms));
        }
    }
    let help = "Attempts to open a task that could not be opened yet.";
    let mut family = out.family("marea_open_tries", Kind::Gauge, help);
    for task in &snapshot.waiting {
        family.sample(
            &[("task", &task.task), ("worker", &task.worker)],
            task.tries,
        );
    }
}

fn memory(out: &mut Exposition, snapshot: &Snapshot) {
    let memory = &snapshot.memory;
    let help = "Memory limit of the application.";
    gauge(out, "marea_memory_limit_bytes", help, memory.limit_bytes);
    let help = "Memory counted against the limit, by purpose; the log with its maximum.";
    let mut family = out.family("marea_memory_bytes", Kind::Gauge, help);
    let mut part = |part: &str, bytes: u64| family.sample(&[("part", &part)], bytes);
    part("log", memory.log_bytes);
    if let Some(bytes) = memory.disk_bytes {
        part("rocksdb", bytes);
    }
    part("globals", memory.globals_bytes);
    part("fetched", memory.workers.fetched_bytes);
    part("uncommitted", memory.workers.uncommitted_bytes);
    part("cached", memory.workers.cached_bytes);
    if let Some(bytes) = process::resident_bytes() {
        let help = "Resident memory of the process.";
        gauge(out, "process_resident_memory_bytes", help, bytes);
    }
}
