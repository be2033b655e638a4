//! The ocean pipeline on a real broker: the same file, byte for byte, as on the embedded log.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command};
use std::time::Duration;

use crate::broker::Broker;
use crate::process::{
    Ended, Place, RESUMING, finish, readings, run, slower_and_slower, undisturbed,
};

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

const KILLS: usize = 10;
/// At how many places they resume at least: the first start, and six kills between different commits.
const PLACES: usize = 7;
/// An instance that has not committed anything in this time never will.
const LIFE_MAX: Duration = Duration::from_secs(60);

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
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    resumed: BTreeSet<String>,
}

impl<'a> Instance<'a> {
    fn start(broker: &'a Broker, rate: &str) -> Self {
        let place = Place::new();
        let (child, lines) = spawn(broker, &place, &["--rate", rate]);
        Self {
            broker,
            place,
            child,
            lines,
            resumed: BTreeSet::new(),
        }
    }

    /// Waits until it says where it resumes, kills it after the delay, and restarts it: whether it has resumed
    /// at a new place. `None` if it had ended by then.
    fn kill_after(&mut self, delay: Duration, flags: &[&str]) -> Option<bool> {
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        let place = lines.find_map(|line| line.strip_prefix(RESUMING).map(str::to_owned));
        std::thread::sleep(delay);
        self.child.kill().expect("a child");
        let status = self.child.wait().expect("a child");
        if status.code() == Some(0) {
            return None;
        }
        if status.code().is_some() {
            let mut err = String::new();
            let mut stream = self.child.stderr.take().expect("piped");
            stream.read_to_string(&mut err).expect("text");
            panic!("killed, not ended: {err}");
        }
        (self.child, self.lines) = spawn(self.broker, &self.place, flags);
        Some(
            self.resumed
                .insert(place.expect("it says where it goes on")),
        )
    }

    /// Kills it once more, and lets it feed the rest as fast as it can.
    fn finish(mut self, expected: &(String, String)) {
        // It may have ended already, perhaps because another one feeds faster by now.
        if self.kill_after(Duration::ZERO, &[]).is_some() {
            let rest = std::thread::spawn(move || self.lines.for_each(drop));
            finish(self.child).well();
            rest.join().expect("read");
        }
        assert!(self.place.results() == *expected);
    }
}

fn spawn(broker: &Broker, place: &Place, flags: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = on_kafka(broker, place, flags).spawn().expect("starts");
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

/// Kills instances in turn, ten times or more; `None` if one had ended before.
fn kill_in_turn(instances: &mut [Instance<'_>], rate: &str, seed: u64) -> Option<()> {
    let mut drawn = delays(seed).take(KILLS);
    let mut later = Duration::from_secs(1);
    for turn in 0.. {
        let next = drawn.next();
        let places: usize = instances.iter().map(|one| one.resumed.len()).sum();
        if next.is_none() && places >= PLACES {
            break;
        }
        // On a busy machine some are killed before their first commit, and resume at the same place. Then others
        // are needed that live longer.
        let delay = next.unwrap_or(later);
        assert!(delay < LIFE_MAX, "they get no further than {places} places");
        let number = turn % instances.len();
        let is_new = instances[number].kill_after(delay, &["--rate", rate])?;
        if next.is_none() && !is_new {
            later *= 2;
        }
    }
    Some(())
}

/// Kills so many instances in turn, until they have resumed at enough places, and compares the results.
fn killed(broker: &Broker, count: usize, first_rate: u64, seed: u64) {
    let expected = undisturbed();
    let killed = slower_and_slower(first_rate).find_map(|rate| {
        broker.fresh_log();
        let start = || Instance::start(broker, &rate);
        let mut instances: Vec<_> = std::iter::repeat_with(start).take(count).collect();
        let killed = kill_in_turn(&mut instances, &rate, seed);
        std::thread::scope(|scope| {
            for instance in instances {
                scope.spawn(|| instance.finish(&expected));
            }
        });
        killed
    });
    killed.expect("a run that is slow enough to be killed ten times");
}

fn ten_kills_change_no_byte(broker: &Broker) {
    killed(broker, 1, 2_000, 1);
}

fn ten_kills_of_two_instances_change_no_byte(broker: &Broker) {
    // Both feed, one after the other, and must be there at the last kill.
    killed(broker, 2, 600, 2);
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
