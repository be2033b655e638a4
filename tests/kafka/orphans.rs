//! A topology that would leave state behind, on a real broker.

use marea::base::ErrorKind;
use marea::runtime::{OrphanFate, Settings};

use crate::broker::Broker;
use crate::cases::Case;
use crate::counting::{DEADLINE, wait};
use crate::renaming::{ID, Shape, builder, ends, put, run_first};

pub const CASES: &[(&str, Case)] = &[(
    "a_store_that_is_taken_out_is_refused_until_it_is_accepted",
    a_store_that_is_taken_out_is_refused_until_it_is_accepted,
)];

fn a_store_that_is_taken_out_is_refused_until_it_is_accepted(broker: &Broker) {
    let log = broker.fresh_log();
    run_first(&log, builder(&log, Shape::After));
    let error = builder(&log, Shape::Before).start().map(|_| ());
    let error = error.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for part in ["store added", "store also", "accept_orphans"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let accepting = |names: &[&str]| {
        builder(&log, Shape::Before).settings(Settings {
            accept_orphans: names.iter().map(ToString::to_string).collect(),
            ..Settings::in_memory()
        })
    };
    let mut running = accepting(&["added", "also"]).start().expect("started");
    put(&*log, 0, std::iter::once(("0".to_owned(), 200, 2_000)));
    wait("what was fed", || {
        let (places, ends): (Vec<_>, Vec<_>) = ends(&*log, "in").into_iter().unzip();
        let committed = log.committed(ID, &places).expect("asked");
        let mut both = committed.iter().zip(ends);
        both.all(|(committed, end)| committed.as_ref().is_some_and(|known| known.offset == end))
    });
    let members = log.members(ID).expect("asked").expect("known");
    assert_eq!(members.len(), 1, "{members:?}");
    running.leave(DEADLINE).expect("left");
    let found = accepting(&[]).compare().expect("compared");
    let mut fates = found.orphans.iter().map(|orphan| orphan.fate);
    let is_left = |fate| matches!(fate, OrphanFate::Before { .. });
    assert!(found.orphans.len() == 2 && fates.all(is_left), "{found}");
}
