//! The share of the memory number that the clients of the log get.

use std::sync::Arc;
use std::time::Duration;

use marea::runtime::Settings;

use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::{append, application, create_topics, memory_log, readings};

const DEADLINE: Duration = Duration::from_secs(60);

/// The memory that readers and writers may use while an application with that much memory runs, in bytes.
fn given(memory_bytes: usize, workers: usize) -> (usize, usize) {
    let log = memory_log();
    create_topics(&*log, 2);
    append(&*log, &readings(100), 2, 100);
    let faulty = Arc::new(FaultyLog::new(log, Fault::None));
    let builder = application(faulty.clone(), workers).settings(Settings {
        workers,
        memory_bytes,
        ..Settings::in_memory()
    });
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    let given = faulty.client_bytes();
    running.close(DEADLINE).expect("closed");
    given
}

/// All of them together have a share, however many there are, and a larger one of a larger number.
#[test]
fn clients_of_the_log_are_given_a_share_of_the_memory_number() {
    let mut before = (0, 0);
    for memory_bytes in [128 << 20, 512 << 20] {
        for workers in [1, 4] {
            let (readers, writers) = given(memory_bytes, workers);
            // A sixteenth for the workers' readers; at the start, at most the same for those that restore.
            let least = memory_bytes / 16 * 9 / 10;
            assert!((least..=memory_bytes / 8).contains(&readers), "{readers}");
            let share = memory_bytes * 5 / 32;
            assert!((share * 9 / 10..=share).contains(&writers), "{writers}");
            assert!(workers == 4 || readers > before.0 && writers > before.1);
            before = (readers, writers);
        }
    }
}
