//! No import cycles among the files of a crate: a file can be understood once the files that it names are known.
//!
//! A module and its submodules are one thing in several files, so what they name of each other is not part of a
//! cycle.

use std::collections::{BTreeMap, BTreeSet};

use crate::code;
use crate::paths::use_paths;
use crate::tree::{File, Finding, Tree};

/// Files that still name each other, by the prefix of their paths.
const OPEN: &[&str] = &["src/runtime/"];

/// A module's path from the root of its crate.
type Module = Vec<String>;

/// The cycles of all crates, one finding each.
pub fn circles(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        if let Some((root, _)) = split(&file.path) {
            crates.entry(root).or_default().push(file);
        }
    }
    let found = crates.values().flat_map(|files| circles_of(files));
    found
        .filter(|(file, _)| !OPEN.iter().any(|open| file.path.starts_with(open)))
        .map(|(file, members)| {
            let message = format!(
                "{} name each other; move what they share into a file of its own, or below one of them",
                members.join(", ")
            );
            file.finding(1, message)
        })
        .collect()
}

/// The folder of a crate's sources, and the path of a file in it.
fn split(path: &str) -> Option<(&str, &str)> {
    let at = path.find("src/")?;
    (at == 0 || path[..at].ends_with('/')).then(|| path.split_at(at + 4))
}

fn module_of(path: &str) -> Module {
    let (_, inside) = split(path).unwrap_or(("", path));
    let mut parts: Module = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

/// The first file of each cycle, with the names of its members.
fn circles_of<'a>(files: &[&'a File]) -> Vec<(&'a File, Vec<String>)> {
    let modules: BTreeMap<Module, &File> = files
        .iter()
        .map(|file| (module_of(&file.path), *file))
        .collect();
    let reached: BTreeMap<&Module, BTreeSet<Module>> = modules
        .iter()
        .map(|(module, file)| (module, named(module, file, &modules)))
        .collect();
    let from = |start: &Module| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<Module> = reached[start].iter().cloned().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(reached[&module].iter().cloned());
            }
        }
        seen
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> = modules
        .keys()
        .map(|module| (module, from(module)))
        .collect();
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for (module, file) in &modules {
        if !all[module].contains(module) || told.contains(module) {
            continue;
        }
        let members: Vec<Module> = all[module]
            .iter()
            .filter(|other| all[other].contains(module))
            .cloned()
            .collect();
        told.extend(members.iter().cloned());
        circles.push((
            *file,
            members.iter().map(|member| member.join("::")).collect(),
        ));
    }
    circles
}

/// The modules that a file names, without those above and below it.
fn named(module: &Module, file: &File, modules: &BTreeMap<Module, &File>) -> BTreeSet<Module> {
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let mut named = BTreeSet::new();
    for at in 0..tokens.len() {
        let base = match tokens[at].text {
            "crate" => &module[..0],
            "self" => &module[..],
            "super" if !module.is_empty() => &module[..module.len() - 1],
            _ => continue,
        };
        if !code::starts_with(&tokens[at + 1..], &["::"]) {
            continue;
        }
        for path in use_paths(&tokens[at + 2..]) {
            let mut full: Module = base.to_vec();
            full.extend(path.iter().map(|part| (*part).to_owned()));
            while !modules.contains_key(&full) && full.pop().is_some() {}
            let is_kin = full.starts_with(module) || module.starts_with(&full);
            if !is_kin && modules.contains_key(&full) {
                named.insert(full);
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| File::new(path, text));
        let findings = circles(&Tree::of(files.collect()));
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn files_that_name_each_other_are_found() {
        let two = found(&[
            ("src/a/one.rs", "use super::two::B;"),
            ("src/a/two.rs", "fn f(a: &crate::a::one::A) {}"),
        ]);
        assert_eq!(two.len(), 1, "{two:?}");
        assert!(two[0].contains("a::one, a::two name each other"), "{two:?}");
        let three = found(&[
            ("topologies/t/src/a.rs", "use crate::b::{B, C};"),
            ("topologies/t/src/b/mod.rs", "use crate::c::C;"),
            ("topologies/t/src/c.rs", "use crate::{a::A};"),
        ]);
        assert_eq!(three.len(), 1, "{three:?}");
    }

    #[test]
    fn what_only_looks_like_one_passes() {
        for files in [
            // Only one direction.
            [("src/a/one.rs", "use super::two::B;"), ("src/a/two.rs", "")],
            // A module and its child.
            [
                ("src/a/mod.rs", "use self::one::A;"),
                ("src/a/one.rs", "use super::B;"),
            ],
            // Tests may import anything.
            [
                ("src/a/one.rs", "use super::two::B;"),
                (
                    "src/a/two.rs",
                    "#[cfg(test)]\nmod tests { use crate::a::one::A; }",
                ),
            ],
        ] {
            let found = found(&files);
            assert!(found.is_empty(), "{found:?}");
        }
    }
}
