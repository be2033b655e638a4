//! Listeners with TLS and SASL: who is known is let in, and who is not is told why.

use std::path::Path;
use std::time::{Duration, Instant};

use marea::base::{Error, SystemEnv, TopicPartition};
use marea::log::{BatchBuilder, Commit, KafkaLog, KafkaLogBuilder, Log, TopicSpec};

use crate::broker::Broker;

pub const CASES: &[(&str, fn(&Broker))] = &[(
    "secured_listeners_let_in_whom_they_know_and_tell_others_why",
    secured_listeners_let_in_whom_they_know_and_tell_others_why,
)];

const SOON: Duration = Duration::from_secs(30);
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
fn secured_listeners_let_in_whom_they_know_and_tell_others_why(_: &Broker) {
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
        let log = builder.connect(SystemEnv::shared());
        write_and_read(&log.unwrap_or_else(|error| panic!("{name}: {error}")), name);
    }
    let url = format!("kafka://{sasl_tls}?config={}", file.display());
    let log = KafkaLog::connect(&url, SystemEnv::shared()).expect("let in");
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
            &["another security.protocol than PLAINTEXT"],
        ),
        (
            way.tls(TLS, "other-ca.pem"),
            &["certificate verify failed", "ssl.ca.location"],
        ),
        (way.tls(TLS, "no-such.pem"), &["no-such.pem"]),
        (
            way.tls(MUTUAL, "ca.pem"),
            &["wants a certificate of the client", "ssl.key.location"],
        ),
        (
            way.as_client("stranger"),
            &["does not accept the client's certificate"],
        ),
        (way.tls(PLAINTEXT, "ca.pem"), &["PLAINTEXT"]),
        (
            way.to(TLS, "PLAINTEXT"),
            &["another security.protocol than PLAINTEXT"],
        ),
        (
            plain
                .setting("sasl.mechanism", "PLAIN")
                .setting("sasl.username", "alice")
                .setting("sasl.password", "wrong-secret"),
            &["SASL"],
        ),
    ];
    // They wait for the first contact side by side.
    std::thread::scope(|scope| {
        for (builder, causes) in refused {
            scope.spawn(move || {
                let refused = builder.connect(SystemEnv::shared());
                tells(&refused.err().expect("refused"), causes);
            });
        }
    });
}

fn tells(error: &Error, causes: &[&str]) {
    let said = error.to_string();
    println!("    {said}");
    for cause in causes {
        assert!(said.contains(cause), "{cause}: {said}");
    }
    assert!(!said.contains("-secret"), "{said}");
}

/// By all kinds of clients but members: a topic is made, written, and read.
fn write_and_read(log: &KafkaLog, topic: &str) {
    log.create_topics(&[TopicSpec::new(topic, 1)])
        .expect("created");
    let partition = TopicPartition::new(topic, 0);
    let mut builder = BatchBuilder::default();
    builder.push(None, Some(topic.as_bytes()), 1, &[]);
    let mut writer = log.writer(&format!("{topic}-writer")).expect("a writer");
    let submitted = writer.submit(Commit {
        appends: vec![(partition.clone(), builder.seal().expect("a record"))],
        group: None,
    });
    submitted.expect("submitted");
    let until = Instant::now() + SOON;
    while writer
        .poll(Duration::from_millis(100))
        .expect("committed")
        .is_none()
    {
        assert!(Instant::now() < until, "{topic}: no commit");
    }
    let mut reader = log.reader().expect("a reader");
    reader.assign(&[(partition, 0)]).expect("assigned");
    while reader
        .poll(1_000, Duration::from_millis(100))
        .expect("read")
        .is_empty()
    {
        assert!(Instant::now() < until, "{topic}: nothing read");
    }
}
