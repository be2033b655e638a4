//! Flags override the environment, which overrides the file; and what cannot run as configured.

use std::io::Read;
use std::process::Output;

use crate::http::post;
use crate::process::{Place, Service, TOKEN, WINDOW_MS, everywhere, until};

fn refused(place: &Place, flags: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = place.program();
    command.args(flags).envs(environment.iter().copied());
    let Output { status, stderr, .. } = command.output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{error}");
    error
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    let file = place.path("ocean.toml");
    std::fs::write(
        &file,
        "listen = \"nowhere\"\nlog = \"embedded:from-file\"\nstate = \"state\"\n",
    )
    .unwrap();
    let mut command = place.program();
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("OCEAN_CONFIG", &file)
        .env("OCEAN_LISTEN", "elsewhere")
        .env("OCEAN_LOG", "embedded:from-environment");
    let service = Service::start(command);
    assert!(place.path("from-environment").is_dir());
    assert!(!place.path("from-file").exists());
    assert!(place.path("state").is_dir());
    drop(service);
}

#[test]
fn what_cannot_be_run_as_told_ends_with_2_and_says_what_to_do() {
    let place = Place::new();
    let file = place.path("ocean.toml");
    std::fs::write(&file, "windw = \"2s\"\n").unwrap();
    let error = refused(&place, &["--config", file.to_str().unwrap()], &[]);
    assert!(
        error.contains("windw") && error.contains("line 1"),
        "{error}"
    );
    let error = refused(&place, &["--config", "nothing.toml"], &[]);
    assert!(error.contains("--config"), "{error}");
    let error = refused(&place, &["--listen", "0.0.0.0:0"], &[]);
    assert!(error.contains("OCEAN_TOKEN"), "{error}");
    let error = refused(
        &place,
        &["--listen", "0.0.0.0:0"],
        &[("OCEAN_TOKEN", "hunter2")],
    );
    assert!(
        error.contains("16 characters") && !error.contains("hunter2"),
        "{error}"
    );
    let error = refused(&place, &["--log", "memory:"], &[]);
    assert!(error.contains("embedded:DIRECTORY"), "{error}");
    let error = refused(&place, &["--windw", "2s"], &[]);
    assert!(error.contains("--window"), "{error}");
    assert!(!place.path("ocean-data").exists());
}

#[test]
fn help_tells_every_setting_and_no_token() {
    let place = Place::new();
    let mut command = place.program();
    let help = command
        .arg("--help")
        .env("OCEAN_TOKEN", TOKEN)
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in [
        "config",
        "log",
        "listen",
        "token",
        "hosts",
        "window",
        "grace",
        "state",
        "partitions",
        "workers",
        "memory",
        "connections",
        "rate",
        "keys",
        "spans",
    ] {
        assert!(help.contains(&format!("--{name}")), "{name}: {help}");
        assert!(
            help.contains(&format!("[env: OCEAN_{}", name.to_uppercase())),
            "{name}: {help}"
        );
    }
    assert!(help.contains("sensors"), "{help}");
    assert!(!help.contains(TOKEN), "{help}");
}

#[test]
fn what_a_start_would_find_on_the_log_is_printed_without_a_start() {
    let place = Place::new();
    let service = place.start(&[]);
    service.signal("TERM");
    assert!(service.ended().success());
    let mut command = place.command(&["--compare"]);
    let Output { status, stdout, .. } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{text}");
    assert!(text.contains("  keeps    store "), "{text}");
    assert!(text.ends_with("It would start.\n"), "{text}");
}

#[test]
fn spans_are_written_if_they_are_wanted() {
    for (flags, wanted) in [(&[][..], false), (&["--spans"], true)] {
        let place = Place::new();
        let mut service = place.start(flags);
        let mut stderr = service.child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        post(service.address, &[], everywhere(0).as_bytes());
        post(service.address, &[], everywhere(5 * WINDOW_MS).as_bytes());
        until("the window is there", || service.counted(WINDOW_MS) > 0);
        service.signal("TERM");
        assert!(service.ended().success());
        let text = reader.join().unwrap();
        for (span, field) in [("step{", "bytes="), ("commit{", "duration_us=")] {
            let lines = text.lines().filter(|line| line.contains(span));
            let found = lines.filter(|line| line.contains(field)).count();
            assert_eq!(found > 0, wanted, "{span} {text}");
        }
    }
}
