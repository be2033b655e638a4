use marea::dsl::{JoinWindows, StreamBuilder, Suppressed, TimeWindows};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &["ocean-averages"];

fn numbers(text: &str) -> Vec<i64> {
    let fields = text.split(';');
    fields
        .map(|field| field.parse().unwrap_or_default())
        .collect()
}

fn add(sums: &str, reading: &str) -> String {
    let (s, r) = (numbers(sums), numbers(reading));
    format!(
        "{};{};{};{}",
        s[0] + 1,
        s[1] + r[1],
        s[2] + r[2],
        s[3] + r[3]
    )
}

fn average(sums: &str) -> Option<String> {
    let s = numbers(sums);
    let n = s[0];
    // The count is never negative, so this is Java's floorDiv.
    let mean = |sum: i64| sum.div_euclid(n);
    (n != 0).then(|| format!("{n};{};{};{}", mean(s[1]), mean(s[2]), mean(s[3])))
}

fn alarm(average: &str) -> String {
    let a = numbers(average);
    let hot = (a[1] > 25_000).then(|| format!("hot={}", a[1]));
    let salt = match a[2] {
        salinity if salinity < 33_000 => Some(format!("fresh={salinity}")),
        salinity if salinity > 37_000 => Some(format!("salty={salinity}")),
        _ => None,
    };
    let alarms: Vec<String> = hot.into_iter().chain(salt).collect();
    alarms.join(" ")
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    if name != "ocean-averages" {
        return false;
    }
    let averages = b
        .stream_with("readings", strings())
        .filter(|_, v| v.is_some())
        .select_key(|_, v| {
            let ocean = v.as_ref()?.split(';').next()?;
            Some(ocean.to_owned())
        })
        .group_by_key(grouped("by-ocean"))
        .windowed_by(TimeWindows::of(ms(10_000)).grace(ms(5_000)))
        .aggregate(
            || Some("0;0;0;0".to_owned()),
            |_, reading, sums| Some(add(read(&sums), read(&reading))),
            kv("ocean-sums"),
        )
        .map_values(|_, sums| average(read(&sums)).map(Some));
    averages
        .clone()
        .to_stream()
        .to_with("ocean-averages", out_windowed_rows(10_000));
    let finals = averages
        .suppress(Suppressed::until_window_closes_with("final", TEXT))
        .to_stream()
        .map_values(|_, average| average.flatten());
    let produced = marea::dsl::Produced::with(windowed(10_000), TEXT);
    finals.clone().to_with("ocean-averages-final", produced);
    finals
        .clone()
        .filter(|_, average| !alarm(read(average)).is_empty())
        .select_key(|w, _| w.key.clone())
        .map_values(|_, average| Some(alarm(read(&average))))
        .to_with("ocean-alerts", out());
    let pair = finals
        .map(|w, average| {
            let value = format!("{}={}", read(&w.key), read(&average));
            (Some("atlantic-pacific".to_owned()), Some(value))
        })
        .repartition(repartitioned("pair"));
    pair.clone()
        .filter(|_, v| starts(v, "atlantic="))
        .join(
            pair.filter(|_, v| starts(v, "pacific=")),
            |_, l, r| plus(l, r),
            JoinWindows::of(ms(10_000)).grace(ms(5_000)),
            stream_joined("oceans"),
        )
        .to_with("ocean-joined", out());
    true
}
