//! Who has access.

use marea::ErrorKind;
use marea::admin::{AdminOptions, Guard, Limits, Reads, Token};

use crate::application::{Running, SECRET, Served, start};
use crate::client::{get, raw, request};

const CLOSED: [&str; 5] = [
    "/metrics",
    "/topology",
    "/state",
    "/events",
    "/dead-letters",
];
const OPEN: [&str; 4] = ["/", "/page.js", "/health/live", "/health/ready"];

/// Served as on an address that other machines can reach.
async fn serve_closed(running: &Running) -> Served {
    let guard = Guard {
        token: Some(Token::new(SECRET).expect("a token")),
        reads: Reads::WithToken,
        hosts: vec!["marea.example.org".to_owned()],
    };
    running
        .serve_as(AdminOptions::new(guard), Limits::default())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told() {
    let mut running = start();
    let served = serve_closed(&running).await;
    let bearer = format!("Bearer {SECRET}");
    let wrong = format!("Bearer {}x", &SECRET[..SECRET.len() - 1]);
    for path in CLOSED {
        assert_eq!(get(served.address, path).await.status, 401, "{path}");
        for value in [&wrong[..], "Bearer", "Basic eDp5", SECRET, "Bearer "] {
            let shown = [("Authorization", value)];
            let answer = request(served.address, "GET", path, &shown, "").await;
            assert_eq!(answer.status, 401, "{path} with {value}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(!answer.body.contains(SECRET));
        }
        if path != "/events" {
            let shown = [("Authorization", &bearer[..])];
            let answer = request(served.address, "GET", path, &shown, "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        }
    }
    for path in OPEN {
        assert_ne!(get(served.address, path).await.status, 401, "{path}");
    }
    // A health check learns whether it is healthy, but not why, since a reason may quote a record.
    running
        .application
        .close(std::time::Duration::from_secs(60))
        .expect("it closes");
    let shown = [("Authorization", &bearer[..])];
    for (path, shown, says) in [
        ("/health/live", &[][..], false),
        ("/health/live", &shown, true),
        ("/health/ready", &[], false),
        ("/health/ready", &shown, true),
    ] {
        let answer = request(served.address, "GET", path, shown, "").await;
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.body.contains("stopped"),
            says,
            "{path}: {}",
            answer.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_reads_are_open_and_changes_are_not() {
    let running = start();
    let served = running.serve().await;
    assert_eq!(get(served.address, "/state").await.status, 200);
    let json = [("Content-Type", "application/json")];
    let body = r#"{"partition":0,"offset":0}"#;
    let answer = request(served.address, "POST", "/dead-letters/redrive", &json, body).await;
    assert_eq!(answer.status, 401);
    // Without a configured token nothing can be changed at all.
    let guard = Guard::for_address(served.address, None).expect("loopback");
    let served = running
        .serve_as(AdminOptions::new(guard), Limits::default())
        .await;
    let answer = request(served.address, "POST", "/dead-letters/redrive", &json, body).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("no token is set"), "{}", answer.body);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let everywhere = "0.0.0.0:8080".parse().expect("an address");
    let error = Guard::for_address(everywhere, None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("set a token"), "{error}");
    let token = || Some(Token::new(SECRET).expect("a token"));
    let guard = Guard::for_address(everywhere, token()).expect("with a token");
    assert_eq!(guard.reads, Reads::WithToken);
    assert!(!format!("{guard:?}").contains(SECRET));
    let open = Guard {
        reads: Reads::Open,
        ..guard
    };
    assert!(open.check_address(everywhere).is_err());
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let address = loopback.parse().expect("an address");
        assert!(Guard::for_address(address, None).is_ok(), "{loopback}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_an_address_that_others_reach_is_refused() {
    let running = start();
    let address = "0.0.0.0:0".parse().expect("an address");
    let options = AdminOptions::new(Guard::default());
    let served = marea::admin::serve(running.application.handle(), address, options, async {});
    let error = served.await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_is_refused() {
    let running = start();
    let served = serve_closed(&running).await;
    let status = async |host: &str| {
        request(served.address, "GET", "/health/live", &[("Host", host)], "")
            .await
            .status
    };
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "marea.example.org.evil.example",
        "xmarea.example.org",
    ] {
        assert_eq!(status(host).await, 421, "{host}");
    }
    for host in [
        "localhost",
        "localhost:9",
        "LOCALHOST",
        "127.0.0.1",
        "[::1]:8080",
        "10.1.2.3:80",
        "marea.example.org",
        "Marea.Example.org:443",
    ] {
        assert_eq!(status(host).await, 200, "{host}");
    }
    for head in [
        "GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: localhost@evil.example\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(served.address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused() {
    let running = start();
    let served = running.serve().await;
    let own = format!("http://{}", served.address);
    let bearer = format!("Bearer {SECRET}");
    let status = async |headers: &[(&str, &str)]| {
        request(served.address, "GET", "/state", headers, "")
            .await
            .status
    };
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "",
        &format!("{own}.evil.example"),
    ] {
        assert_eq!(status(&[("Origin", origin)]).await, 403, "{origin}");
        // The token does not help: a browser may have it.
        let headers = [
            ("Origin", origin),
            ("Authorization", &bearer[..]),
            ("Content-Type", "application/json"),
        ];
        let body = r#"{"partition":0,"offset":0}"#;
        let answer = request(
            served.address,
            "POST",
            "/dead-letters/redrive",
            &headers,
            body,
        )
        .await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(status(&[("Sec-Fetch-Site", site)]).await, 403, "{site}");
        let frame = [
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "iframe"),
        ];
        assert_eq!(status(&frame).await, 403, "{site}");
        let link = [
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
        ];
        assert_eq!(status(&link).await, 200, "{site}");
    }
    assert_eq!(status(&[("Origin", &own)]).await, 200);
    assert_eq!(status(&[("Sec-Fetch-Site", "same-origin")]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_nowhere_else() {
    let running = start();
    let served = running.serve().await;
    for path in [
        "/../Cargo.toml",
        "/..%2f..%2fetc/passwd",
        "/page.js/../../Cargo.toml",
        "/%2e%2e/",
        "//etc/passwd",
        "/page.js%00",
        "/state/",
        "/STATE",
        "/page/page.js",
        "/.git/config",
    ] {
        let answer = get(served.address, path).await;
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    for (method, path) in [
        ("POST", "/state"),
        ("PUT", "/"),
        ("DELETE", "/dead-letters"),
        ("TRACE", "/state"),
        ("GET", "/dead-letters/redrive"),
    ] {
        let shown = [("Authorization", &format!("Bearer {SECRET}")[..])];
        let answer = request(served.address, method, path, &shown, "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_hardened() {
    let running = start();
    let served = running.serve().await;
    for path in ["/", "/page.js", "/state", "/metrics", "/health/live"] {
        let answer = get(served.address, path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            "same-origin",
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}
