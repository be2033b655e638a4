//! A long run: the ocean pipeline and a join, three instances of each over three brokers, with random faults
//! (`make soak`). At the end every input counts exactly once in the outputs.
//!
//! A seed determines the faults, their times and their targets; their effect on the machine differs from run to
//! run.

mod instance;
mod join;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::broker::{Broker, tried};
use crate::cases::OwnCase;
use crate::process::{readings, undisturbed};

use self::instance::Instance;
pub use self::join::{CHILD, child};

pub const CASES: &[(&str, OwnCase)] = &[("a_short_soak", a_short_soak)];

const BROKERS: u32 = 3;
const INSTANCES: usize = 3;
/// How long a run takes by default.
const MINUTES: u64 = 20;
/// The longest pause between two faults, in milliseconds.
const PAUSE_MS: u64 = 8_000;
/// How long everything may take once the faults have ended.
const CALM: Duration = Duration::from_secs(240);
/// Readings in the repository's file.
const READINGS: u64 = 26_310;

/// `--soak [--seed N] [--minutes N] [--without FAULT]...`. Brokers that are all killed at once may forget a
/// transaction, after which results prove nothing: a run `--without KillAllBrokers` has no such excuse.
pub fn run(arguments: &[String]) -> ExitCode {
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|word| word == name);
        at.map_or(default, |at| {
            let value = arguments.get(at + 1).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("{name} needs a number"))
        })
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("--seed", now.map_or(1, |since| since.as_secs()));
    let minutes = number("--minutes", MINUTES);
    let is_left_out = |fault: &Fault| {
        let name = format!("{fault:?}");
        let mut pairs = arguments.windows(2);
        pairs.any(|pair| pair[0] == "--without" && pair[1] == name)
    };
    let faults: Vec<Fault> = FAULTS
        .into_iter()
        .filter(|fault| !is_left_out(fault))
        .collect();
    println!("    {faults:?}");
    soak(seed, Duration::from_secs(60 * minutes), &faults);
    ExitCode::SUCCESS
}

fn a_short_soak() {
    soak(7, Duration::from_secs(40), &FAULTS);
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9`, and a restart after a while.
    Kill,
    /// It stops for longer than its session, and continues.
    Freeze,
    /// It is told to end, as when scaling down, and comes back later.
    Leave,
    /// It is killed and loses its directory.
    LoseState,
    /// It is killed, and a file of its rows is cut in half.
    CutState,
    /// It is killed, and a byte in a file of its rows is changed.
    TurnState,
    KillBroker,
    FreezeBroker,
    KillAllBrokers,
    /// Data to and from a broker is delayed.
    SlowNetwork,
    /// Connections with a broker are cut, over and over.
    CutNetwork,
    /// Nothing gets to or from a broker, and nobody is told.
    CloseNetwork,
    /// Somebody deletes the topic of tasks.
    DeleteTasks,
}

const FAULTS: [Fault; 13] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::Leave,
    Fault::LoseState,
    Fault::CutState,
    Fault::TurnState,
    Fault::KillBroker,
    Fault::FreezeBroker,
    Fault::KillAllBrokers,
    Fault::SlowNetwork,
    Fault::CutNetwork,
    Fault::CloseNetwork,
    Fault::DeleteTasks,
];

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pause(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(500 + self.below(most_ms))
    }
}

fn soak(seed: u64, life: Duration, faults: &[Fault]) {
    println!(
        "    seed {seed}, {} s; the same again: make soak ARGS=\"--seed {seed}\"",
        life.as_secs()
    );
    let expected = undisturbed();
    tried(|| {
        let cluster = Broker::proxied(BROKERS).expect("three brokers");
        cluster.outcome(|| live(&cluster, (seed, life), faults, &expected))
    });
}

fn live(
    cluster: &Broker,
    (seed, life): (u64, Duration),
    faults: &[Fault],
    expected: &(String, String),
) {
    let address = cluster.url.trim_start_matches("kafka://").to_owned();
    let rate = (READINGS / life.as_secs().max(1)).max(1).to_string();
    let flags = ["--rate", &rate, "--partitions", "4", "--kafka", &address];
    let feeder = join::Feeder::start(cluster, &rate);
    let mut instances: Vec<Instance> = Vec::new();
    for number in 0..INSTANCES {
        instances.push(Instance::ocean(number, &readings(), &flags));
        instances.push(Instance::join(number, &cluster.url));
    }
    let began = Instant::now();
    let mut random = Random(seed);
    while began.elapsed() < life {
        std::thread::sleep(random.pause(PAUSE_MS));
        let fault = faults[random.below(faults.len() as u64) as usize];
        let victim = random.below(instances.len() as u64) as usize;
        let number = 1 + random.below(u64::from(BROKERS)) as u32;
        let pause = random.pause(PAUSE_MS);
        let at = began.elapsed().as_secs();
        let whom = match fault {
            Fault::KillBroker
            | Fault::FreezeBroker
            | Fault::SlowNetwork
            | Fault::CutNetwork
            | Fault::CloseNetwork => format!("broker {number}"),
            Fault::KillAllBrokers => "all".to_owned(),
            Fault::DeleteTasks => "of the join".to_owned(),
            _ => instances[victim].name().to_owned(),
        };
        println!("    {at} s: {fault:?} {whom}, for {} ms", pause.as_millis());
        happens(
            fault,
            &mut instances[victim],
            cluster,
            number,
            pause,
            &mut random,
        );
        for instance in &mut instances {
            instance.check();
        }
    }
    println!("    {} s: calm", began.elapsed().as_secs());
    let fed = feeder.finish();
    let until = Instant::now() + CALM;
    join::wait_for_all(cluster, fed, until);
    for instance in &mut instances {
        instance.end(until);
    }
    join::check(cluster, fed);
    for instance in &instances {
        if let Some(results) = instance.results() {
            assert!(results == *expected, "{}: other results", instance.name());
        }
    }
    println!("    {fed} records of each side joined once, {READINGS} readings counted once");
}

fn happens(
    fault: Fault,
    victim: &mut Instance,
    cluster: &Broker,
    number: u32,
    pause: Duration,
    random: &mut Random,
) {
    let proxy = &cluster.proxies[number as usize - 1];
    match fault {
        Fault::Kill => victim.kill(),
        Fault::Leave => victim.leave(),
        Fault::Freeze => victim.signal("-STOP"),
        Fault::LoseState => {
            victim.kill();
            victim.lose_state();
        }
        Fault::CutState | Fault::TurnState => {
            victim.kill();
            let cuts = matches!(fault, Fault::CutState);
            victim.damage_state(cuts, random.below(u64::MAX));
        }
        Fault::KillBroker => cluster.tell("kill", number),
        Fault::FreezeBroker => {
            cluster.stall_broker(number, pause);
        }
        Fault::KillAllBrokers => (1..=BROKERS).for_each(|broker| cluster.tell("kill", broker)),
        Fault::SlowNetwork => proxy.delay(Duration::from_millis(50 + random.below(400))),
        Fault::CutNetwork => {
            for _ in 0..1 + random.below(8) {
                proxy.cut();
                std::thread::sleep(Duration::from_millis(random.below(500)));
            }
        }
        Fault::CloseNetwork => proxy.close(true),
        Fault::DeleteTasks => {
            let deleted = cluster.log().delete_topics(&[join::TASKS.to_owned()]);
            if let Err(error) = deleted {
                println!("    not deleted: {error}");
            }
        }
    }
    // Longer than a session if that is the point.
    let longer = Duration::from_secs(if matches!(fault, Fault::Freeze) {
        11
    } else {
        0
    });
    std::thread::sleep(pause + longer);
    match fault {
        Fault::Freeze => victim.signal("-CONT"),
        Fault::KillBroker => cluster.tell("restart", number),
        // A cluster starts when most of its brokers do, so they are not awaited one by one.
        Fault::KillAllBrokers => cluster.restart_all(BROKERS),
        Fault::FreezeBroker | Fault::CutNetwork | Fault::DeleteTasks => {}
        Fault::SlowNetwork => proxy.delay(Duration::ZERO),
        Fault::CloseNetwork => proxy.close(false),
        _ => victim.start(),
    }
}
