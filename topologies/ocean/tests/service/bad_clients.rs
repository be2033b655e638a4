//! Clients that are slow, broken or greedy are refused early, and harm nobody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::http::{ask, connect, post, read_answer, request};
use crate::process::{Place, Service, WINDOW_MS, everywhere, reading, until};

/// A good client gets its answer.
fn is_well(address: SocketAddr) {
    let answer = post(address, &[], everywhere(500).as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Whether the other side has closed, whatever it sent before.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn start(place: &Place, flags: &[&str]) -> Service {
    place.start(&[&["--rate", "0"], flags].concat())
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let place = Place::new();
    let service = start(&place, &[]);
    let mut stream = connect(service.address);
    let head = "POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 413);
    is_well(service.address);
    // One that does not declare its size.
    let mut stream = connect(service.address);
    let head = "POST /readings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x1_0000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1_000 && stream.write_all(&chunk).is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000, "62 MiB were taken");
    is_well(service.address);
    // And one that is just small enough is accepted.
    let line = reading("Arctic", 500);
    let fits = line.repeat((1 << 20) / line.len()).into_bytes();
    let answer = post(service.address, &[], &fits);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn half_a_body_appends_nothing() {
    let place = Place::new();
    let service = start(&place, &[]);
    let whole = everywhere(500);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        let bytes = request("POST", "/readings", &[], whole.as_bytes());
        let mut stream = connect(service.address);
        let head = bytes.len() - whole.len();
        stream.write_all(&bytes[..head + cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Either way no reading is acknowledged.
        if let Ok(answer) = read_answer(&mut stream) {
            assert_eq!(answer.status, 400, "{answer:?}");
        }
    }
    is_well(service.address);
    post(service.address, &[], everywhere(5 * WINDOW_MS).as_bytes());
    until("the window is there", || service.counted(WINDOW_MS) > 0);
    assert_eq!(service.counted(WINDOW_MS), 5);
}

#[test]
fn bytes_that_are_no_text_and_requests_that_are_none_are_refused() {
    let place = Place::new();
    let service = start(&place, &[]);
    let mut body = everywhere(500).into_bytes();
    body[12] = 0xff;
    let answer = post(service.address, &[], &body);
    assert_eq!(answer.status, 207, "{answer:?}");
    assert!(
        answer.json()["reasons"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("not UTF-8")
    );
    for nonsense in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\xff\xff\xff\xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /readings HTTP/1.1\r\nHost: localhost\r\n name: folded\r\n\r\n",
    ] {
        let mut stream = connect(service.address);
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A head that never ends.
    let mut stream = connect(service.address);
    let line = format!("X-Long: {}\r\n", "x".repeat(1_000));
    let mut sent = 0;
    let begun = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n");
    while begun.is_ok() && sent < 100_000 && stream.write_all(line.as_bytes()).is_ok() {
        sent += 1;
    }
    assert!(sent < 100_000, "100 MB of head were taken");
    is_well(service.address);
}

#[test]
fn who_sends_slowly_is_closed_while_others_are_served() {
    let place = Place::new();
    let service = start(&place, &[]);
    let mut slow_head = connect(service.address);
    slow_head.write_all(b"POST /readings HT").unwrap();
    let mut slow_body = connect(service.address);
    let bytes = request("POST", "/readings", &[], everywhere(500).as_bytes());
    slow_body.write_all(&bytes[..bytes.len() - 10]).unwrap();
    let mut idle = connect(service.address);
    is_well(service.address);
    // Neither would end by itself.
    assert_eq!(read_answer(&mut slow_body).unwrap().status, 408);
    assert!(is_closed(&mut slow_head));
    assert!(is_closed(&mut idle));
    is_well(service.address);
}

#[test]
fn connections_that_do_nothing_make_room_for_those_that_do() {
    let place = Place::new();
    let service = start(&place, &["--connections", "16"]);
    let mut idle = Vec::new();
    for number in 0..100 {
        let mut stream = connect(service.address);
        if number % 2 == 0 {
            stream
                .write_all(b"POST /readings HTTP/1.1\r\nContent-Length: 100\r\n")
                .unwrap();
        }
        if number % 4 == 0 {
            stream.write_all(b"Host: localhost\r\n\r\n{").unwrap();
        }
        idle.push(stream);
        if number % 10 == 0 {
            is_well(service.address);
        }
    }
    is_well(service.address);
    // The first have been closed for those that came after.
    assert!(is_closed(&mut idle[0]));
    assert!(is_closed(&mut idle[1]));
}

#[test]
fn two_thousand_connections_that_do_nothing_harm_nobody() {
    let place = Place::new();
    let service = start(&place, &[]);
    // Opening a log raises the limit of open files, which this process needs as well.
    let log = format!("embedded:{}", place.path("other").display());
    drop(marea::open(&log).expect("a log"));
    let mut idle = Vec::new();
    for number in 0..2_000 {
        let mut stream = connect(service.address);
        if number % 2 == 0 {
            // It may have been closed already.
            drop(stream.write_all(b"POST /readings HTTP/1.1\r\nHost: loc"));
        }
        idle.push(stream);
        if number % 500 == 0 {
            is_well(service.address);
        }
    }
    for _ in 0..10 {
        is_well(service.address);
    }
    assert_eq!(idle.len(), 2_000);
}

#[test]
fn paths_lead_nowhere_else() {
    let place = Place::new();
    let service = start(&place, &[]);
    for path in [
        "/readings/",
        "//readings",
        "/READINGS",
        "/readings%2f",
        "/averages/../state",
        "/averages/%2e%2e/%2e%2e/etc/passwd",
        "/oceans.js/../../Cargo.toml",
        "/oceans.js%00",
        "/ocean-data/CURRENT",
        "/..\\..\\ocean-data",
    ] {
        for (method, body) in [("GET", String::new()), ("POST", everywhere(500))] {
            let answer = ask(service.address, method, path, &[], body.as_bytes());
            assert!(
                [400, 404].contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
        }
    }
    for (method, path) in [
        ("GET", "/readings"),
        ("DELETE", "/averages"),
        ("TRACE", "/alerts"),
    ] {
        let answer = ask(service.address, method, path, &[], b"");
        assert_eq!(answer.status, 405, "{method} {path}");
    }
    is_well(service.address);
}

#[test]
fn who_names_another_host_is_refused() {
    let place = Place::new();
    let service = start(&place, &["--hosts", "sea.example,marea.example"]);
    for (host, status) in [
        ("evil.example", 421),
        ("sea.example.evil.example", 421),
        ("xsea.example", 421),
        ("", 400),
        ("localhost@evil.example", 400),
        ("sea.example", 200),
        ("MAREA.example:443", 200),
        ("127.0.0.1:1", 200),
    ] {
        let lines = everywhere(500);
        for (method, path, body) in [("GET", "/averages", ""), ("POST", "/readings", &lines)] {
            let bytes = request(method, path, &[], body.as_bytes());
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replacen("Host: localhost", &format!("Host: {host}"), 1);
            let mut stream = connect(service.address);
            stream.write_all(text.as_bytes()).unwrap();
            let answer = read_answer(&mut stream).unwrap();
            assert_eq!(
                answer.status, status,
                "{method} {path} at {host:?}: {answer:?}"
            );
        }
    }
}

#[test]
fn who_posts_too_fast_is_told_when_to_come_again() {
    let place = Place::new();
    let service = place.start(&["--rate", "10"]);
    let body = everywhere(500).repeat(4);
    // Each body that is taken is paid for afterwards: one that is twice as large twice as long. So one of them is refused,
    // however long an answer takes.
    let (mut larger, mut most_seconds) = (body.clone(), 1);
    let refused = loop {
        let answer = post(service.address, &[], larger.as_bytes());
        if answer.status != 200 {
            break answer;
        }
        // All its lines, and the empty one after the last.
        most_seconds = (larger.lines().count() as u64 + 1).div_ceil(10);
        larger = larger.repeat(2);
    };
    assert_eq!(refused.status, 429, "{refused:?}");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=most_seconds).contains(&seconds), "{seconds}");
    until("it may again", || {
        post(service.address, &[], body.as_bytes()).status == 200
    });
}
