//! `/health/live` and `/health/ready`: whether to restart the process, and whether it is doing its work.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::words::{duration, state_word};
use crate::runtime::{About, Snapshot, State};

/// An answer to a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) is_well: bool,
    /// What is wrong or waited for, one per line; or a word that all is well.
    pub(super) reasons: Vec<String>,
}

impl Health {
    fn of(reasons: Vec<String>, well: String) -> Self {
        match reasons.is_empty() {
            true => Self {
                is_well: true,
                reasons: vec![well],
            },
            false => Self {
                is_well: false,
                reasons,
            },
        }
    }

    /// Whether the process and its workers are alive. Temporary trouble, such as an unavailable log, is no reason
    /// to restart.
    pub(super) fn live(about: &About, snapshot: &Snapshot) -> Self {
        let mut reasons = Vec::new();
        match snapshot.state {
            State::Failed => {
                let why = snapshot.error.as_deref().unwrap_or("the reason is unknown");
                reasons.push(format!("the application has failed: {why}"));
            }
            State::Stopped => reasons.push("the application has stopped".to_owned()),
            // Workers end one by one.
            State::Stopping => {}
            State::Starting | State::Running | State::Draining => {
                let (running, all) = (snapshot.workers_running, about.workers);
                if running < all {
                    reasons.push(format!("{running} of {all} workers are alive"));
                }
            }
        }
        for worker in snapshot.workers.iter().filter(|worker| worker.expelled) {
            let at = worker.stuck.as_ref();
            let at = at.map_or(String::new(), |stuck| format!(": {stuck}"));
            let name = &worker.worker;
            reasons.push(format!(
                "worker {name} is stuck, and its tasks were reassigned{at}"
            ));
        }
        Self::of(reasons, format!("alive, {}", state_word(snapshot.state)))
    }

    /// Whether all tasks of this instance are running, and if not, what is waited for.
    pub(super) fn ready(about: &About, snapshot: &Snapshot) -> Self {
        let mut reasons = match snapshot.state {
            State::Running | State::Draining => Vec::new(),
            State::Starting => vec![format!(
                "starting: {} of {} tasks are open here",
                snapshot.tasks.len(),
                about.tasks
            )],
            State::Stopping | State::Stopped | State::Failed => {
                vec![format!("the application is {}", state_word(snapshot.state))]
            }
        };
        for task in &snapshot.restoring {
            let mut reason = format!("task {} is being restored", task.task);
            if task.records_total > 0 {
                reason += &format!(
                    ": {} of {} changelog records",
                    task.records, task.records_total
                );
            }
            if let Some(left_ms) = task.left_ms {
                reason += &format!(", about {} left", duration(left_ms));
            }
            reasons.push(reason);
        }
        for task in &snapshot.waiting {
            reasons.push(format!(
                "task {} could not be opened after {} attempts, next attempt in {}: {}",
                task.task,
                task.tries,
                duration(task.next_try_in_ms),
                task.error
            ));
        }
        for worker in &snapshot.workers {
            if let Some(outage) = &worker.outage {
                reasons.push(format!(
                    "the log has not answered worker {} for {}: {}",
                    worker.worker,
                    duration(outage.for_ms),
                    outage.reason
                ));
            }
            if worker.expelled {
                let name = &worker.worker;
                reasons.push(format!("worker {name} is stuck and has no tasks"));
            }
        }
        let tasks = snapshot.tasks.len();
        Self::of(reasons, format!("ready, {tasks} tasks running"))
    }
}

impl Health {
    /// For those who may not read: whether it is healthy, but not why, since errors may quote records.
    pub(super) fn without_reasons(mut self) -> Self {
        if !self.is_well {
            self.reasons = vec!["unhealthy; send the token to see the reasons".to_owned()];
        }
        self
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = match self.is_well {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = format!("{}\n", self.reasons.join("\n"));
        (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TaskId;
    use crate::runtime::{
        Drops, Guarantee, MemorySnapshot, RestoringTask, TopologyChange, WaitingTask,
    };

    fn about() -> About {
        About {
            application: "words".to_owned(),
            guarantee: Guarantee::ExactlyOnce,
            workers: 2,
            tasks: 4,
            memory_bytes: 0,
            dead_letter_topic: None,
            topology_text: String::new(),
            topology_json: String::new(),
            topology_dot: String::new(),
            change: TopologyChange::default(),
        }
    }

    fn snapshot(state: State) -> Snapshot {
        Snapshot {
            state,
            records: 0,
            commits: 0,
            lag: None,
            drops: Drops::default(),
            deleted_unread: 0,
            tasks: Vec::new(),
            restoring: Vec::new(),
            waiting: Vec::new(),
            workers: Vec::new(),
            workers_running: 2,
            memory: MemorySnapshot::default(),
            error: None,
        }
    }

    #[test]
    fn a_start_is_alive_and_not_ready() {
        let snapshot = snapshot(State::Starting);
        assert!(Health::live(&about(), &snapshot).is_well);
        let ready = Health::ready(&about(), &snapshot);
        assert!(!ready.is_well);
        assert_eq!(ready.reasons, ["starting: 0 of 4 tasks are open here"]);
    }

    #[test]
    fn a_task_that_is_restored_is_waited_for() {
        let task = TaskId::new("counts", 3);
        let mut snapshot = snapshot(State::Running);
        assert!(Health::ready(&about(), &snapshot).is_well);
        snapshot.restoring.push(RestoringTask {
            task: task.clone(),
            worker: "w".to_owned(),
            for_ms: 2_000,
            records: 250,
            records_total: 1_000,
            left_ms: Some(6_000),
        });
        snapshot.waiting.push(WaitingTask {
            task,
            worker: "w".to_owned(),
            for_ms: 1,
            tries: 3,
            next_try_in_ms: 400,
            error: "the disk is away".to_owned(),
        });
        let ready = Health::ready(&about(), &snapshot);
        assert!(!ready.is_well);
        let expected = [
            "task counts_3 is being restored: 250 of 1000 changelog records, about 6.0 s left",
            "task counts_3 could not be opened after 3 attempts, next attempt in 400 ms: the disk is away",
        ];
        assert_eq!(ready.reasons, expected);
        assert!(
            Health::live(&about(), &snapshot).is_well,
            "no reason to restart"
        );
    }

    #[test]
    fn a_worker_that_is_gone_is_missed() {
        let mut snapshot = snapshot(State::Running);
        snapshot.workers_running = 1;
        let live = Health::live(&about(), &snapshot);
        assert_eq!(live.reasons, ["1 of 2 workers are alive"]);
        snapshot.state = State::Stopping;
        assert!(
            Health::live(&about(), &snapshot).is_well,
            "they end one by one"
        );
    }
}
