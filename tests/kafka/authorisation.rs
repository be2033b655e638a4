//! What the brokers do not allow is reported within seconds, by name; the rights in the docs are enough.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::log::{KafkaLog, Log, TopicSpec};
use marea::runtime::Settings;

use crate::broker::{Broker, script};
use crate::cases::OwnCase;
use crate::crash::{application, check, prepared, settings};
use crate::process::{Place, readings, run};

pub const CASES: &[(&str, OwnCase)] = &[
    ("what_is_not_allowed_is_named", what_is_not_allowed_is_named),
    (
        "the_rights_in_the_docs_are_enough",
        the_rights_in_the_docs_are_enough,
    ),
];

const SOON: Duration = Duration::from_secs(60);

/// Everybody may do what no rule mentions.
const SETTINGS: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer;\
allow.everyone.if.no.acl.found=true";

struct Rules {
    broker: Broker,
    jars: String,
}

impl Rules {
    fn of(broker: Broker) -> Self {
        let jars = script().arg("jars").output().expect("the script runs");
        let jars = String::from_utf8(jars.stdout).expect("a path");
        Self {
            broker,
            jars: format!("{}/*", jars.trim()),
        }
    }

    fn change(&self, words: &str) {
        let output = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", &self.jars])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg("org.apache.kafka.tools.AclCommand")
            .args(["--bootstrap-server", self.address()])
            .args(words.split(' '))
            .output()
            .expect("java starts");
        assert!(output.status.success(), "{words}: {output:?}");
    }

    fn address(&self) -> &str {
        self.broker.url.trim_start_matches("kafka://")
    }

    /// Runs the pipeline under a rule, and returns its last message.
    fn refusal(&self, rule: &str, resource: &str) -> String {
        self.change(&format!("--add {rule} {resource}"));
        let place = Place::new();
        let ended = run(place.on_file(&readings(), &["--kafka", self.address()]));
        println!("    {}", ended.err.trim());
        let right = "to the application's user";
        let named = ended.code == Some(2) && ended.err.contains(right);
        // If the client has not yet said which topic it was, the writer is only dead.
        let dead = ended.code == Some(1) && ended.err.contains("can no longer write");
        assert!(named || dead, "{ended:#?}");
        self.change(&format!("--remove --force {resource}"));
        ended.err
    }
}

/// On a broker of its own, so that the rules do not affect other tests.
fn what_is_not_allowed_is_named() {
    let rules = Rules::of(Broker::own(SETTINGS).expect("a broker with rules"));
    let log = rules.broker.log();
    log.create_topics(&[TopicSpec::new("ocean-averages", 1)])
        .expect("created");
    let read_only = "--allow-principal User:ANONYMOUS --operation Describe --operation DescribeConfigs \
                     --operation Read";
    let said = rules.refusal(read_only, "--topic ocean-averages");
    let dead = said.contains("can no longer write");
    assert!(
        dead || said.contains("writing to ocean-averages-0"),
        "{said}"
    );
    let no_settings = "--allow-principal User:ANONYMOUS --operation Read --operation Write";
    let said = rules.refusal(no_settings, "--topic ocean-averages");
    assert!(
        said.contains("ocean-averages") && said.contains("DescribeConfigs"),
        "{said}"
    );
    let no_read = "--deny-principal User:ANONYMOUS --operation Read";
    let said = rules.refusal(no_read, "--topic ocean-readings");
    assert!(said.contains("ocean-readings"), "{said}");
    let said = rules.refusal(no_read, "--group ocean");
    assert!(said.contains("group ocean"), "{said}");
    let no_write = "--deny-principal User:ANONYMOUS --operation Write";
    let said = rules.refusal(
        no_write,
        "--transactional-id ocean --resource-pattern-type prefixed",
    );
    assert!(said.contains("opening writer ocean-"), "{said}");
}

/// The commands on the page for operators, for a user of this test.
fn rights(application: &str) -> Vec<String> {
    let page = include_str!("../../docs/operating.md");
    let commands = page
        .lines()
        .filter_map(|line| line.strip_prefix("kafka-acls "));
    let ours = |words: &str| {
        let words = words.replace("User:marea", "User:alice");
        let words = words.replace("-id application-", &format!("-id {application}-"));
        let words = words.replace(" application-", &format!(" {application}-"));
        words.replace("--group application", &format!("--group {application}"))
    };
    let commands: Vec<String> = commands.map(ours).collect();
    assert!(!commands.is_empty(), "the page has commands");
    commands
}

/// Everybody except the tests themselves may do only what a rule allows.
fn the_rights_in_the_docs_are_enough() {
    let rules = Rules::of(
        Broker::secure(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer;\
             super.users=User:ANONYMOUS",
        )
        .expect("a broker with rules"),
    );
    let ours = prepared(&rules.broker);
    let log = KafkaLog::builder(rules.broker.address(4))
        .setting("security.protocol", "SASL_PLAINTEXT")
        .setting("sasl.mechanism", "PLAIN")
        .setting("sasl.username", "alice")
        .setting("sasl.password", "alice-secret")
        .connect(SystemEnv::shared());
    let log: Arc<dyn Log> = Arc::new(log.expect("let in"));
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        let settings = Settings {
            purge_interval_ms: 50,
            ..settings()
        };
        let application = application(directory.path(), Arc::clone(&log));
        application.settings(settings).start()
    };
    assert!(start().is_err(), "no rights yet");
    let name = directory.path().file_name().expect("a name");
    let rights = rights(name.to_string_lossy().trim_start_matches('.'));
    assert_eq!(rights.len(), 5);
    for right in rights {
        rules.change(&right);
    }
    let mut running = start().expect("started");
    running.drain(SOON).expect("drained");
    let names = ours.topic_names().expect("names");
    let repartition = names.iter().find(|name| name.ends_with("-repartition"));
    let repartition = TopicPartition::new(repartition.expect("made").as_str(), 0);
    let until = Instant::now() + SOON;
    while ours.start_offset(&repartition).expect("an offset") == 0 {
        assert!(Instant::now() < until, "nothing is purged");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.close(SOON).expect("closed");
    drop(running);
    std::fs::remove_dir_all(directory.path()).expect("deleted");
    let mut restored = start().expect("started");
    restored.drain(SOON).expect("drained");
    restored.close(SOON).expect("closed");
    drop(restored);
    check(directory.path(), ours);
}
