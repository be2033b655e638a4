//! The ocean pipeline on a real broker: the same file, byte for byte, as on the embedded log.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command};
use std::time::Duration;

use crate::broker::Broker;
use crate::process::{Ended, Place, finish, readings, run, undisturbed};

pub const CASES: &[(&str, fn(&Broker))] = &[
    (
        "ocean::results_are_those_of_the_embedded_log",
        results_are_those_of_the_embedded_log,
    ),
    (
        "ocean::two_instances_share_the_work",
        two_instances_share_the_work,
    ),
    ("ocean::ten_kills_change_no_byte", ten_kills_change_no_byte),
    (
        "ocean::ten_kills_of_two_instances_change_no_byte",
        ten_kills_of_two_instances_change_no_byte,
    ),
    (
        "ocean::state_is_what_the_changelogs_say",
        state_is_what_the_changelogs_say,
    ),
    (
        "ocean::what_cannot_be_is_said_at_once",
        what_cannot_be_is_said_at_once,
    ),
];

const RESUMING: &str = "resuming: ";
const KILLS: usize = 10;

/// The example on the repository's readings and on this broker, which has no topics yet.
fn on_kafka(broker: &Broker, place: &Place, flags: &[&str]) -> Command {
    let mut command = place.on_file(&readings(), flags);
    command.arg("--kafka").arg(address(broker));
    command
}

fn address(broker: &Broker) -> &str {
    broker.url.trim_start_matches("kafka://")
}

fn results_are_those_of_the_embedded_log(broker: &Broker) {
    let expected = undisturbed();
    for flags in [
        &["--workers", "1"][..],
        &["--workers", "2", "--guarantee", "exactly-once"],
        &["--workers", "4", "--guarantee", "at-least-once"],
        &["--workers", "4", "--backlog"],
    ] {
        broker.fresh_log();
        let place = Place::new();
        let ended = run(on_kafka(broker, &place, flags)).well();
        assert!(
            ended
                .out
                .contains("26,310 readings, 0 dead letters, 0 late"),
            "{ended:#?}"
        );
        assert!(
            ended.out.contains("ocean-readings: 4 partitions"),
            "{ended:#?}"
        );
        assert!(place.results() == expected, "{flags:?}");
    }
}

fn two_instances_share_the_work(broker: &Broker) {
    let expected = undisturbed();
    for flags in [&[][..], &["--backlog"], &["--guarantee", "at-least-once"]] {
        broker.fresh_log();
        let places = [Place::new(), Place::new()];
        let children = places
            .each_ref()
            .map(|place| on_kafka(broker, place, flags).spawn().expect("starts"));
        let ended = children.map(|child| finish(child).well());
        let fed = |ended: &Ended| ended.out.contains(" 26,310 readings");
        assert_eq!(
            ended.iter().filter(|ended| fed(ended)).count(),
            1,
            "{ended:#?}"
        );
        for place in &places {
            assert!(place.results() == expected, "{flags:?}");
        }
    }
}

/// An instance that is killed and restarted.
struct Instance<'a> {
    broker: &'a Broker,
    place: Place,
    rate: &'a str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    resumed: BTreeSet<String>,
}

impl<'a> Instance<'a> {
    fn start(broker: &'a Broker, rate: &'a str) -> Self {
        let place = Place::new();
        let (child, lines) = spawn(broker, &place, rate);
        Self {
            broker,
            place,
            rate,
            child,
            lines,
            resumed: BTreeSet::new(),
        }
    }

    /// Waits until it says where it resumes, kills it after the delay, and restarts it.
    fn kill_after(&mut self, delay: Duration) {
        self.note_place();
        std::thread::sleep(delay);
        self.child.kill().expect("a child");
        let status = self.child.wait().expect("a child");
        assert_eq!(status.code(), None, "killed, not ended");
        (self.child, self.lines) = spawn(self.broker, &self.place, self.rate);
    }

    fn note_place(&mut self) {
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        let place = lines.find_map(|line| line.strip_prefix(RESUMING).map(str::to_owned));
        self.resumed
            .insert(place.expect("it says where it goes on"));
    }

    fn finish(mut self, expected: &(String, String)) -> BTreeSet<String> {
        self.note_place();
        // Nobody else reads: the pipe must not fill up.
        let rest = std::thread::spawn(move || self.lines.for_each(drop));
        finish(self.child).well();
        rest.join().expect("read");
        assert!(self.place.results() == *expected);
        self.resumed
    }
}

fn spawn(broker: &Broker, place: &Place, rate: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = on_kafka(broker, place, &["--rate", rate])
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (child, lines)
}

/// Milliseconds from the last successful start to the next kill.
fn delays(seed: u64) -> impl Iterator<Item = Duration> {
    let mut chance = seed;
    std::iter::repeat_with(move || {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((chance >> 33) % 1_200)
    })
}

fn ten_kills_change_no_byte(broker: &Broker) {
    let expected = undisturbed();
    broker.fresh_log();
    let mut instance = Instance::start(broker, "2000");
    for delay in delays(1).take(KILLS) {
        instance.kill_after(delay);
    }
    let places = instance.finish(&expected);
    assert!(places.len() > 6, "{places:#?}");
}

fn ten_kills_of_two_instances_change_no_byte(broker: &Broker) {
    let expected = undisturbed();
    broker.fresh_log();
    // Slow enough that neither has ended before the last kill.
    let mut instances = [(); 2].map(|()| Instance::start(broker, "600"));
    for (number, delay) in delays(2).take(KILLS).enumerate() {
        instances[number % 2].kill_after(delay);
    }
    let [one, two] = instances;
    let places = std::thread::scope(|scope| {
        let other = scope.spawn(|| two.finish(&expected));
        one.finish(&expected).len() + other.join().expect("the other instance").len()
    });
    assert!(places > 6, "{places}");
}

fn state_is_what_the_changelogs_say(broker: &Broker) {
    broker.fresh_log();
    let place = Place::new();
    run(on_kafka(broker, &place, &[])).well();
    let replay = || {
        let mut command = place.command(&["--replay", "--kafka"]);
        run({
            command.arg(address(broker));
            command
        })
        .well()
        .out
    };
    let sums = |out: &str| {
        let rows = out.lines().filter(|line| line.contains("checksum"));
        rows.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = replay();
    assert!(before.contains("equal: "), "{before}");
    std::fs::remove_dir_all(place.path("data/state")).expect("deleted");
    run(on_kafka(broker, &place, &[])).well();
    let after = replay();
    assert!(after.contains("equal: "), "{after}");
    let rows = |line: &&String| !line.contains(" times ");
    let rows_of = |out: &str| sums(out).iter().filter(rows).cloned().collect::<Vec<_>>();
    assert!(rows_of(&before).len() > 8, "{before}");
    assert_eq!(rows_of(&before), rows_of(&after));
}

fn what_cannot_be_is_said_at_once(broker: &Broker) {
    let place = Place::new();
    let ended = run(place.on_file(&readings(), &["--kafka", "127.0.0.1:1"]));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(
        ended.err.contains("127.0.0.1:1") && ended.err.contains("no broker answers"),
        "{ended:#?}"
    );
    broker.fresh_log();
    run(on_kafka(broker, &place, &["--partitions", "3"])).well();
    let ended = run(on_kafka(broker, &place, &["--partitions", "5"]));
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.err.contains("--partitions 3"), "{ended:#?}");
}
