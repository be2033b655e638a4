//! A process that may be killed, stopped and restarted.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::join::CHILD;
use crate::broker::Inexcusable;
use crate::process::Place;

pub struct Instance {
    name: String,
    place: Place,
    /// What starts it.
    command: Command,
    child: Option<Child>,
    /// Whether it ends by itself, with results.
    is_ocean: bool,
}

impl Instance {
    /// An instance of the example, on a file.
    pub fn ocean(number: usize, input: &Path, flags: &[&str]) -> Self {
        let place = Place::new();
        let mut command = place.on_file(input, flags);
        // Its output is shown if it fails.
        command.env("RUST_LOG", "marea::runtime=debug,ocean=info");
        Self::new(format!("ocean-{number}"), place, command, true)
    }

    /// An instance of the join.
    pub fn join(number: usize, url: &str) -> Self {
        let place = Place::new();
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.env(CHILD, format!("{url}|{}", place.path("data").display()));
        Self::new(format!("join-{number}"), place, command, false)
    }

    fn new(name: String, place: Place, command: Command, is_ocean: bool) -> Self {
        let mut instance = Self {
            name,
            place,
            command,
            child: None,
            is_ocean,
        };
        instance.start();
        instance
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it, unless it has done everything.
    pub fn start(&mut self) {
        if self.has_ended() {
            return;
        }
        let output = || {
            let mut options = OpenOptions::new();
            let file = options
                .create(true)
                .append(true)
                .open(self.place.path("said"));
            Stdio::from(file.expect("a file"))
        };
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output());
        self.child = Some(child.spawn().expect("it starts"));
    }

    /// Whether an instance of the example has fed, processed and written everything.
    fn has_ended(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return false;
        };
        let status = child.try_wait().expect("a child");
        self.is_ocean && status.is_some_and(|status| status.success())
    }

    /// Restarts it if it found no brokers at its start, as a supervisor would; panics if it has ended by itself in
    /// any other way.
    pub fn check(&mut self) {
        let ended = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().expect("a child"));
        let said = self.said();
        let last = said.lines().last().unwrap_or_default();
        if ended.is_some_and(|status| !status.success()) && last.contains("no broker answers") {
            println!("    {} found no broker; started again", self.name);
            self.child = None;
            return self.start();
        }
        if let Some(status) = ended
            && !(self.is_ocean && status.success())
        {
            eprintln!("{} has ended with {status}:\n{}", self.name, self.said());
            std::panic::panic_any(Inexcusable);
        }
    }

    /// The last lines of its output.
    fn said(&self) -> String {
        let said = fs::read_to_string(self.place.path("said")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            // One that has ended receives nothing.
            let _ = Command::new("kill")
                .arg(name)
                .arg(child.id().to_string())
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Like a crash.
    pub fn kill(&mut self) {
        if !self.has_ended()
            && let Some(mut child) = self.child.take()
        {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// With a clean shutdown.
    pub fn leave(&mut self) {
        self.signal("-TERM");
        if !self.has_ended()
            && let Some(mut child) = self.child.take()
        {
            child.wait().expect("gone");
        }
    }

    fn is_gone(&self) -> bool {
        self.child.is_none()
    }

    pub fn lose_state(&self) {
        if self.is_gone() {
            let _ = fs::remove_dir_all(self.place.path("data"));
        }
    }

    /// Cuts a file of the rows in half, or changes a byte of it.
    pub fn damage_state(&self, cuts: bool, random: u64) {
        if !self.is_gone() {
            return;
        }
        let mut files = Vec::new();
        find_rows(&self.place.path("data"), &mut files);
        files.sort();
        let Some(path) = files.get(random as usize % files.len().max(1)) else {
            return;
        };
        let mut bytes = fs::read(path).expect("readable");
        if bytes.is_empty() {
            return;
        }
        if cuts {
            let half = bytes.len() as u64 / 2;
            let file = OpenOptions::new().write(true).open(path);
            let cut = file.and_then(|file: File| file.set_len(half));
            cut.expect("cut");
        } else {
            let place = (random >> 20) as usize % bytes.len();
            bytes[place] ^= 0x10;
            fs::write(path, bytes).expect("written");
        }
    }

    /// Lets it end: the example by itself, the join because it is told to.
    pub fn end(&mut self, until: Instant) {
        if self.child.is_none() {
            self.start();
        }
        if !self.is_ocean {
            self.signal("-TERM");
        }
        loop {
            let child = self.child.as_mut().expect("it was started");
            match child.try_wait().expect("a child") {
                Some(status) if status.success() => return,
                Some(status) => panic!("{} has ended with {status}:\n{}", self.name, self.said()),
                None => assert!(
                    Instant::now() < until,
                    "{} does not end:\n{}",
                    self.name,
                    self.said()
                ),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// What an instance of the example has written.
    pub fn results(&self) -> Option<(String, String)> {
        self.is_ocean.then(|| self.place.results())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The tables and manifests of all tasks below a directory.
fn find_rows(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            find_rows(&path, files);
        } else if name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT" {
            files.push(path);
        }
    }
}
