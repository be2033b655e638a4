//! What the brokers do not allow is said within seconds, with its name.

use std::process::Command;

use marea::log::TopicSpec;

use crate::broker::{Broker, script};
use crate::process::{Place, readings, run};

pub const CASES: &[(&str, fn(&Broker))] =
    &[("what_is_not_allowed_is_named", what_is_not_allowed_is_named)];

/// Everybody may do what no rule speaks of.
const SETTINGS: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer;\
allow.everyone.if.no.acl.found=true";

struct Rules {
    broker: Broker,
    jars: String,
}

impl Rules {
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

    /// Runs the pipeline under a rule, and returns what it says in the end.
    fn refusal(&self, rule: &str, resource: &str) -> String {
        self.change(&format!("--add {rule} {resource}"));
        let place = Place::new();
        let ended = run(place.on_file(&readings(), &["--kafka", self.address()]));
        println!("    {}", ended.err.trim());
        let right = "give the application's user the right";
        let named = ended.code == Some(2) && ended.err.contains(right);
        // Where the client has not said yet which topic it was, the writer is only dead.
        let dead = ended.code == Some(1) && ended.err.contains("can write no more");
        assert!(named || dead, "{ended:#?}");
        self.change(&format!("--remove --force {resource}"));
        ended.err
    }
}

/// On a broker of its own, whatever the other tests use: rules are not theirs to bear.
fn what_is_not_allowed_is_named(_: &Broker) {
    let broker = Broker::own(SETTINGS).expect("a broker with rules");
    let jars = script().arg("jars").output().expect("the script runs");
    let jars = String::from_utf8(jars.stdout).expect("a path");
    let rules = Rules {
        broker,
        jars: format!("{}/*", jars.trim()),
    };
    let log = rules.broker.log();
    log.create_topics(&[TopicSpec::new("ocean-averages", 1)])
        .expect("created");
    let read_only = "--allow-principal User:ANONYMOUS --operation Describe --operation DescribeConfigs \
                     --operation Read";
    let said = rules.refusal(read_only, "--topic ocean-averages");
    let dead = said.contains("can write no more");
    assert!(
        dead || said.contains("writing to ocean-averages-0"),
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
