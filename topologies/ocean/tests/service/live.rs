//! Pages, and streams that resume where they were.

use std::io::Write;

use crate::http::{Events, ask, connect, get, post, request};
use crate::process::{Place, Service, WINDOW_MS, everywhere, until};

/// Posts this many windows, the last of which stays open.
fn windows(service: &Service, from: i64, count: i64) {
    for window in from..from + count {
        let body = everywhere(1_000 + window * 2 * WINDOW_MS);
        assert_eq!(post(service.address, &[], body.as_bytes()).status, 200);
    }
}

#[test]
fn pages_have_each_average_once() {
    let place = Place::new();
    let service = place.start(&[]);
    windows(&service, 0, 10);
    until("nine windows are there", || service.averages().len() == 45);
    // Part of it comes from the log; after a restart all of it does.
    service.kill();
    let service = place.start(&[]);
    let all = service.averages();
    assert_eq!(all.len(), 45);
    let (mut found, mut cursor) = (Vec::new(), 0);
    loop {
        let page = get(
            service.address,
            &format!("/averages?cursor={cursor}&limit=7"),
        )
        .json();
        let averages = page["averages"].as_array().unwrap().clone();
        assert!(averages.len() <= 7);
        found.extend(averages);
        cursor = page["next"].as_i64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    let all: Vec<_> = all
        .iter()
        .map(|one| serde_json::to_value(one).unwrap())
        .collect();
    assert_eq!(found, all);
    // Later results begin where the last page ended.
    windows(&service, 10, 1);
    until("one more window is there", || {
        service.averages().len() == 50
    });
    let page = get(service.address, &format!("/averages?cursor={cursor}")).json();
    assert_eq!(page["averages"].as_array().unwrap().len(), 5);
    for bad in [
        "cursor=-1",
        "cursor=x",
        "limit=0",
        "limit=1001",
        "curser=1",
        "cursor=99999999",
    ] {
        let answer = get(service.address, &format!("/averages?{bad}"));
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
}

#[test]
fn a_stream_begins_now_and_goes_on_after_the_last_event() {
    let place = Place::new();
    let service = place.start(&[]);
    windows(&service, 0, 2);
    until("a window is there", || service.averages().len() == 5);
    let mut live = Events::open(service.address, "/averages/live", &[]);
    let accepted = [("Accept", "text/event-stream")];
    let mut also_live = Events::open(service.address, "/averages", &accepted);
    windows(&service, 2, 1);
    let first: Vec<_> = live.by_ref().take(5).collect();
    assert!(first.iter().all(|event| event.name == "average"));
    assert!(
        first
            .iter()
            .all(|event| event.data["window_start_ms"] == 2 * WINDOW_MS),
        "{first:?}"
    );
    assert_eq!(also_live.by_ref().take(5).collect::<Vec<_>>(), first);
    // What was missed in the meantime comes first, also after a restart.
    drop((live, also_live));
    windows(&service, 3, 2);
    until("all are there", || service.averages().len() == 20);
    service.kill();
    let service = place.start(&[]);
    let last = [("Last-Event-ID", &*first[1].id)];
    let mut live = Events::open(service.address, "/averages/live", &last);
    let again: Vec<_> = live.by_ref().take(13).collect();
    assert_eq!(again[..3], first[2..]);
    windows(&service, 5, 1);
    let next = live.next().unwrap();
    assert_eq!(next.data["window_start_ms"], 8 * WINDOW_MS);
    // From the beginning.
    let all = Events::open(service.address, "/averages/live?cursor=0", &[]);
    assert_eq!(all.take(25).count(), 25);
    for bad in ["x", "-1", "9223372036854775807", "99999999"] {
        let headers = [("Last-Event-ID", bad)];
        let answer = ask(service.address, "GET", "/averages/live", &headers, b"");
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    // A stop ends the stream at once: it does not wait for listeners.
    service.signal("TERM");
    assert!(service.ended().success());
    assert_eq!(live.by_ref().filter(|event| event.id == next.id).count(), 0);
}

#[test]
fn streams_are_bounded_and_who_does_not_read_costs_nobody_anything() {
    let place = Place::new();
    let service = place.start(&["--connections", "16"]);
    windows(&service, 0, 2);
    // Each gets its head, so that it is open, and reads no more.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Events::open(
            service.address,
            "/averages/live?cursor=0",
            &[],
        ));
    }
    let answer = get(service.address, "/averages/live?cursor=0");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    // Pages are counted separately, so that connections are left for those who post.
    let pages: Vec<_> = (0..4)
        .map(|_| Events::open(service.address, "/events", &[]))
        .collect();
    assert_eq!(get(service.address, "/events").status, 503);
    assert_eq!(
        post(service.address, &[], everywhere(50_000).as_bytes()).status,
        200
    );
    drop((silent, pages));
    until("there is room again", || {
        let mut stream = connect(service.address);
        let asked = request("GET", "/averages/live", &[], b"");
        stream.write_all(&asked).unwrap();
        let mut byte = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        &byte == b"HTTP/1.1 200"
    });
}
