//! `ocean sensors` against a service: the readings it reports as acknowledged are there.

use crate::process::{Place, Service, TOKEN, bearer, until};

#[test]
fn sensors_post_what_they_say_to_a_service_with_a_token() {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let mut acknowledged = 0;
    // On a busy machine the time may be over before a reading is due.
    until("the sensors have posted", || {
        acknowledged = posted(&place, &service);
        acknowledged > 0
    });
    // A later window closes those of the sensors.
    let headers = [("Authorization", &*bearer())];
    let later = crate::process::everywhere(1_577_836_800_000 + 10_000_000);
    assert_eq!(
        crate::http::post(service.address, &headers, later.as_bytes()).status,
        200
    );
    until("all of them are counted", || {
        counted(&service) == acknowledged
    });
}

/// Runs sensors for two seconds, and returns how many readings were acknowledged.
fn posted(place: &Place, service: &Service) -> i64 {
    let mut command = place.program();
    // A hundred windows of readings, all of which close except the last.
    let sensors = command
        .args(["sensors", "--rate", "500", "--for", "2s"])
        .args(["--speed", "100", "--connections", "1"])
        .args(["--start", "2020-01-01T00:00:00Z"])
        .args(["--url", &format!("http://{}", service.address)])
        .env("OCEAN_TOKEN", TOKEN)
        .output()
        .unwrap();
    let out = String::from_utf8(sensors.stdout).unwrap();
    assert!(
        sensors.status.success(),
        "{out} {:?}",
        String::from_utf8(sensors.stderr)
    );
    let last = out.lines().last().unwrap();
    assert!(last.contains("p99"), "{out}");
    last.split(' ').next().unwrap().parse().unwrap()
}

fn counted(service: &Service) -> i64 {
    let headers = [("Authorization", &*bearer())];
    let page = crate::http::ask(
        service.address,
        "GET",
        "/averages?limit=1000",
        &headers,
        b"",
    );
    let page = page.json();
    let averages = page["averages"].as_array().unwrap();
    averages
        .iter()
        .map(|average| average["count"].as_i64().unwrap())
        .sum()
}

#[test]
fn a_wrong_token_ends_the_sensors_with_what_the_service_said() {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let mut command = place.program();
    let sensors = command
        .args(["sensors", "--rate", "10", "--for", "20s"])
        .args([
            "--url",
            &format!("http://{}", service.address),
            "--token",
            "another-secret-of-length",
        ])
        .output()
        .unwrap();
    let error = String::from_utf8(sensors.stderr).unwrap();
    assert_eq!(sensors.status.code(), Some(2), "{error}");
    assert!(error.contains("401"), "{error}");
    assert!(!error.contains("another-secret"), "{error}");
}
