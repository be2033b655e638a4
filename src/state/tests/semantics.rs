use super::*;

#[test]
fn an_iterator_sees_the_rows_of_its_beginning() {
    Bench::on_both(&[key_value("s", false)], |bench| {
        let store = bench.state.key_value("s").expect("is there");
        ["a", "b", "c"]
            .iter()
            .for_each(|key| write(&store, key, "old"));
        Changelogs::default().commit(bench);
        write(&store, "b", "newer");
        store.put(b"c", None).expect("writes");
        let before = store
            .range(Bound::Unbounded, Bound::Unbounded, Direction::Backward)
            .expect("reads");
        write(&store, "a", "later");
        write(&store, "d", "later");
        let pair = |key: &str, row: &str| (key.as_bytes().to_vec(), row.as_bytes().to_vec());
        assert_eq!(drain(before), [pair("b", "newer"), pair("a", "old")]);
        assert_eq!(
            everything(&store),
            [pair("a", "later"), pair("b", "newer"), pair("d", "later")]
        );
        let none = store
            .range(
                Bound::Included(b"z"),
                Bound::Included(b"a"),
                Direction::Forward,
            )
            .expect("reads");
        assert_eq!(drain(none), []);
    });
}

#[test]
fn a_commit_in_flight_takes_the_sealed_rows_and_no_later_ones() {
    Bench::on_both(&[key_value("s", false)], |bench| {
        let store = bench.state.key_value("s").expect("is there");
        write(&store, "a", "sealed");
        bench.state.time("t").set(5);
        let batches = bench.seal();
        write(&store, "a", "active");
        bench.state.time("t").set(6);
        assert!(bench.state.seal().is_err(), "one is in flight");
        let mut cursor = batches[0].as_ref().expect("one record").cursor(0);
        let record = cursor.next_record().expect("intact").expect("one");
        assert_eq!(
            (record.key, record.value),
            (Some(&b"a"[..]), Some(&b"sealed"[..]))
        );
        bench.state.applied(&[Some(1), Some(1)]).expect("applies");
        assert_eq!(read(&store, "a").as_deref(), Some("active"));
        bench.state.rollback().expect("rolls back");
        assert_eq!(read(&store, "a").as_deref(), Some("sealed"));
        assert_eq!(bench.state.time("t").get(), 5);
        bench.reopen();
        assert_eq!(bench.state.position(0), Some(1));
        assert_eq!(bench.state.time("t").get(), 5);
        let store = bench.state.key_value("s").expect("is there");
        assert_eq!(read(&store, "a").as_deref(), Some("sealed"));
    });
}

/// `store-window` and `store-window-in-memory` of the conformance vectors, script "retention".
#[test]
fn each_type_of_store_refuses_and_hides_by_its_rules() {
    for (store_type, after_five) in [
        (StoreType::Persistent, Put::Stored),
        (StoreType::InMemory, Put::Expired),
    ] {
        Bench::on_both(&[window("w", store_type, false)], |bench| {
            let store = bench.state.window("w").expect("is there");
            let put = |key: &str, start_ms, row: &str| {
                let row = Some(row.as_bytes());
                store.put(key.as_bytes(), start_ms, row).expect("puts")
            };
            let starts = [("a", 0), ("a", 50), ("b", 99), ("a", 100)];
            starts.iter().for_each(|(key, start)| {
                assert_eq!(put(key, *start, "x"), Put::Stored);
            });
            assert_eq!(put("a", 0, "v5"), after_five, "{store_type:?}");
            assert_eq!(put("a", 1, "v6"), Put::Stored);
            assert_eq!(
                show(store.fetch_range(b"a", 0, 11).expect("reads")),
                "a@1=v6"
            );
            assert_eq!(put("b", 150, "x"), Put::Stored);
            let back = store.fetch_range_toward(b"a", 0, 200, Direction::Backward);
            assert_eq!(show(back.expect("reads")), "a@100=x");
            assert!(!store.fetch(b"a", 50, |row| row.is_some()).expect("reads"));
            assert_eq!(store.observed_ms(), 150);
            Changelogs::default().commit(bench);
            assert_eq!(show(store.all().expect("reads")).split(' ').count(), 3);
        });
    }
}

#[test]
fn a_removal_moves_the_time_of_the_store() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        Bench::on_both(&[window("w", store_type, false)], |bench| {
            let store = bench.state.window("w").expect("is there");
            store.put(b"a", 20, Some(b"v")).expect("puts");
            store.put(b"a", 500, None).expect("removes");
            assert_eq!(store.observed_ms(), 500);
            store.put(b"a", 20, None).expect("removes");
            assert_eq!(show(store.all().expect("reads")), "");
        });
    }
}

#[test]
fn the_order_of_all_is_that_of_the_type() {
    let wanted = [
        (
            StoreType::Persistent,
            "a@59990=x aa@59980=x b@59970=x a@60010=x",
        ),
        (
            StoreType::InMemory,
            "b@59970=x aa@59980=x a@59990=x a@60010=x",
        ),
    ];
    for (store_type, order) in wanted {
        Bench::on_both(&[window("w", store_type, false)], |bench| {
            let store = bench.state.window("w").expect("is there");
            for (key, start) in [("a", 59_990), ("b", 59_970), ("a", 60_010), ("aa", 59_980)] {
                store.put(key.as_bytes(), start, Some(b"x")).expect("puts");
                if start == 59_970 {
                    Changelogs::default().commit(bench);
                }
            }
            assert_eq!(show(store.all().expect("reads")), order);
            // Another key with the same prefix does not show.
            let range = store.fetch_range(b"a", 0, i64::MAX).expect("reads");
            assert_eq!(show(range), "a@59990=x a@60010=x");
            let part = store.fetch_all(59_980, 59_990, Direction::Forward);
            assert_eq!(show(part.expect("reads")).split(' ').count(), 2);
        });
    }
}

#[test]
fn a_floor_holds_reading_and_refusing_back() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        Bench::on_both(&[window("w", store_type, false)], |bench| {
            let store = bench.state.window("w").expect("is there");
            store.set_floor_ms(-1);
            store.put(b"a", 0, Some(b"x")).expect("puts");
            store.put(b"a", 1_000_000, Some(b"x")).expect("puts");
            assert_eq!(store.put(b"a", 5, Some(b"x")).expect("puts"), Put::Stored);
            store.set_floor_ms(99);
            Changelogs::default().commit(bench);
            bench.reopen();
            let store = bench.state.window("w").expect("is there");
            assert_eq!(show(store.all().expect("reads")), "a@0=x a@5=x a@1000000=x");
            store.set_floor_ms(104);
            assert_eq!(show(store.all().expect("reads")), "a@5=x a@1000000=x");
            store.set_floor_ms(i64::MAX);
            assert_eq!(show(store.all().expect("reads")), "a@1000000=x");
            assert_eq!(store.put(b"a", 5, Some(b"x")).expect("puts"), Put::Expired);
        });
    }
}

/// A window that was closed is not shown again, nor begun again, whatever is still in memory.
#[test]
fn a_floor_that_goes_back_opens_nothing_again() {
    for cache_bytes in [0, 1 << 20] {
        for duplicates in [false, true] {
            Bench::on_both(&[window("w", StoreType::Persistent, duplicates)], |bench| {
                bench.state.set_cache_bytes(cache_bytes);
                let mut log = Changelogs::default();
                let store = bench.state.window("w").expect("is there");
                store.set_floor_ms(-1);
                store.put(b"a", 5, Some(b"x")).expect("puts");
                store.put(b"a", 1_000_000, Some(b"x")).expect("puts");
                log.commit(bench);
                assert_eq!(show(store.all().expect("reads")), "a@5=x a@1000000=x");
                // All origins are left out; then one comes back.
                store.set_floor_ms(i64::MAX);
                store.put(b"a", 1_000_001, Some(b"x")).expect("puts");
                log.commit(bench);
                store.set_floor_ms(7);
                let rows = store.fetch_range(b"a", 0, 100).expect("reads");
                assert_eq!(show(rows), "", "{cache_bytes} {duplicates}");
                assert!(!store.fetch(b"a", 5, |row| row.is_some()).expect("reads"));
                assert_eq!(store.put(b"a", 5, Some(b"y")).expect("puts"), Put::Expired);
                // An abort takes the time back with the rows.
                store.set_floor_ms(2_000_000);
                bench.state.rollback().expect("rolls back");
                store.set_floor_ms(1_000_050);
                assert_eq!(
                    store.put(b"a", 999_990, Some(b"y")).expect("puts"),
                    Put::Stored
                );
            });
        }
    }
}

#[test]
fn rows_of_dead_segments_leave_memory_with_them() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        for duplicates in [false, true] {
            Bench::on_both(&[window("w", store_type, duplicates)], |bench| {
                let mut log = Changelogs::default();
                let store = bench.state.window("w").expect("is there");
                for number in 0..1_000i64 {
                    let key = number.to_be_bytes();
                    store
                        .put(&key, number % 100, Some(&[1; 100]))
                        .expect("puts");
                }
                log.commit(bench);
                assert!(bench.state.cached_bytes() > 100_000);
                store.put(b"a", 1_000_000, Some(b"x")).expect("puts");
                log.commit(bench);
                let left = bench.state.cached_bytes();
                assert!(
                    left < 2_000,
                    "{left} bytes are left, {store_type:?}, {duplicates}"
                );
                assert_eq!(show(store.all().expect("reads")), "a@1000000=x");
            });
        }
    }
}

/// Of a segment that began in this process memory knows also what is not there.
#[test]
fn a_new_window_is_not_looked_for_in_the_backend() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        let (mut state, asked) = watched::Watched::open(&[window("w", store_type, false)]);
        let store = state.window("w").expect("is there");
        let round = |from: i64, state: &mut TaskState| {
            for number in from..from + 500 {
                let key = number.to_be_bytes();
                let found = store.fetch(&key, number, |row| row.is_some());
                assert!(!found.expect("reads"));
                store.put(&key, number, Some(b"x")).expect("puts");
            }
            state.seal().expect("seals");
            state.applied(&[None, None]).expect("applies");
            asked.take().gets
        };
        // Until the first put nothing is known of its segment.
        assert!(round(0, &mut state) <= 1);
        assert_eq!(round(500, &mut state), 0);
        // Once a row has been forgotten, the backend is asked for those that are not here.
        state.set_cache_bytes(1_000);
        assert!(round(1_000, &mut state) > 0);
        // And after an abort, which forgets what was written over committed rows.
        state.set_cache_bytes(1 << 20);
        state.rollback().expect("rolls back");
        assert!(round(1_500, &mut state) > 0);
    }
}

#[test]
fn duplicates_come_in_the_order_of_their_puts_also_after_a_restart() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        Bench::on_both(&[window("w", store_type, true)], |bench| {
            let store = bench.state.window("w").expect("is there");
            ["v1", "v2"].iter().for_each(|row| {
                store.put(b"a", 15, Some(row.as_bytes())).expect("puts");
            });
            assert_eq!(store.put(b"a", 15, None).expect("ignored"), Put::Stored);
            Changelogs::default().commit(bench);
            bench.reopen();
            let store = bench.state.window("w").expect("is there");
            store.put(b"a", 15, Some(b"v3")).expect("puts");
            store.put(b"a", 5, Some(b"v4")).expect("puts");
            let rows = store.fetch_range(b"a", 0, 100).expect("reads");
            assert_eq!(show(rows), "a@5=v4 a@15=v1 a@15=v2 a@15=v3");
            let back = store.fetch_range_toward(b"a", 0, 15, Direction::Backward);
            assert_eq!(show(back.expect("reads")), "a@15=v3 a@15=v2 a@15=v1 a@5=v4");
        });
    }
}

#[test]
fn views_speak_in_types_and_null_deletes() {
    use super::typed::{TimestampedKeyValue, TimestampedWindow};
    use crate::codec::{I64, Nullable, Utf8};
    use std::sync::Arc;
    let mut windows = window("w", StoreType::Persistent, false);
    windows.row = RowForm::Timestamped;
    Bench::on_both(&[key_value("s", true), windows], |bench| {
        let store = bench.state.key_value("s").expect("is there");
        let mut view: TimestampedKeyValue<String, Option<i64>> =
            TimestampedKeyValue::new(store, Arc::new(Utf8), Arc::new(Nullable(I64)));
        let mut entry = view.entry(&"a".to_owned()).expect("encodes");
        assert_eq!(entry.get().expect("reads"), None);
        entry.put(Some((&Some(3), 77))).expect("writes");
        assert_eq!(entry.get().expect("reads"), Some((Some(3), 77)));
        view.put(&"b".to_owned(), Some((&Some(4), 78)))
            .expect("writes");
        view.put(&"a".to_owned(), Some((&None, 79)))
            .expect("writes");
        let all = view.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
        let all: Vec<_> = all
            .expect("reads")
            .map(|row| row.expect("decodes"))
            .collect();
        assert_eq!(all, [("b".to_owned(), (Some(4), 78))]);

        let store = bench.state.window("w").expect("is there");
        let mut view: TimestampedWindow<String, i64> =
            TimestampedWindow::new(store, Arc::new(Utf8), Arc::new(I64));
        view.put(&"a".to_owned(), 10, Some((&1, 12)))
            .expect("writes");
        assert_eq!(
            view.fetch(&"a".to_owned(), 10).expect("reads"),
            Some((1, 12))
        );
        let all = view.fetch_all(0, 10, Direction::Forward).expect("reads");
        let all: Vec<_> = all.map(|row| row.expect("decodes")).collect();
        assert_eq!(all, [("a".to_owned(), 10, (1, 12))]);
    });
}
