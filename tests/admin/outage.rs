//! What still answers over HTTP while the log does not.

use std::sync::Arc;
use std::time::Duration;

use marea::prelude::*;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use crate::client::{PATIENCE, get};
use crate::counting::{Instance, all, log_at, open, partition_of, send};
use crate::silent::SilentLog;

/// Fewer than questions that wait.
const BLOCKING_THREADS: usize = 4;
const QUESTIONS: usize = 2 * BLOCKING_THREADS;

#[test]
fn rows_of_this_instance_are_read_while_questions_for_others_wait_for_the_log() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let case = async {
        let log = log_at("memory:");
        let silent = SilentLog::new(Arc::clone(&log), "counting-instances");
        let through: Arc<dyn Log> = silent.clone();
        let first = Instance::start_with(&through, open(), all).await;
        let second = Instance::start(&log).await;
        first.until_it_has(2).await;
        second.until_it_has(2).await;
        let here = first.application.queries().tasks();
        let (mut local, mut foreign) = (None, None);
        for number in 0.. {
            let key = format!("key-{number}");
            let row = second
                .row("sums", &key, &send(&log, &key, Some(1), 1_000))
                .await;
            let is_here = here.iter().any(|task| task.partition == partition_of(&row));
            let path = Some(format!("/stores/sums/key/%22{key}%22"));
            match is_here {
                true => local = path,
                false => foreign = path,
            }
            if local.is_some() && foreign.is_some() {
                break;
            }
        }
        let (local, foreign) = (local.expect("one"), foreign.expect("one"));
        assert_eq!(first.get_patiently(&foreign).await.status, 200);

        let speaks = silent.stop_answering();
        // The one that tells where tasks are, or a question.
        let asks = async {
            while silent.waiting() == 0 {
                let leaves = timeout(Duration::from_millis(20), first.get(&foreign));
                drop(leaves.await);
            }
        };
        timeout(PATIENCE, asks)
            .await
            .expect("somebody asks the log");
        for _ in 0..QUESTIONS {
            let leaves = timeout(Duration::from_millis(20), first.get(&foreign));
            drop(leaves.await);
        }
        let (address, path) = (first.address, foreign.clone());
        let stay = |_| {
            let path = path.clone();
            tokio::spawn(async move { get(address, &path).await })
        };
        let staying: Vec<_> = (0..QUESTIONS).map(stay).collect();
        sleep(Duration::from_millis(50)).await;
        for _ in 0..QUESTIONS {
            assert_eq!(first.get(&local).await.status, 200);
        }
        for question in staying {
            let answer = question.await.expect("no panic");
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("retry-after"), "1");
        }
        assert!(silent.waiting() <= 2, "one question, and what tells");
        drop(speaks);
        assert_eq!(first.get_patiently(&foreign).await.status, 200);
    };
    runtime.expect("a runtime").block_on(case);
}
