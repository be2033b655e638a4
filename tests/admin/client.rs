//! A minimal HTTP client for the tests: it sends what they specify, byte for byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends bytes and reads until the server closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
}

/// Sends a request with `Host: ADDRESS` unless `headers` names another.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let text = raw(address, format!("{head}\r\n{body}").as_bytes()).await;
    parse(&text)
}

/// Asks again until the answer is that everything is well.
pub async fn get_until_well(address: SocketAddr, path: &str) -> Answer {
    let asks = async {
        loop {
            let answer = get(address, path).await;
            if answer.status == 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asks).await.expect("well in time")
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], "").await
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = match headers.get("transfer-encoding").map(String::as_str) {
        Some("chunked") => unchunked(body),
        _ => body.to_owned(),
    };
    Answer {
        status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
        headers,
        body,
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// A stream of events that stays open.
pub struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    pub async fn open(address: SocketAddr, last_event_id: Option<&str>) -> Self {
        Self::open_at(address, "/events", last_event_id).await
    }

    pub async fn open_at(address: SocketAddr, path: &str, last_event_id: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            last.unwrap_or_default()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        Self {
            stream,
            text: String::new(),
        }
    }

    /// An open stream; `None` if it is refused.
    pub async fn try_open(address: SocketAddr, path: &str) -> Option<Self> {
        let mut events = Self::open_at(address, path, None).await;
        let mut bytes = [0; 4_096];
        let read = timeout(PATIENCE, events.stream.read(&mut bytes)).await;
        let read = read.expect("an answer in time").expect("a stream");
        events.text += &String::from_utf8_lossy(&bytes[..read]);
        events.text.starts_with("HTTP/1.1 200").then_some(events)
    }

    /// Everything that arrives until the stream ends.
    pub async fn rest(mut self) -> String {
        let rest = async {
            let mut bytes = [0; 4_096];
            loop {
                let read = self.stream.read(&mut bytes).await.expect("a stream");
                self.text += &String::from_utf8_lossy(&bytes[..read]);
                // The connection is kept for the next request; the last chunk is empty.
                if read == 0 || self.text.ends_with("0\r\n\r\n") {
                    return self.text;
                }
            }
        };
        timeout(PATIENCE, rest).await.expect("an end in time")
    }

    /// The id and the data of the next event.
    pub async fn next(&mut self) -> (String, serde_json::Value) {
        let next = async {
            loop {
                if let Some(found) = self.take() {
                    return found;
                }
                let mut bytes = [0; 4_096];
                let read = self.stream.read(&mut bytes).await.expect("a stream");
                assert!(read > 0, "the stream ended: {}", self.text);
                self.text += &String::from_utf8_lossy(&bytes[..read]);
            }
        };
        timeout(PATIENCE, next).await.expect("an event in time")
    }

    fn take(&mut self) -> Option<(String, serde_json::Value)> {
        let begins = self.text.find("id: ")?;
        let ends = begins + self.text[begins..].find("\n\n")?;
        let event = self.text[begins..ends].to_owned();
        self.text.drain(..ends + 2);
        // Chunks may end within the data: their sizes are on lines of their own.
        let id = event
            .lines()
            .next()?
            .strip_prefix("id: ")?
            .trim()
            .to_owned();
        let data = event.split_once("data: ")?.1;
        let data = serde_json::from_str(data).expect("JSON");
        Some((id, data))
    }
}
