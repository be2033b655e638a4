//! Starts the example and checks what it does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a run may report nothing new before the test gives up.
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

/// Waits for the end; a run that makes no progress for too long is killed and fails the test.
pub fn finish(mut child: Child) -> Ended {
    let (say, lines) = mpsc::channel();
    let reader = child.stdout.take().map(|out| {
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                drop(say.send(String::from_utf8_lossy(&line).into_owned() + "\n"));
            }
        })
    });
    let mut out = String::new();
    let (mut shown, mut since) = (String::new(), Instant::now());
    // What it writes to its error output fits into the pipe.
    while child.try_wait().expect("a child").is_none() {
        for line in lines.try_iter() {
            let progress = progress(&line);
            if progress != shown {
                (shown, since) = (progress, Instant::now());
            }
            out += &line;
        }
        if since.elapsed() > PATIENCE {
            child.kill().expect("killed");
            let ended = Ended::of(child.wait_with_output().expect("output"));
            panic!("still running: {out}{ended:#?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if let Some(reader) = reader {
        reader.join().expect("it reads");
    }
    out.extend(lines.try_iter());
    let ended = Ended::of(child.wait_with_output().expect("output"));
    Ended { out, ..ended }
}

/// A line without the elapsed time and the rate, which change without any progress.
fn progress(line: &str) -> String {
    let fields = line.split("  ").map(str::trim);
    let stays = |field: &&str| !field.ends_with(" s") && !field.ends_with("/s");
    fields.filter(stays).collect::<Vec<_>>().join(" ")
}

/// The results of an undisturbed run on the repository's readings.
pub fn undisturbed() -> (String, String) {
    let place = Place::new();
    run(place.on_file(&readings(), &[])).well();
    place.results()
}
