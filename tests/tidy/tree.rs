//! The repository's files, and the findings of rules.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::code;

/// One line of a report.
#[derive(Debug)]
pub struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A file that holds text.
#[derive(Debug)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
    pub executable: bool,
}

impl File {
    /// A file that exists only in a rule's own test.
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            executable: false,
        }
    }

    /// `line` counts from 1; `message` is `what is wrong; what to do`.
    pub fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }

    /// The name without its folder.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// A file that contains only tests; tests at the end of a file are cut off by [`code::without_tests`].
    pub fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "benches")
            || self.name() == "tests.rs"
    }
}

/// All files that belong to the repository.
#[derive(Debug, Default)]
pub struct Tree {
    files: Vec<File>,
    /// Every path, including those of folders and of files that are not text.
    paths: HashSet<String>,
    /// Every function of the sources.
    functions: HashSet<String>,
}

impl Tree {
    /// Reads the repository this test was built for. Cargo also sets the variable at run time, so the same binary
    /// can check another checkout.
    pub fn read() -> Self {
        let root =
            std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").to_owned());
        let root = PathBuf::from(root);
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let mut tree = Self::default();
        tree.walk(&root, "", &ignored);
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        tree.count_functions();
        tree
    }

    /// A tree that exists only in a rule's own test.
    pub fn of(files: Vec<File>) -> Self {
        let mut tree = Self {
            paths: files.iter().map(|file| file.path.clone()).collect(),
            files,
            functions: HashSet::new(),
        };
        tree.count_functions();
        tree
    }

    fn walk(&mut self, folder: &Path, prefix: &str, ignored: &str) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().expect("a known type");
            if is_ignored(&path, ignored) || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"), ignored);
            } else if let Ok(text) =
                String::from_utf8(fs::read(entry.path()).expect("a readable file"))
            {
                let executable = is_executable(&entry.path());
                self.files.push(File {
                    path: path.clone(),
                    text,
                    executable,
                });
            }
            self.paths.insert(path);
        }
    }

    fn count_functions(&mut self) {
        for file in self.files.iter().filter(|file| file.is_rust()) {
            let masked = code::mask(&file.text);
            let tokens = code::tokens(&masked);
            let names = tokens.windows(2).filter(|pair| pair[0].text == "fn");
            self.functions
                .extend(names.map(|pair| pair[1].text.to_owned()));
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub fn file(&self, path: &str) -> &File {
        self.find(path).expect("a file of this repository")
    }

    /// Whether this is a file or folder of the repository; `""` is its root.
    pub fn has_path(&self, path: &str) -> bool {
        path.is_empty() || self.paths.contains(path)
    }

    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Whether any function's name has this start and this end.
    pub fn has_function_like(&self, start: &str, end: &str) -> bool {
        self.functions
            .iter()
            .any(|name| name.starts_with(start) && name.ends_with(end))
    }
}

/// The path from the root that a link or an attribute refers to; none if it leaves the repository.
pub fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a path from the root is git's own or matches a line of `.gitignore`, of which the forms `/name`, `name`
/// and `*.ending` are known.
fn is_ignored(path: &str, ignored: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == ".git"
        || name == "target"
        || ignored.lines().map(str::trim).any(|line| {
            let line = line.trim_end_matches('/');
            match (line.strip_prefix('/'), line.strip_prefix('*')) {
                (Some(rooted), _) => path == rooted,
                (_, Some(ending)) => !ending.is_empty() && name.ends_with(ending),
                _ => name == line,
            }
        })
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Elsewhere files have no such permission.
#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}

#[test]
fn what_git_ignores_is_not_read() {
    let ignored = "/target\n/data\n*.profraw\n";
    for path in [
        ".git",
        "target",
        "topologies/ocean/target",
        "data",
        "a/b.profraw",
    ] {
        assert!(is_ignored(path, ignored), "{path}");
    }
    for path in ["src/data", "a/profraw", ".github", ".gitignore", "src"] {
        assert!(!is_ignored(path, ignored), "{path}");
    }
}

#[test]
fn this_repository_is_read() {
    let tree = Tree::read();
    assert!(tree.find("src/lib.rs").is_some_and(|file| !file.is_test()));
    assert!(tree.find("tests/tidy.rs").is_some_and(File::is_test));
    assert!(tree.has_path("src/base"));
    assert!(tree.has_function("this_repository_is_read"));
    assert!(tree.all().all(|file| !file.path.starts_with("target/")));
}
