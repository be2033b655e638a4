//! Starts the example and checks what it does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a run may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The readings that come with the repository.
pub fn readings() -> PathBuf {
    data("ocean-readings.jsonl.gz")
}

/// A file of the topology's data.
pub fn data(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("topologies/ocean/data").join(name)
}

fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let release = test
        .parent()
        .and_then(Path::parent)
        .expect("target/release/deps/");
    let example = release.join("examples/ocean_aggregates");
    assert!(
        example.exists(),
        "{} is not built; run `cargo build --release --example ocean_aggregates`",
        example.display()
    );
    example
}

/// A directory for a run: its data, its input, its results.
pub struct Place {
    pub directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The example with flags and its data directory here.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = self.start(&example());
        command.args(flags);
        command
    }

    /// The example on a file, with its results beside its data.
    pub fn on_file(&self, input: &Path, flags: &[&str]) -> Command {
        let mut command = self.program(&example(), input);
        command.args(flags);
        command
    }

    /// A copy of the example on a file.
    pub fn program(&self, program: &Path, input: &Path) -> Command {
        let mut command = self.start(program);
        command
            .arg("--input")
            .arg(input)
            .arg("--averages-out")
            .arg(self.path("averages.jsonl"))
            .arg("--alerts-out")
            .arg(self.path("alerts.jsonl"));
        command
    }

    fn start(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--data-dir")
            .arg(self.path("data"))
            .current_dir(self.directory.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The two files of results.
    pub fn results(&self) -> (String, String) {
        let read = |name| std::fs::read_to_string(self.path(name)).expect("results");
        (read("averages.jsonl"), read("alerts.jsonl"))
    }
}

/// What a run prints before the position where it resumes; by then it has its directories, and handles signals.
pub const RESUMING: &str = "resuming: ";

/// The lines of a run, and where it resumes, if it gets that far.
pub fn resumed(child: &mut Child) -> (impl Iterator<Item = String> + use<>, Option<String>) {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let found = lines.find_map(|line| line.strip_prefix(RESUMING).map(str::to_owned));
    (lines, found)
}

/// Readings per second, slower and slower: on a loaded machine a run that is to be disturbed may be over before
/// the test gets to it, and is started again at the next rate.
pub fn slower_and_slower(first: u64) -> impl Iterator<Item = String> {
    let rates = std::iter::successors(Some(first), |rate| Some(rate / 2));
    rates.take(6).map(|rate| rate.to_string())
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Panics unless the run succeeded.
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }
}

/// Runs to the end.
pub fn run(mut command: Command) -> Ended {
    let child = command.spawn().expect("the example starts");
    finish(child)
}

/// Waits for the end; a run that takes too long is killed and fails the test.
pub fn finish(mut child: Child) -> Ended {
    let started = Instant::now();
    // The output fits into the pipe: a few kilobytes.
    while child.try_wait().expect("a child").is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().expect("killed");
            panic!(
                "still running: {:#?}",
                Ended::of(child.wait_with_output().expect("output"))
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ended::of(child.wait_with_output().expect("output"))
}

/// The results of an undisturbed run on the repository's readings.
pub fn undisturbed() -> (String, String) {
    let place = Place::new();
    run(place.on_file(&readings(), &[])).well();
    place.results()
}
