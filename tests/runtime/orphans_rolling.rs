//! What was left behind, while instances of several releases come and go.

use std::sync::Arc;

use marea::prelude::*;

use crate::counting::{DEADLINE, wait};
use crate::faulty::{Fault, FaultyLog};
use crate::orphans::{
    accepting, append, application, counting, create_topics, feed, record, refused, run,
};
use crate::pipeline::memory_log;

/// Each instance that goes back starts beside others: what it uses is no longer left, whoever is there.
#[test]
fn what_a_rolling_roll_back_uses_again_is_asked_for_when_a_later_release_leaves_it() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a", "b"]);
    let old = || application(&log, counting(&["counts", "sums"]));
    run(&log, old());
    let left = "left store sums".to_owned();
    let new = accepting(&log, counting(&["counts"]), &["sums"]);
    let mut new = new.start().expect("started");
    wait("the note", || record(&*log).contains(&left));
    let mut again = old().start().expect("started");
    let change = again.handle().about().change.clone();
    let returned = change.returns.iter().map(|returned| &*returned.piece.name);
    assert_eq!(returned.collect::<Vec<_>>(), ["sums"], "{change}");
    new.leave(DEADLINE).expect("left");
    wait("the note to be gone", || !record(&*log).contains(&left));
    again.leave(DEADLINE).expect("left");
    let error = refused(application(&log, counting(&["counts", "totals"])));
    assert!(error.message().contains("store sums, 2 rows"), "{error}");
}

/// What others have taken back since its start is not noted anew by an instance that loses its place.
#[test]
fn an_instance_notes_once_what_it_leaves() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts", "sums"])));
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::LoseOutcome { every: 3 }));
    let through: Arc<dyn Log> = faulty.clone();
    let new = accepting(&through, counting(&["counts"]), &["sums"]);
    let mut new = new.start().expect("started");
    let left = "left store sums".to_owned();
    wait("the note", || record(&*log).contains(&left));
    append(&*log, "shop-topology", &[(&left, None)]);
    let before = faulty.faults();
    wait("lost places", || {
        feed(&log, &["a", "b"]);
        faulty.faults() > before + 2
    });
    // All tasks are open again.
    new.drain(DEADLINE).expect("drained");
    let noted = record(&*log);
    assert!(!noted.contains(&left), "{noted:?}");
    new.leave(DEADLINE).expect("left");
}
