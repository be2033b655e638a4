//! Runs the conformance vectors: what Kafka Streams did, record for record (`tests/conformance/`).
//!
//! Each file is a topology with scripts; each script runs through the driver and is compared with
//! what Kafka Streams wrote, step by step, with what its stores held in the end, and with how many
//! records it dropped. A topology with persistent stores runs over memory and over RocksDB. State
//! rebuilt from the changelogs must be equal as well.
//!
//! `MAREA_CONFORMANCE_DIR` names another directory of vectors; arguments name the topologies to run.

#[path = "conformance_topologies/mod.rs"]
mod conformance_topologies;
#[path = "conformance_topologies/run.rs"]
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use marea::dsl::Optimizations;
use run::Backing;

/// How many differences of a script to show.
const SHOWN: usize = 5;

#[derive(Default)]
struct Tally {
    scripts: usize,
    matching: usize,
    differing: usize,
    unknown: Vec<String>,
    seen: Vec<String>,
}

fn main() -> ExitCode {
    match run_all() {
        Ok(code) => code,
        Err(error) => {
            println!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all() -> Result<ExitCode, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let given = std::env::var_os("MAREA_CONFORMANCE_DIR");
    let directory = given.as_ref().map_or(own, PathBuf::from);
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut tally = Tally::default();
    for path in vectors(&directory)? {
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let vectors: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let name = vectors["topology"].as_str().unwrap_or_default();
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run_file(name, &vectors, &mut tally)?;
        }
    }
    let is_own = given.is_none() && wanted.is_empty();
    let mut incomplete = 0;
    if is_own {
        let missing = conformance_topologies::names();
        let missing: Vec<_> = missing
            .filter(|name| !tally.seen.iter().any(|seen| seen == name))
            .collect();
        if !missing.is_empty() {
            println!("there are no vectors of {missing:?}");
        }
        if !tally.unknown.is_empty() {
            println!("no family lists {:?}", tally.unknown);
        }
        incomplete = missing.len() + tally.unknown.len();
    }
    let failed = tally.differing + incomplete;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed",
        tally.matching
    );
    println!(
        "conformance: {} scripts, {} match, {} differ, {} unknown topologies",
        tally.scripts,
        tally.matching,
        tally.differing,
        tally.unknown.len()
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn vectors(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{} holds no vectors", directory.display()));
    }
    Ok(paths)
}

fn run_file(name: &str, vectors: &serde_json::Value, tally: &mut Tally) -> Result<(), String> {
    let optimizations = optimizations(vectors)?;
    let Some(topology) = conformance_topologies::topology(name, optimizations) else {
        tally.unknown.push(name.to_owned());
        return Ok(());
    };
    tally.seen.push(name.to_owned());
    let topology = topology.map_err(|error| format!("{name} does not build: {error}"))?;
    let none = Vec::new();
    for script in vectors["scripts"].as_array().unwrap_or(&none) {
        for backing in run::backings(&topology) {
            tally.scripts += 1;
            let differences = run::differences(&topology, vectors, script, backing);
            let script = script["name"].as_str().unwrap_or_default();
            let differences = match differences {
                Ok(differences) => differences,
                // Not even what diverges may fail.
                Err(error) => {
                    tally.differing += 1;
                    println!("{name}/{script} ({}): failed: {error}", label(backing));
                    continue;
                }
            };
            let diverges = conformance_topologies::diverges(name, script);
            if differences.is_empty() != diverges {
                tally.matching += 1;
                continue;
            }
            tally.differing += 1;
            if diverges {
                println!(
                    "{name}/{script} ({}): it does not differ any more",
                    label(backing)
                );
            }
            for difference in differences.iter().take(SHOWN) {
                println!("{name}/{script} ({}): {difference}", label(backing));
            }
            if differences.len() > SHOWN {
                println!("{name}/{script}: and {} more", differences.len() - SHOWN);
            }
        }
    }
    Ok(())
}

/// The optimizations in the configuration of the vectors.
fn optimizations(vectors: &serde_json::Value) -> Result<Optimizations, String> {
    match vectors["config"]["topology.optimization"].as_str() {
        None | Some("none") => Ok(Optimizations::none()),
        Some("all") => Ok(Optimizations::none()
            .merge_repartitions()
            .single_store_self_joins()),
        Some(other) => Err(format!("there is no optimization {other:?}")),
    }
}

fn label(backing: Backing) -> &'static str {
    match backing {
        Backing::Memory => "memory",
        Backing::RocksDb => "RocksDB",
    }
}
