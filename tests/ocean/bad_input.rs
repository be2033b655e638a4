//! Bad input of every kind, each with its outcome: a dead letter, or an exit code and a message.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use marea::base::SystemEnv;
use marea::disk::Budget;
use marea::log::{self, OpenOptions};
use marea::prelude::*;
use ocean::model::OCEANS;
use ocean::topology::DEAD_LETTERS;

use crate::process::{Place, run};

fn reading(place: usize, timestamp_ms: i64) -> String {
    let ocean = OCEANS[place % OCEANS.len()].name;
    format!(
        r#"{{"sensor":"s{place}","ocean":"{ocean}","temperature":1.5,"salinity":35,"volume":400,"timestamp_ms":{timestamp_ms}}}"#
    )
}

/// What came, and why it became a dead letter.
fn dead_letters(place: &Place) -> Vec<(Vec<u8>, String)> {
    let options = OpenOptions::new(SystemEnv::shared(), Budget::new(32 << 20));
    let url = format!("embedded:{}", place.path("data/log").display());
    let log = log::open(&url, &options).expect("the log");
    let letters = log.records::<Option<Vec<u8>>, Vec<u8>>(DEAD_LETTERS);
    let letter = |letter: ConsumerRecord<_, Vec<u8>>| {
        let reason = letter.headers.last("marea.error.message");
        let reason = reason.and_then(|header| header.value.as_deref());
        let reason = String::from_utf8_lossy(reason.expect("a reason")).into_owned();
        (letter.value, reason)
    };
    letters.expect("letters").into_iter().map(letter).collect()
}

#[test]
fn bad_lines_become_dead_letters_and_lose_nothing() {
    let good = reading(0, 1_000);
    let with_time = |time: &str| good.replace(":1000}", &format!(":{time}}}"));
    let mut bad: Vec<(Vec<u8>, &str)> = [
        (good[..30].to_owned(), "not a reading: EOF"),
        (
            good.replace("\"salinity\":35,", ""),
            "missing field `salinity`",
        ),
        (good.replace("1.5", "NaN"), "not a reading"),
        (with_time("-1"), "before 1970"),
        (with_time("32503680000000"), "the latest accepted"),
        (with_time("9223372036854775807"), "the latest accepted"),
        (
            good.replace("s0", &"x".repeat(2 << 20)),
            "accepts records of",
        ),
    ]
    .map(|(line, reason)| (line.into_bytes(), reason))
    .to_vec();
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8[12] = 0xfe;
    bad.push((not_utf8, "not UTF-8"));

    let place = Place::new();
    let path = place.path("readings.jsonl");
    let mut content = Vec::new();
    let day_ms = 86_400_000;
    for (number, (line, _)) in bad.iter().enumerate() {
        for ocean in 0..OCEANS.len() {
            writeln!(content, "{}", reading(ocean, number as i64 * day_ms / 4)).expect("memory");
        }
        content.extend_from_slice(line);
        content.push(b'\n');
    }
    std::fs::write(&path, content).expect("written");
    let ended = run(place.on_file(&path, &[])).well();
    assert!(
        ended.out.contains("48 readings, 8 dead letters, 0 late"),
        "{}",
        ended.out
    );
    // The good records around them count: eight readings of each ocean in two days.
    let (averages, _) = place.results();
    assert_eq!(averages.lines().count(), 10);
    assert!(
        averages.lines().all(|line| line.contains("\"count\":4,")),
        "{averages}"
    );
    let letters = dead_letters(&place);
    assert_eq!(letters.len(), bad.len());
    for (line, reason) in &bad {
        // Of a line that is too long it has the beginning.
        let is_cut = *reason == "accepts records of";
        let is_of = |raw: &Vec<u8>| match is_cut {
            true => !raw.is_empty() && line.starts_with(raw),
            false => raw == line,
        };
        let mut letters = letters.iter();
        assert!(
            letters.any(|(raw, said)| said.contains(reason) && is_of(raw)),
            "{reason}: {letters:#?}"
        );
    }
}

#[test]
fn a_truncated_gzip_ends_with_a_message_and_goes_on_when_it_is_whole() {
    let lines: Vec<String> = (0..30_000).map(|n| reading(n, n as i64 * 7_000)).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(lines.join("\n").as_bytes())
        .expect("memory");
    let whole = encoder.finish().expect("memory");

    let expected = Place::new();
    let path = expected.path("readings.gz");
    std::fs::write(&path, &whole).expect("written");
    run(expected.on_file(&path, &[])).well();

    let place = Place::new();
    let path = place.path("readings.gz");
    std::fs::write(&path, &whole[..whole.len() * 2 / 3]).expect("written");
    let ended = run(place.on_file(&path, &[]));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(
        ended.err.contains("truncated or damaged after line"),
        "{}",
        ended.err
    );
    assert!(
        !place.path("averages.jsonl").exists(),
        "results of half an input"
    );
    std::fs::write(&path, &whole).expect("written");
    run(place.on_file(&path, &[])).well();
    assert_eq!(place.results(), expected.results());
}

#[test]
fn what_cannot_be_done_ends_with_2_and_says_what_to_do() {
    let place = Place::new();
    let file = place.path("readings.jsonl");
    std::fs::write(&file, reading(0, 0)).expect("written");
    let missing = place.path("missing");
    for (input, flags, message) in [
        (&missing, &[][..], "there is no such file"),
        (&file, &["--window", "0s"], "at least 1 ms"),
        (&file, &["--workers", "0"], "0 is not in 1..=256"),
        (
            &file,
            &["--guarantee", "maybe"],
            "[possible values: exactly-once, at-least-once]",
        ),
    ] {
        let ended = run(Place::new().on_file(input, flags));
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:#?}");
        assert!(ended.err.contains(message), "{flags:?}: {}", ended.err);
    }
}
