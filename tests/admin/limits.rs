//! What clients may use.

use marea::admin::{AdminOptions, Guard, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::application::{SECRET, start};
use crate::client::{PATIENCE, get, get_until_well, raw, request};

fn options() -> AdminOptions {
    let address = "127.0.0.1:0".parse().expect("an address");
    let token = marea::admin::Token::new(SECRET).expect("a token");
    AdminOptions::new(Guard::for_address(address, Some(token)).expect("loopback"))
}

/// Waits until the server closes the connection.
async fn closed(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    let _ = ended.expect("it is closed");
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_not_waited_for() {
    let running = start();
    let limits = Limits {
        header_timeout_ms: 200,
        connections: 2,
        ..Limits::default()
    };
    let served = running.serve_as(options(), limits).await;
    // As many as allowed: all others wait for them.
    let mut halves = Vec::new();
    for half in ["GET /state HTTP/1.1\r\nHost: loc", ""] {
        let mut stream = TcpStream::connect(served.address)
            .await
            .expect("it listens");
        stream.write_all(half.as_bytes()).await.expect("sent");
        halves.push(stream);
    }
    // On a busy machine the head of a whole request may also come too late.
    get_until_well(served.address, "/health/live").await;
    for mut half in halves {
        let answer = closed(&mut half).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_refused() {
    let running = start();
    let served = running.serve_as(options(), Limits::default()).await;
    let bearer = format!("Bearer {SECRET}");
    let headers = [
        ("Authorization", &bearer[..]),
        ("Content-Type", "application/json"),
    ];
    let path = "/dead-letters/redrive";
    let large = " ".repeat(1 << 20);
    let answer = request(served.address, "POST", path, &headers, &large).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    // Without a declared size, and without an end.
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}"
    );
    let answer = raw(served.address, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let text = [
        ("Authorization", &bearer[..]),
        ("Content-Type", "text/plain"),
    ];
    let answer = request(served.address, "POST", path, &text, "{}").await;
    assert_eq!(answer.status, 415);
    for body in [
        "",
        "{",
        "[]",
        r#"{"partition":0}"#,
        r#"{"partition":-1,"offset":0}"#,
        r#"{"partition":0,"offset":0,"x":1}"#,
    ] {
        let answer = request(served.address, "POST", path, &headers, body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_head_is_refused() {
    let running = start();
    let served = running.serve_as(options(), Limits::default()).await;
    let padding = "x".repeat(64 << 10);
    let head = format!("GET /state HTTP/1.1\r\nHost: localhost\r\nX: {padding}\r\n\r\n");
    let answer = raw(served.address, head.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(get(served.address, "/health/live").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_streams() {
    let running = start();
    let limits = Limits {
        stop_ms: 100,
        ..Limits::default()
    };
    let served = running.serve_as(options(), limits).await;
    let mut events = TcpStream::connect(served.address)
        .await
        .expect("it listens");
    let asked = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    events.write_all(asked.as_bytes()).await.expect("sent");
    let mut first = [0; 16];
    events
        .read_exact(&mut first)
        .await
        .expect("the stream begins");
    let address = served.address;
    drop(served);
    closed(&mut events).await;
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}
