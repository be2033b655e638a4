//! Other clients that share the broker, each a program of its own in `clients/`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use marea::base::Header;

use crate::broker::script;

/// The packages that the Python clients need; the last three are their codecs.
const PACKAGES: &[&str] = &[
    "kafka-python==3.0.12",
    "confluent-kafka==2.16.1",
    "python-snappy==0.7.3",
    "lz4==4.4.5",
    "zstandard==0.25.0",
];

/// A record as these programs see it; `clients/Clients.java` describes how it is written as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub partition: u32,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

impl Line {
    fn print(&self) -> String {
        let mut line = format!(
            "{} {} {} {}",
            self.partition,
            self.timestamp_ms,
            word(self.key.as_deref()),
            word(self.value.as_deref())
        );
        for header in &self.headers {
            let name = word(Some(header.key.as_bytes()));
            line += &format!(" {name} {}", word(header.value.as_deref()));
        }
        line + "\n"
    }

    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let [partition, timestamp_ms, key, value, headers @ ..] = &words[..] else {
            panic!("no record: {line}");
        };
        let header = |pair: &[&str]| Header {
            key: String::from_utf8(bytes(pair[0]).expect("a name")).expect("UTF-8"),
            value: bytes(pair[1]),
        };
        Self {
            partition: partition.parse().expect("a number"),
            timestamp_ms: timestamp_ms.parse().expect("a number"),
            key: bytes(key),
            value: bytes(value),
            headers: headers.chunks_exact(2).map(header).collect(),
        }
    }
}

fn word(bytes: Option<&[u8]>) -> String {
    let digits = |bytes: &[u8]| -> String {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
        hex.collect()
    };
    bytes.map_or("-".into(), |bytes| format!("x{}", digits(bytes)))
}

fn bytes(word: &str) -> Option<Vec<u8>> {
    let hex = word.strip_prefix('x')?;
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    Some((0..hex.len()).step_by(2).map(byte).collect())
}

/// A client that can be run.
pub struct Client {
    pub name: &'static str,
    /// Whether it can write a header without a value.
    pub writes_null_headers: bool,
    command: Vec<String>,
    /// The directory of its compiled program, kept while it is needed.
    _directory: Option<tempfile::TempDir>,
}

impl Client {
    /// Compiles the Java client against the broker's jars. `Err` gives the reason why it cannot.
    pub fn java() -> Result<Self, String> {
        let jars = answer(script().arg("jars"))?;
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let jars = format!("{}/*", jars.trim());
        let mut compiler = Command::new("javac");
        compiler.args(["-nowarn", "-cp", &jars, "-d"]);
        compiler.arg(directory.path()).arg(source("Clients.java"));
        answer(&mut compiler)?;
        let path = format!("{}:{jars}", directory.path().display());
        let flags = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx256m";
        let quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error";
        let command = ["java"].into_iter().chain(flags.split(' '));
        let command = command.chain([quiet, "-cp", &path, "Clients"]);
        Ok(Self {
            name: "java",
            writes_null_headers: true,
            command: command.map(str::to_owned).collect(),
            _directory: Some(directory),
        })
    }

    /// kafka-python and confluent-kafka, which pip installs into the user's cache if they are missing. `Err` gives
    /// the reason why it cannot.
    pub fn python() -> Result<[Self; 2], String> {
        let python = environment()?;
        let client = |name, program: &str| Self {
            name,
            writes_null_headers: name != "kafka-python",
            command: [python.as_path(), &source(program)]
                .map(|path| path.display().to_string())
                .to_vec(),
            _directory: None,
        };
        Ok([
            client("kafka-python", "kafka_python.py"),
            client("confluent-kafka", "confluent.py"),
        ])
    }

    /// Writes the records to `topic-codec` for each codec, to the partitions that the client's partitioner
    /// chooses.
    pub fn write(&self, address: &str, topic: &str, codecs: &[&str], records: &[Line]) {
        let input: String = records.iter().map(Line::print).collect();
        let words = ["write", address, topic]
            .into_iter()
            .chain(codecs.iter().copied());
        self.run(&words.collect::<Vec<_>>(), &input);
    }

    /// All records of a topic, of which there are `count`.
    pub fn read(&self, address: &str, topic: &str, count: usize) -> Vec<Line> {
        let output = self.run(&["read", address, topic, &count.to_string()], "");
        output.lines().map(Line::parse).collect()
    }

    /// Runs the program with these arguments; panics if the program fails.
    pub fn run(&self, words: &[&str], input: &str) -> String {
        let (program, first) = self.command.split_first().expect("a program");
        let mut child = Command::new(program)
            .args(first)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("taken");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{} {words:?}", self.name);
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

fn source(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/kafka/clients").join(name)
}

/// The Python of an environment that has the packages.
fn environment() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or(home);
    let cache = cache
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?
        .join("marea");
    // Named after its contents, so that other versions get another one.
    let names = PACKAGES.join(" ");
    let hash = marea::base::murmur2(names.as_bytes()) as u32;
    let name = format!("clients-{hash:08x}");
    let directory = cache.join(&name);
    let python = directory.join("bin/python");
    make_once(&cache, &name, || {
        answer(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES);
        answer(&mut pip).map(drop)
    })?;
    Ok(python)
}

/// Makes a directory that all processes share, unless it is complete. It cannot be renamed: an environment contains
/// its own path.
fn make_once(
    cache: &Path,
    name: &str,
    make: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", cache.display());
    std::fs::create_dir_all(cache).map_err(failed)?;
    // Others wait until it is complete, or its maker is gone.
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let directory = cache.join(name);
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(());
    }
    // What a maker that was killed has left.
    if directory.exists() {
        std::fs::remove_dir_all(&directory).map_err(failed)?;
    }
    make()?;
    File::create(complete).map(drop).map_err(failed)
}

/// One that was killed leaves half a directory, which nobody takes for a whole one; two at once make one.
pub fn a_shared_directory_is_made_once_and_whole() {
    let cache = tempfile::tempdir().expect("a directory");
    let cache = cache.path();
    let made = AtomicU32::new(0);
    let make = || {
        make_once(cache, "d", || {
            let number = made.fetch_add(1, Ordering::SeqCst);
            std::fs::create_dir(cache.join("d")).map_err(|error| error.to_string())?;
            match number {
                0 => Err("no network".into()),
                _ => Ok(()),
            }
        })
    };
    assert_eq!(make(), Err("no network".into()));
    std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(make));
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), Ok(()));
        }
    });
    assert_eq!(made.into_inner(), 2);
}

/// The output of a command; `Err` gives the command that failed, and its error output.
fn answer(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} failed: {}", complaint.trim()))
}
