//! Readings are posted, acknowledged, and appear as averages and alerts.

use crate::http::{ask, get, post};
use crate::process::{Place, TOKEN, WINDOW_MS, bearer, everywhere, reading, until};

#[test]
fn posted_readings_appear_as_averages_and_alerts() {
    let place = Place::new();
    let service = place.start(&[]);
    let address = service.address;
    let answer = post(address, &[], everywhere(1_000).as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = serde_json::json!({
        "taken": 5, "taken_lines": [[1, 5]], "refused": 0, "reasons": []
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // In a later window only the Arctic has readings.
    let answer = post(
        address,
        &[],
        reading("Arctic", 1_000 + WINDOW_MS).as_bytes(),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    // Time advances, and both windows close.
    post(address, &[], everywhere(1_000 + 4 * WINDOW_MS).as_bytes());
    until("both windows are there", || service.averages().len() >= 6);
    let averages = service.averages();
    assert_eq!(averages.len(), 6, "{averages:?}");
    assert_eq!(averages.iter().map(|average| average.count).sum::<i64>(), 6);
    let alerts = || {
        let page = get(address, "/alerts?limit=1000").json();
        page["alerts"].as_array().unwrap().clone()
    };
    let shown = || get(address, "/state").json()["sections"]["oceans"].clone();
    until("the others are missed", || {
        let alerts = alerts();
        let silent = alerts.iter().filter(|one| one["alert"] == "no_readings");
        silent.count() == 4
    });
    until("2.5 degrees are cold for the Pacific", || {
        let alerts = alerts();
        let mut cold = alerts.iter().filter(|one| one["ocean"] == "Pacific");
        cold.any(|one| one["quantity"] == "temperature")
    });
    // The page says the same, at the latest when it has read all of it.
    until("the page shows as many alerts", || {
        shown()["alerts"].as_array().unwrap().len() == alerts().len()
    });
    let shown = shown();
    let mut oceans = shown["oceans"].as_array().unwrap().iter();
    let arctic = oceans.find(|ocean| ocean["name"] == "Arctic").unwrap();
    assert_eq!(arctic["windows"].as_array().unwrap().len(), 2, "{shown}");
    assert!(arctic["bounds"]["salinity"].is_array(), "{shown}");
}

#[test]
fn the_page_has_the_oceans_and_what_they_load() {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let page = get(service.address, "/");
    assert_eq!(page.status, 200);
    let text = page.body;
    assert!(text.contains("data-section=\"oceans\""), "{text}");
    for (path, kind) in [
        ("/oceans.js", "text/javascript"),
        ("/oceans.css", "text/css"),
    ] {
        assert!(text.contains(&path[1..]), "{path} is not loaded");
        // Like the page itself, without the token: it contains nothing that others may not see.
        let asset = get(service.address, path);
        assert_eq!(asset.status, 200, "{path}");
        assert_eq!(asset.header("content-type"), Some(kind));
        let foreign = ask(
            service.address,
            "GET",
            path,
            &[("Origin", "http://elsewhere")],
            b"",
        );
        assert_eq!(foreign.status, 403, "{path}");
    }
}

#[test]
fn each_line_is_answered_and_what_is_refused_is_not_counted() {
    let place = Place::new();
    let service = place.start(&[]);
    let address = service.address;
    let good = reading("Arctic", 500);
    let body = format!(
        "{good}{{\"sensor\":\n{good}{}",
        good.replace("2.5", "1e999")
    );
    let answer = post(address, &[], body.as_bytes());
    assert_eq!(answer.status, 207, "{answer:?}");
    let report = answer.json();
    assert_eq!(report["taken"], 2);
    assert_eq!(report["taken_lines"], serde_json::json!([[1, 1], [3, 3]]));
    assert_eq!(report["refused"], 2);
    assert_eq!(report["reasons"][0]["line"], 2);
    assert!(
        report["reasons"][1]["reason"]
            .as_str()
            .unwrap()
            .contains("out of range")
    );
    let strict = post(address, &[("Prefer", "handling=strict")], body.as_bytes());
    assert_eq!(
        (strict.status, strict.json()["taken"].as_u64()),
        (422, Some(0))
    );
    assert_eq!(post(address, &[], b"nonsense").status, 422);
    assert_eq!(post(address, &[], b"\n\n").status, 400);
    assert_eq!(
        post(address, &[("Content-Encoding", "gzip")], b"x").status,
        415
    );
    assert_eq!(ask(address, "PUT", "/readings", &[], b"").status, 405);
    // All of it is counted: two lines, four of the strict request, and one. The empty request at the start was refused, too.
    let metrics = get(address, "/metrics").body;
    for (name, count) in [
        ("posted_readings", 2),
        ("refused_readings", 7),
        ("refused_requests", 3),
    ] {
        let sample = format!("ocean_{name}_total {count}\n");
        assert!(metrics.contains(&sample), "{sample}{metrics}");
    }
    let posts = get(address, "/state").json()["sections"]["oceans"]["posts"].clone();
    let shown =
        ["readings", "refused_readings", "refused_requests"].map(|name| posts[name].as_u64());
    assert_eq!(shown, [Some(2), Some(7), Some(3)]);
    post(address, &[], everywhere(5 * WINDOW_MS).as_bytes());
    until("the window is there", || service.counted(WINDOW_MS) > 0);
    assert_eq!(service.counted(WINDOW_MS), 2);
}

#[test]
fn a_key_is_answered_the_same_and_appends_nothing_also_after_a_restart() {
    let place = Place::new();
    let service = place.start(&[]);
    let body = format!("{}nonsense\n", everywhere(500));
    let keyed = |key: &'static str| [("Idempotency-Key", key)];
    let first = post(service.address, &keyed("one"), body.as_bytes());
    assert_eq!(first.status, 207, "{first:?}");
    assert_eq!(first.header("idempotent-replayed"), None);
    let same = |address| {
        let again = post(address, &keyed("one"), body.as_bytes());
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    };
    same(service.address);
    let other = everywhere(700);
    let misused = post(service.address, &keyed("one"), other.as_bytes());
    assert_eq!(misused.status, 422, "{misused:?}");
    assert!(misused.body.contains("another body"));
    let longest = "x".repeat(255);
    for (key, replayed) in [("!", None), (&*longest, None), (&*longest, Some("true"))] {
        let answer = post(service.address, &[("Idempotency-Key", key)], b"nonsense");
        // Nothing is taken, and that is remembered, too.
        assert_eq!(answer.status, 422, "{key}: {answer:?}");
        assert_eq!(answer.header("idempotent-replayed"), replayed, "{key}");
    }
    let two = [("Idempotency-Key", "three"), ("Idempotency-Key", "four")];
    assert_eq!(post(service.address, &two, body.as_bytes()).status, 400);
    for bad in ["", "two words", "\u{e4}", "tab\tbed", &"x".repeat(256)] {
        let answer = post(
            service.address,
            &[("Idempotency-Key", bad)],
            body.as_bytes(),
        );
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    service.signal("TERM");
    assert!(service.ended().success());
    let service = place.start(&[]);
    same(service.address);
    service.kill();
    let service = place.start(&[]);
    same(service.address);
    assert_eq!(
        post(service.address, &keyed("two"), body.as_bytes()).status,
        207
    );
    post(service.address, &[], everywhere(5 * WINDOW_MS).as_bytes());
    until("the window is there", || service.counted(WINDOW_MS) > 0);
    assert_eq!(service.counted(WINDOW_MS), 10, "one and two, each once");
}

#[test]
fn keys_beyond_the_limit_are_refused_and_requests_without_are_not() {
    let place = Place::new();
    let service = place.start(&["--keys", "2"]);
    let address = service.address;
    let body = everywhere(500);
    let keyed = |key: &str| post(address, &[("Idempotency-Key", key)], body.as_bytes());
    assert_eq!((keyed("a").status, keyed("b").status), (200, 200));
    let refused = keyed("c");
    assert_eq!(refused.status, 503, "{refused:?}");
    let metrics = get(address, "/metrics").body;
    let deferred = metrics
        .lines()
        .find_map(|line| line.strip_prefix("ocean_deferred_requests_total "));
    assert!(deferred.is_some_and(|count| count != "0"), "{metrics}");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{seconds}");
    assert_eq!(keyed("a").status, 200);
    assert_eq!(post(address, &[], body.as_bytes()).status, 200);
}

#[test]
fn a_token_is_needed_where_there_is_one() {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let address = service.address;
    let body = everywhere(500);
    for path in ["/averages", "/alerts", "/averages/live", "/alerts/live"] {
        assert_eq!(get(address, path).status, 401, "{path}");
    }
    assert_eq!(post(address, &[], body.as_bytes()).status, 401);
    let wrong = [("Authorization", "Bearer 0123456789abcdef-of-another")];
    assert_eq!(post(address, &wrong, body.as_bytes()).status, 401);
    let bearer = bearer();
    let right = [("Authorization", &*bearer)];
    assert_eq!(post(address, &right, body.as_bytes()).status, 200);
    assert_eq!(ask(address, "GET", "/averages", &right, b"").status, 200);
}

#[test]
fn a_prober_needs_no_token_and_a_scraper_does() {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let address = service.address;
    assert_eq!(get(address, "/health/live").status, 200);
    until("it is ready", || {
        get(address, "/health/ready").status == 200
    });
    assert_eq!(get(address, "/metrics").status, 401);
    let bearer = bearer();
    let right = [("Authorization", &*bearer)];
    let metrics = ask(address, "GET", "/metrics", &right, b"");
    assert_eq!(metrics.status, 200, "{metrics:?}");
}

#[test]
fn a_page_of_another_site_can_post_nothing() {
    let place = Place::new();
    let service = place.start(&[]);
    let foreign = [("Origin", "http://elsewhere.example")];
    let answer = post(service.address, &foreign, everywhere(500).as_bytes());
    assert_eq!(answer.status, 403, "{answer:?}");
}
