//! The files in `deploy/`: what they pass to the program is accepted by it, and their health check tells a service
//! that works from one that does not. Images are not built here.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::http::{connect, get, read_answer, request};
use crate::process::{Place, Service, TOKEN, bearer, until};

const DOCKERFILE: &str = include_str!("../../../../deploy/Dockerfile");
const IGNORED: &str = include_str!("../../../../deploy/Dockerfile.dockerignore");
const COMPOSE: &str = include_str!("../../../../deploy/compose.yaml");
const UNIT: &str = include_str!("../../../../deploy/ocean.service");
const SETTINGS: &str = include_str!("../../../../deploy/ocean.toml");
const MANIFEST: &str = include_str!("../../../../Cargo.toml");

/// The instructions of the Dockerfile, with their continuation lines, without comments.
fn instructions() -> Vec<(String, String)> {
    let lines = DOCKERFILE.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// What follows the instructions of a name, in the last stage.
fn of_image(name: &str) -> Vec<String> {
    let all = instructions();
    let last = all.iter().rposition(|(name, _)| name == "FROM");
    let stage = all[last.expect("a stage")..].iter();
    let found = stage.filter(|(found, _)| found == name);
    found.map(|(_, rest)| rest.clone()).collect()
}

/// The environment of a container, with paths in a directory of this test and a free port.
fn environment(place: &Place) -> Vec<(String, String)> {
    let variables = of_image("ENV").join(" ");
    let variables = variables.split_whitespace();
    let data = place.path("data").display().to_string();
    let here = |value: &str| value.replace("/data", &data).replace(":8080", ":0");
    variables
        .map(|variable| variable.split_once('=').expect("NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), here(value)))
        .collect()
}

/// The program as the entry point of the image, with a variable of the user.
fn container(place: &Place) -> Command {
    assert_eq!(of_image("ENTRYPOINT"), ["[\"ocean\"]"]);
    let mut command = place.program();
    command.envs(environment(place)).env("OCEAN_TOKEN", TOKEN);
    command
}

/// The command of the health check.
fn health_check(port: u16) -> Command {
    let check = of_image("HEALTHCHECK").pop().expect("a health check");
    let words = check.split_once("CMD ").expect("a command").1;
    let words: Vec<String> = serde_json::from_str(words).expect("the exec form");
    let words: Vec<String> = (words.iter())
        .map(|word| word.replace("8080", &port.to_string()))
        .collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear();
    command
}

fn is_healthy(port: u16) -> bool {
    health_check(port).output().expect("bash").status.success()
}

/// A service that listens everywhere, at its address on loopback.
fn on_loopback(mut service: Service) -> Service {
    service.address = SocketAddr::from(([127, 0, 0, 1], service.address.port()));
    service
}

#[test]
fn a_container_runs_is_healthy_and_stops() {
    let place = Place::new();
    let service = on_loopback(Service::start(container(&place)));
    let port = service.address.port();
    until("it is healthy", || is_healthy(port));
    assert!(place.path("data/log").is_dir(), "the log is in the volume");
    assert!(place.path("data/state").is_dir());
    assert_eq!(of_image("VOLUME"), ["/data"]);
    assert_eq!(of_image("EXPOSE"), ["8080"]);
    assert_eq!(get(service.address, "/averages").status, 401);
    let signal = of_image("STOPSIGNAL").pop().expect("a signal");
    service.signal(signal.strip_prefix("SIG").expect("a signal"));
    assert!(service.ended().success());
    assert!(!is_healthy(port), "nobody listens");
}

#[test]
fn a_container_without_a_token_says_what_to_set() {
    let place = Place::new();
    let mut command = container(&place);
    let output = command.env_remove("OCEAN_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("set OCEAN_TOKEN"), "{error}");
}

/// The lines below a key of the composition, up to the next one that is not deeper.
fn below<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = text.lines();
    let line = lines.find(|line| line.trim() == format!("{key}:"));
    let line = line.unwrap_or_else(|| panic!("no {key}"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    lines
        .take_while(|other| other.trim().is_empty() || depth(other) > depth(line))
        .collect()
}

/// The environment of a service of the composition, with the defaults of what the user may set.
fn composed(service: &str) -> Vec<(String, String)> {
    let environment = below(&below(COMPOSE, service).join("\n"), "environment").join("\n");
    let lines = environment.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    let variables = lines.map(|line| line.split_once(": ").expect("NAME: VALUE"));
    variables
        .map(|(name, value)| {
            let default = value.split_once(":-").map(|(_, default)| default);
            let default = default.map(|default| default.trim_end_matches('}'));
            let is_token = value.starts_with("${OCEAN_TOKEN:?");
            let value = if is_token {
                TOKEN
            } else {
                default.unwrap_or(value)
            };
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn the_composition_runs_a_service_and_sensors_that_post_to_it() {
    let place = Place::new();
    let variables = composed("ocean");
    let log = variables.iter().find(|(name, _)| name == "OCEAN_LOG");
    let log = &log.expect("a log").1;
    assert!(COMPOSE.contains(&format!("PLAINTEXT://{}", &log["kafka://".len()..])));
    let mut command = container(&place);
    // Everything but the broker.
    command.envs(
        variables
            .into_iter()
            .filter(|(name, _)| name != "OCEAN_LOG"),
    );
    let service = on_loopback(Service::start(command));
    // By the name that other containers use.
    let headers = [("Authorization", &*bearer())];
    let request = request("GET", "/averages", &headers, b"");
    let request = String::from_utf8(request).unwrap();
    let request = request.replace("Host: localhost", "Host: ocean:8080");
    let mut stream = connect(service.address);
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);

    let sensors = below(COMPOSE, "sensors").join("\n");
    let words = sensors
        .lines()
        .find_map(|line| line.trim().strip_prefix("command: "));
    let words: Vec<String> = serde_json::from_str(words.expect("a command")).unwrap();
    let words = words.iter().map(|word| match word.as_str() {
        "http://ocean:8080" => format!("http://{}", service.address),
        word => word.to_owned(),
    });
    let words: Vec<String> = words.collect();
    // On a busy machine the second may pass before a reading is due.
    until("the sensors have posted", || {
        // In the same image, so with its environment.
        let mut command = container(&place);
        command
            .args(&words)
            .args(["--for", "1s"])
            .envs(composed("sensors"));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{said} {:?}",
            String::from_utf8(output.stderr)
        );
        !said.lines().last().unwrap().starts_with("0 readings")
    });
}

#[test]
fn the_unit_starts_with_the_settings_that_are_installed() {
    let place = Place::new();
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = line.expect("a command").split(' ');
    let program = words.next().expect("a program");
    let installed = UNIT.lines().find(|line| line.ends_with(program));
    assert!(installed.expect("installed").starts_with("#     install"));
    let file = place.path("ocean.toml");
    let state = place.path("state").display().to_string();
    std::fs::write(&file, SETTINGS.replace("/var/lib/ocean", &state)).unwrap();
    let mut command = place.program();
    for word in words {
        match word {
            "/etc/ocean/ocean.toml" => command.arg(&file),
            word => command.arg(word),
        };
    }
    // The environment overrides the file, so that the port is free.
    command
        .env("OCEAN_LISTEN", "127.0.0.1:0")
        .env("OCEAN_TOKEN", TOKEN);
    let service = Service::start(command);
    assert!(place.path("state/log").is_dir());
    assert!(place.path("state/state").is_dir());
    // Systemd creates the directory that the settings name, and lets the service write there.
    assert!(UNIT.contains("\nStateDirectory=ocean\n"));
    service.signal("TERM");
    assert!(service.ended().success());
}

#[test]
fn the_build_finds_what_it_copies_with_the_compiler_that_is_needed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Cargo also looks for the targets that a manifest declares and it does not build.
    let needed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "derive",
        "topologies",
        "benches",
        "examples",
        "tests",
    ];
    for name in needed {
        assert!(root.join(name).exists(), "{name}");
    }
    for pattern in IGNORED.lines() {
        // Names at the top of the repository: easy to compare.
        assert!(!pattern.contains(['*', '/', '!']), "{pattern}");
        assert!(!needed.contains(&pattern), "{pattern} is needed");
    }
    let stages: Vec<String> = (instructions().into_iter())
        .filter_map(|(name, rest)| (name == "FROM").then_some(rest))
        .collect();
    let version = MANIFEST
        .split_once("rust-version = \"")
        .expect("a version")
        .1;
    let version = version.split('"').next().unwrap_or_default();
    assert_eq!(stages[0], format!("rust:{version}-bookworm AS build"));
    // The same release, so that its libraries are those that the program was linked to.
    assert_eq!(stages[1], "debian:bookworm-slim");
    let copied = of_image("COPY");
    assert_eq!(
        copied,
        ["--from=build /usr/local/bin/ocean /usr/local/bin/ocean"]
    );
    let built = instructions().into_iter().any(|(name, rest)| {
        name == "RUN"
            && rest.contains("--locked -p ocean")
            && rest.ends_with("/usr/local/bin/ocean")
    });
    assert!(built);
}
