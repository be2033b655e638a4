//! `kill -9`, ten times, at any point of the run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::process::{Place, finish, readings, resumed, run, slower_and_slower, undisturbed};

/// Readings per second: an undisturbed run takes twelve seconds, part of which are starts.
const RATE: u64 = 2_200;
const RUN_MS: u64 = 6_500;
const KILLS: u64 = 10;
/// At how many places the starts resume at least: the first start, and six kills between different commits.
const PLACES: usize = 7;
/// A run that has not committed anything in this time never will.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Starts, waits until it says where it resumes, and kills it after the delay. `None` if it had ended by then.
fn killed_after(place: &Place, flags: &[&str], rate: &str, delay: Duration) -> Option<String> {
    let mut command = place.on_file(&readings(), flags);
    let mut child = command.args(["--rate", rate]).spawn().expect("starts");
    let (_lines, resumed) = resumed(&mut child);
    std::thread::sleep(delay);
    child.kill().expect("a child");
    let ended = finish(child);
    if ended.code == Some(0) {
        return None;
    }
    assert_eq!(ended.code, None, "killed, not ended: {ended:#?}");
    Some(resumed.unwrap_or_else(|| panic!("it says where it goes on: {ended:#?}")))
}

/// Kills at ten points drawn from the run, or more of them; returns its directory once a run has
/// ended well.
fn killed_ten_times(flags: &[&str], seed: u64) -> Place {
    let found = slower_and_slower(RATE).find_map(|rate| {
        let place = Place::new();
        killed_at_rate(&place, flags, &rate, seed)?;
        Some(place)
    });
    found.expect("a run that is slow enough to be killed ten times")
}

/// `None` if the run was over before it was killed that often.
fn killed_at_rate(place: &Place, flags: &[&str], rate: &str, seed: u64) -> Option<()> {
    let mut chance = seed;
    let mut draw = || {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % RUN_MS
    };
    let mut points: Vec<u64> = (0..KILLS).map(|_| draw()).collect();
    points.sort_unstable();
    let mut before = 0;
    let mut places = BTreeSet::new();
    for point in points {
        let delay = Duration::from_millis(point - before);
        places.insert(killed_after(place, flags, rate, delay)?);
        before = point;
    }
    // On a busy machine some are killed before their first commit, and the next one resumes at the same place. Then
    // others are needed that live longer.
    let mut delay = Duration::from_millis(RUN_MS / KILLS);
    while places.len() < PLACES {
        assert!(delay < LIFE_MAX, "it gets no further: {places:#?}");
        if !places.insert(killed_after(place, flags, rate, delay)?) {
            delay *= 2;
        }
    }
    run(place.on_file(&readings(), flags)).well();
    Some(())
}

#[test]
fn ten_kills_change_no_byte() {
    let expected = undisturbed();
    for (seed, flags) in [
        (1, &["--workers", "2"][..]),
        (2, &["--workers", "4", "--commit-interval-ms", "20"]),
    ] {
        let place = killed_ten_times(flags, seed);
        assert_eq!(place.results(), expected, "{flags:?}");
    }
}

#[test]
fn ten_kills_at_least_once_lose_nothing_and_leave_equal_state() {
    let place = killed_ten_times(&["--guarantee", "at-least-once"], 3);
    let (averages, _) = place.results();
    // Behind a repartition topic, at least once may count a reading twice, but loses none.
    let counted = |averages: &str| -> i64 {
        let lines = averages.lines();
        let parsed =
            lines.map(|line| serde_json::from_str::<ocean::model::Average>(line).expect("a line"));
        parsed.map(|average| average.count).sum()
    };
    assert_eq!(averages.lines().count(), 455);
    assert!(counted(&averages) >= 26_310, "{}", counted(&averages));
    let replayed = run(place.command(&["--replay"])).well();
    assert!(replayed.out.contains("equal: "), "{}", replayed.out);
}

#[test]
fn a_signal_stops_in_good_order_and_the_same_command_goes_on() {
    let expected = undisturbed();
    let place = Place::new();
    for signal in ["INT", "TERM"] {
        let mut child = place
            .on_file(&readings(), &["--rate", "1000"])
            .spawn()
            .expect("starts");
        let (lines, _) = resumed(&mut child);
        std::thread::sleep(Duration::from_millis(300));
        let sent = std::process::Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
        let out: Vec<String> = lines.collect();
        finish(child).well();
        let stopped = out.iter().any(|line| line.contains("stopped by a signal"));
        assert!(stopped, "{out:#?}");
    }
    run(place.on_file(&readings(), &[])).well();
    assert_eq!(place.results(), expected);
}
