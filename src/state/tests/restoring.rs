use super::*;

fn specs() -> Vec<StoreSpec> {
    let mut windows = window("w", StoreType::Persistent, false);
    windows.row = RowForm::Timestamped;
    vec![
        key_value("plain", false),
        key_value("stamped", true),
        windows,
        window("m", StoreType::InMemory, false),
        window("d", StoreType::Persistent, true),
    ]
}

/// Writes something to every store; later rounds overwrite, delete and expire.
fn write_round(state: &mut TaskState, round: i64) {
    let plain = state.key_value("plain").expect("is there");
    let stamped = state.key_value("stamped").expect("is there");
    for number in 0..20i64 {
        let key = format!("key{}", (number * 7 + round) % 23);
        let row = format!("{round}/{number}");
        let deleted = (number + round) % 5 == 0;
        let bytes = (!deleted).then_some(row.as_bytes());
        plain.put(key.as_bytes(), bytes).expect("writes");
        let prefixed = [&(round * 100 + number).to_be_bytes()[..], row.as_bytes()].concat();
        let bytes = (!deleted).then_some(&prefixed[..]);
        stamped.put(key.as_bytes(), bytes).expect("writes");
        let start_ms = round * 70_000 + number * 9;
        for name in ["w", "m", "d"] {
            let store = state.window(name).expect("is there");
            store.put(key.as_bytes(), start_ms, bytes).expect("puts");
        }
    }
    state.time(TASK_TIME).set(round * 70_000);
    state.time("partition/in-0").set(round);
}

#[test]
fn a_restored_state_reads_like_the_original() {
    Bench::on_both(&specs(), |bench| {
        let mut logs = Changelogs::default();
        for round in 0..4 {
            write_round(&mut bench.state, round);
            logs.commit(bench);
        }
        let wanted = bench.state.checksum().expect("reads");
        assert!(wanted.iter().all(|(_, rows, _)| *rows > 0), "{wanted:?}");
        // Another disk, with the task changelog restored first or last.
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]] {
            let mut other = Bench::rocks(&specs());
            logs.restore(&mut other.state, false, &order);
            assert_eq!(other.state.checksum().expect("reads"), wanted);
            other.reopen();
            assert_eq!(other.state.checksum().expect("reads"), wanted);
            // Both go on alike.
            let position = other.state.position(2);
            assert_eq!(position, bench.state.position(2));
        }
        // In place, over rows that are there.
        logs.restore(&mut bench.state, true, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(bench.state.checksum().expect("reads"), wanted);
        write_round(&mut bench.state, 4);
        logs.commit(bench);
        let after = bench.state.checksum().expect("reads");
        bench.reopen();
        assert_eq!(bench.state.checksum().expect("reads"), after);
    });
}

#[test]
fn a_crash_before_the_flush_is_made_good_by_the_tail_of_the_changelog() {
    let mut bench = Bench::rocks(&specs());
    let mut logs = Changelogs::default();
    write_round(&mut bench.state, 0);
    logs.commit(&mut bench);
    bench.reopen();
    write_round(&mut bench.state, 1);
    // Committed on the log, never applied here.
    let batches = bench.seal();
    logs.append(batches);
    let mut whole = Bench::memory(&specs());
    logs.restore(&mut whole.state, false, &[0, 1, 2, 3, 4, 5]);
    bench.reopen();
    assert!(bench.state.position(0).is_some());
    logs.restore(&mut bench.state, false, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(
        bench.state.checksum().expect("reads"),
        whole.state.checksum().expect("reads")
    );
}

#[test]
fn dead_segments_leave_the_disk_and_may_be_purged_from_the_log() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        Bench::on_both(&[window("w", store_type, false)], |bench| {
            let mut logs = Changelogs::default();
            assert_eq!(bench.state.purge_before(0), None);
            let store = bench.state.window("w").expect("is there");
            for start_ms in [0, 10, 70_000, 70_010] {
                store.put(b"a", start_ms, Some(b"x")).expect("puts");
            }
            logs.commit(bench);
            assert_eq!(bench.state.purge_before(0), Some(0));
            store.put(b"a", 70_020, Some(b"x")).expect("puts");
            logs.commit(bench);
            store.put(b"a", 200_000, Some(b"x")).expect("puts");
            logs.commit(bench);
            assert_eq!(bench.state.purge_before(0), Some(5));
            bench.reopen();
            assert_eq!(bench.state.purge_before(0), Some(5));
            let backend = bench.state.backend.borrow();
            let mut scan = backend
                .scan(0, Bound::Unbounded, Bound::Unbounded, Direction::Forward)
                .expect("reads");
            let mut rows = 0;
            while scan.next().expect("reads").is_some() {
                rows += 1;
            }
            assert_eq!(rows, 1, "{store_type:?}");
        });
    }
}

#[test]
fn the_changelog_is_laid_out_as_on_the_jvm() {
    let mut windows = window("w", StoreType::Persistent, false);
    windows.row = RowForm::Timestamped;
    let mut bench = Bench::memory(&[windows, key_value("s", false)]);
    let store = bench.state.window("w").expect("is there");
    let row = [&42i64.to_be_bytes()[..], b"value"].concat();
    store.put(b"key", 40, Some(&row)).expect("puts");
    store.put(b"key", 50, None).expect("removes");
    bench.state.time(TASK_TIME).set(99);
    write(&bench.state.key_value("s").expect("is there"), "k", "v");
    let batches = bench.seal();
    let mut cursor = batches[0].as_ref().expect("two records").cursor(0);
    let record = cursor.next_record().expect("intact").expect("one");
    let key = [&b"key"[..], &40i64.to_be_bytes(), &[0; 4]].concat();
    assert_eq!(record.key, Some(&key[..]));
    assert_eq!(
        (record.value, record.timestamp_ms),
        (Some(&b"value"[..]), 42)
    );
    let record = cursor.next_record().expect("intact").expect("two");
    assert_eq!((record.value, record.timestamp_ms), (None, 50));
    let mut cursor = batches[1].as_ref().expect("one record").cursor(0);
    let record = cursor.next_record().expect("intact").expect("one");
    assert_eq!((record.key, record.timestamp_ms), (Some(&b"k"[..]), 99));
}

/// As with the changelogs of a JVM application, which has no task changelog.
#[test]
fn without_a_task_changelog_a_stores_time_is_that_of_its_rows() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        let specs = [window("w", store_type, false)];
        let mut bench = Bench::memory(&specs);
        let mut logs = Changelogs::default();
        let store = bench.state.window("w").expect("is there");
        for (start_ms, row) in [(10, Some(&b"x"[..])), (150, Some(b"x"))] {
            store.put(b"a", start_ms, row).expect("puts");
        }
        store.put(b"a", 500, None).expect("removes");
        logs.commit(&mut bench);
        let mut other = Bench::rocks(&specs);
        logs.restore(&mut other.state, false, &[0]);
        for _ in 0..2 {
            let store = other.state.window("w").expect("is there");
            assert_eq!(store.observed_ms(), 500);
            let put = store.put(b"a", 20, Some(b"x")).expect("puts");
            assert_eq!(put == Put::Expired, store_type == StoreType::InMemory);
            other.state.rollback().expect("rolls back");
            other.reopen();
        }
    }
}

/// A store that changes rarely must not look as if deletions might be missing in it.
#[test]
fn a_commit_makes_the_stores_fresh_that_did_not_change() {
    Bench::on_both(
        &[key_value("often", false), key_value("rarely", false)],
        |bench| {
            let mut logs = Changelogs::default();
            let (often, rarely) = (
                bench.state.key_value("often").expect("is there"),
                bench.state.key_value("rarely").expect("is there"),
            );
            write(&often, "a", "1");
            write(&rarely, "a", "1");
            bench.state.set_wall_ms(1_000);
            logs.commit(bench);
            write(&often, "a", "2");
            bench.state.set_wall_ms(900_000);
            logs.commit(bench);
            drop((often, rarely));
            for _ in 0..2 {
                assert_eq!(bench.state.position(1), Some(1));
                assert_eq!(bench.state.position_at_ms(1), Some(900_000));
                // The task changelog has nothing, and no position.
                assert_eq!(bench.state.position_at_ms(2), None);
                bench.reopen();
            }
        },
    );
}

/// In some logs what is no record takes offsets, a transaction's marker for one.
#[test]
fn what_is_purged_is_counted_from_positions_and_never_past_a_live_row() {
    let specs = [window("w", StoreType::Persistent, false)];
    Bench::on_both(&specs, |bench| {
        let store = bench.state.window("w").expect("is there");
        store.put(b"a", 0, Some(b"x")).expect("puts");
        bench.seal();
        // One record, and a marker behind it.
        bench.state.applied(&[Some(2), None]).expect("applies");
        assert_eq!(bench.state.purge_before(0), Some(0));
        store.put(b"a", 70_000, Some(b"x")).expect("puts");
        store.put(b"a", 200_000, Some(b"x")).expect("puts");
        bench.seal();
        // Two records with a marker between them, and one behind: the first has offset 2.
        bench.state.applied(&[Some(6), None]).expect("applies");
        assert_eq!(bench.state.purge_before(0), Some(2));
    });
}

/// Parts large enough for files of their own, with keys that come again and are deleted in later parts.
#[test]
fn parts_that_are_ingested_read_like_rows_that_were_written() {
    let specs = [
        key_value("s", true),
        window("w", StoreType::Persistent, false),
    ];
    let mut logs = Changelogs::default();
    let mut bench = Bench::memory(&specs);
    let plain = bench.state.key_value("s").expect("is there");
    let windows = bench.state.window("w").expect("is there");
    for round in 0..2i64 {
        for number in 0..15_000i64 {
            let key = (number * 7_919 % 12_000 * 31 + round).to_be_bytes();
            let row = [
                &number.to_be_bytes()[..],
                b"a row of some length, to make parts large",
            ]
            .concat();
            let row = ((number + round) % 7 != 0).then_some(&row[..]);
            plain.put(&key, row).expect("writes");
            windows.put(&key, number, row).expect("puts");
        }
        logs.commit(&mut bench);
    }
    let wanted = bench.state.checksum().expect("reads");
    for (from_scratch, mut other) in [(false, Bench::rocks(&specs)), (true, Bench::rocks(&specs))] {
        for _ in 0..2 {
            // The second time over rows that are there.
            logs.restore(&mut other.state, from_scratch, &[0, 1, 2]);
            assert_eq!(other.state.checksum().expect("reads"), wanted);
            other.reopen();
            assert_eq!(other.state.checksum().expect("reads"), wanted);
        }
    }
    drop((plain, windows));
}
