//! Listeners with TLS and SASL: known clients are admitted, and others are told why not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::{Env as _, Error, SystemEnv, TopicPartition};
use marea::log::kafka::OauthToken;
use marea::log::{BatchBuilder, Commit, KafkaLog, KafkaLogBuilder, Log, Reader, TopicSpec, Writer};

use crate::broker::Broker;
use crate::cases::OwnCase;
use crate::patience::{self, LONG, assign, connected, insist};

pub const CASES: &[(&str, OwnCase)] = &[
    (
        "secured_listeners_let_in_whom_they_know_and_tell_others_why",
        secured_listeners_let_in_whom_they_know_and_tell_others_why,
    ),
    ("tokens_are_renewed", tokens_are_renewed),
];

const PLAINTEXT: u16 = 0;
const TLS: u16 = 2;
const MUTUAL: u16 = 3;
const SASL: u16 = 4;
const SASL_TLS: u16 = 5;

struct Way<'a> {
    broker: &'a Broker,
    tls: &'a Path,
}

impl Way<'_> {
    fn to(&self, listener: u16, protocol: &str) -> KafkaLogBuilder {
        KafkaLog::builder(self.broker.address(listener)).setting("security.protocol", protocol)
    }

    fn file(&self, name: &str) -> String {
        self.tls.join(name).display().to_string()
    }

    fn tls(&self, listener: u16, authority: &str) -> KafkaLogBuilder {
        self.to(listener, "SSL")
            .setting("ssl.ca.location", self.file(authority))
    }

    /// Mutual TLS, with the certificate of that name.
    fn as_client(&self, name: &str) -> KafkaLogBuilder {
        self.tls(MUTUAL, "ca.pem")
            .setting(
                "ssl.certificate.location",
                self.file(&format!("{name}.crt")),
            )
            .setting("ssl.key.location", self.file(&format!("{name}.key")))
    }

    fn sasl(&self, mechanism: &str, password: &str) -> KafkaLogBuilder {
        self.to(SASL, "SASL_PLAINTEXT")
            .setting("sasl.mechanism", mechanism)
            .setting("sasl.username", "alice")
            .setting("sasl.password", password)
    }
}

/// On a broker of its own, whose listeners differ.
fn secured_listeners_let_in_whom_they_know_and_tell_others_why() {
    let broker = Broker::secure("").expect("a broker with secured listeners");
    let tls = broker.directory().expect("our own").join("tls");
    let way = Way {
        broker: &broker,
        tls: &tls,
    };
    let file = tls.join("client.properties");
    let ca = way.file("ca.pem");
    let properties = format!(
        "# as a Java client would have it\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.username=alice\nsasl.password=alice-secret\nssl.ca.location={ca}\n"
    );
    std::fs::write(&file, properties).expect("written");
    let sasl_tls = broker.address(SASL_TLS);
    for (name, builder) in [
        ("tls", way.tls(TLS, "ca.pem")),
        ("mutual", way.as_client("alice")),
        ("plain", way.sasl("PLAIN", "alice-secret")),
        ("scram-256", way.sasl("SCRAM-SHA-256", "alice-secret")),
        (
            "scram-512-tls",
            KafkaLog::builder(&sasl_tls).properties(&file),
        ),
    ] {
        let connect = || builder.clone().connect(SystemEnv::shared());
        write_and_read(&insist(name, connect), name);
    }
    let url = format!("kafka://{sasl_tls}?config={}", file.display());
    let log = connected(&url);
    assert!(log.topic("tls").expect("an answer").is_some());

    let plain = way.to(PLAINTEXT, "SASL_PLAINTEXT");
    let refused: Vec<(KafkaLogBuilder, &[&str])> = vec![
        (
            way.sasl("PLAIN", "wrong-secret"),
            &["Authentication failed", "username or password"],
        ),
        (
            way.sasl("SCRAM-SHA-512", "wrong-secret"),
            &["Authentication failed"],
        ),
        (way.sasl("GSSAPI", "wrong-secret"), &["GSSAPI"]),
        (
            way.sasl("PLAIN", "alice-secret")
                .setting("security.protocol", "PLAINTEXT"),
            &["security.protocol other than PLAINTEXT"],
        ),
        (
            way.tls(TLS, "other-ca.pem"),
            &["certificate verify failed", "ssl.ca.location"],
        ),
        (way.tls(TLS, "no-such.pem"), &["no-such.pem"]),
        (
            way.tls(MUTUAL, "ca.pem"),
            &["requires a client certificate", "ssl.key.location"],
        ),
        (
            way.as_client("stranger"),
            &["does not accept the client's certificate"],
        ),
        (way.tls(PLAINTEXT, "ca.pem"), &["PLAINTEXT"]),
        (
            way.to(TLS, "PLAINTEXT"),
            &["security.protocol other than PLAINTEXT"],
        ),
        (
            plain
                .setting("sasl.mechanism", "PLAIN")
                .setting("sasl.username", "alice")
                .setting("sasl.password", "wrong-secret"),
            &["SASL"],
        ),
    ];
    // They wait for the first contact in parallel.
    std::thread::scope(|scope| {
        for (builder, causes) in refused {
            scope.spawn(move || refuses(&builder, causes));
        }
    });
}

/// Connects until the error names the causes: on a busy machine, the broker may not have answered at all in the time for
/// the first contact.
fn refuses(builder: &KafkaLogBuilder, causes: &[&str]) {
    let until = Instant::now() + LONG;
    let said = loop {
        let refused = builder.clone().connect(SystemEnv::shared());
        let error = refused.expect_err("refused");
        let said = error.to_string();
        let is_told = causes.iter().all(|cause| said.contains(cause));
        let may_be_told = error.kind() == ErrorKind::Unavailable && Instant::now() < until;
        if is_told || !may_be_told {
            break said;
        }
        println!("    once more: {said}");
    };
    println!("    {said}");
    for cause in causes {
        assert!(said.contains(cause), "{cause}: {said}");
    }
    assert!(!said.contains("-secret"), "{said}");
}

/// With all kinds of clients except members: a topic is created, written, and read.
fn write_and_read(log: &KafkaLog, topic: &str) {
    log.create_topics(&[TopicSpec::new(topic, 1)])
        .expect("created");
    let mut writer = log
        .writer(&format!("{topic}-writer"), 1 << 20)
        .expect("a writer");
    write(&mut *writer, topic);
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(TopicPartition::new(topic, 0), 0)]);
    read(&mut *reader);
}

/// Writes a record. A commit that was rolled back because the log was unavailable for a moment is repeated: on a
/// busy machine a token may expire before the next one is there.
fn write(writer: &mut dyn Writer, topic: &str) {
    let mut builder = BatchBuilder::default();
    builder.push(None, Some(topic.as_bytes()), 1, &[]);
    let commit = Commit {
        appends: vec![(
            TopicPartition::new(topic, 0),
            builder.seal().expect("a record"),
        )],
        group: None,
    };
    patience::commit(writer, commit);
}

fn read(reader: &mut dyn Reader) {
    let until = Instant::now() + LONG;
    while reader
        .poll(1_000, Duration::from_millis(100))
        .expect("read")
        .is_empty()
    {
        assert!(Instant::now() < until, "nothing read");
    }
}

const TOKEN_MS: i64 = 4_000;

/// Brokers close connections whose token expires and is not renewed.
fn tokens_are_renewed() {
    let broker = Broker::secure("connections.max.reauth.ms=600000").expect("a broker");
    let asked = Arc::new(AtomicUsize::new(0));
    let source = {
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let now_ms = SystemEnv::shared().wall_ms();
            Ok(OauthToken::new(
                unsigned(now_ms),
                "alice",
                now_ms + TOKEN_MS,
            ))
        }
    };
    let builder = || {
        KafkaLog::builder(broker.address(SASL))
            .setting("security.protocol", "SASL_PLAINTEXT")
            .setting("sasl.mechanism", "OAUTHBEARER")
    };
    let with_tokens = builder().oauth_token(source);
    let connect = || with_tokens.clone().connect(SystemEnv::shared());
    let log = insist("the first contact", connect);
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let mut writer = log.writer("writer", 1 << 20).expect("a writer");
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(TopicPartition::new("t", 0), 0)]);
    let until = Instant::now() + Duration::from_millis(3 * TOKEN_MS as u64);
    while Instant::now() < until {
        write(&mut *writer, "t");
        read(&mut *reader);
        assert!(insist("the topic", || log.topic("t")).is_some());
        let place = TopicPartition::new("t", 0);
        insist("an offset", || {
            log.committed("g", std::slice::from_ref(&place))
        });
        std::thread::sleep(Duration::from_millis(200));
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("    {asked} tokens");
    assert!(asked > 1, "the first token lives for a third of the time");

    refuses(&builder(), &["oauth_token"]);
    let fails = || Err(Error::user("the vault is closed"));
    refuses(&builder().oauth_token(fails), &["the vault is closed"]);
    let wrong = || {
        let expires_ms = SystemEnv::shared().wall_ms() + 60_000;
        Ok(OauthToken::new("no-token", "alice", expires_ms))
    };
    refuses(&builder().oauth_token(wrong), &["refuse the connection"]);
}

/// An unsigned token, which only brokers under test accept.
fn unsigned(now_ms: i64) -> String {
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let (begins, ends) = (seconds(now_ms), seconds(now_ms + TOKEN_MS));
    let claims = format!(r#"{{"sub":"alice","iat":{begins},"exp":{ends}}}"#);
    format!(
        "{}.{}.",
        base64(br#"{"alg":"none"}"#),
        base64(claims.as_bytes())
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0, |all, at| {
            all << 8 | u32::from(*three.get(at).unwrap_or(&0))
        });
        for digit in 0..=three.len() {
            text.push(char::from(
                DIGITS[(number >> (18 - 6 * digit)) as usize & 63],
            ));
        }
    }
    text
}
