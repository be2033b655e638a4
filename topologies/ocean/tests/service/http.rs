//! A client that can also do what clients should not: it writes raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }
}

/// Connects.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// The bytes of a request. It is for `localhost`, unless the headers name another host.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends a request, and returns the answer if it is complete.
pub fn try_ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request(method, path, headers, body))?;
    read_answer(&mut stream)
}

/// Sends a request, and returns the answer.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_ask(address, method, path, headers, body).expect("an answer")
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], b"")
}

pub fn post(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(address, "POST", "/readings", headers, body)
}

/// Reads one answer with a length.
pub fn read_answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    let mut answer = Answer {
        status,
        headers,
        body: String::new(),
    };
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    answer.body = String::from_utf8(body).expect("text");
    Ok(answer)
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    let mut read = |line: &mut String| {
        line.clear();
        match reader.read_line(line)? {
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            _ => Ok(()),
        }
    };
    read(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {line:?}"));
    let mut headers = Vec::new();
    loop {
        read(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok((status, headers));
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: serde_json::Value,
}

/// A stream of events.
pub struct Events {
    reader: BufReader<TcpStream>,
}

impl Events {
    /// Opens a stream; the status must be 200.
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = connect(address);
        stream
            .write_all(&request("GET", path, headers, b""))
            .expect("sent");
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader).expect("a head");
        assert_eq!(status, 200, "{headers:?}");
        let of_events = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("content-type") && value == "text/event-stream"
        };
        assert!(headers.iter().any(of_events), "{headers:?}");
        Self { reader }
    }
}

impl Iterator for Events {
    type Item = Event;

    /// The next event; `None` at the end of the stream. The lengths of chunks are between the lines.
    fn next(&mut self) -> Option<Event> {
        let (mut id, mut name, mut line) = (None, None, String::new());
        loop {
            line.clear();
            if self.reader.read_line(&mut line).expect("a line in time") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => {
                    return Some(Event {
                        id: id?,
                        name: name?,
                        data: serde_json::from_str(value).expect("JSON"),
                    });
                }
                _ => {}
            }
        }
    }
}
