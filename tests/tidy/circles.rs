//! No import cycles in any folder of a crate: a file can be understood once the files that it names are known.
//!
//! Seen from outside, a module and its submodules are one thing in several files: what any of them names, the
//! module names. What they name of each other is not part of a cycle. A name that a module imports counts as that of
//! the file it is in: two files that name each other by way of their `mod.rs` name each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::code;
use crate::homes::{self, Homes, Module};
use crate::tree::{File, Finding, Tree};

/// What names what in one folder.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The cycles of all crates, one finding each.
pub fn circles(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        if let Some((root, _)) = split(&file.path) {
            crates.entry(root).or_default().push(file);
        }
    }
    let globs = crates
        .values()
        .flatten()
        .flat_map(|file| globs_of_ancestors(file));
    let found = crates.values().flat_map(|files| circles_of(files));
    let found = found.map(|(file, members)| {
        let message = format!(
            "{} name each other; move what they share into a file of its own, or below one of them",
            members.join(", ")
        );
        file.finding(1, message)
    });
    globs.chain(found).collect()
}

/// `use super::*` outside tests: what a file names by way of it cannot be seen here.
fn globs_of_ancestors(file: &File) -> Option<Finding> {
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let paths = homes::paths(&tokens);
    let is_glob = |path: &Vec<&str>| match path.split_last() {
        Some((&"*", above)) => above.iter().all(|part| *part == "super"),
        _ => false,
    };
    let message = "imports all of a folder above it by `super::*`; name what it uses";
    paths.iter().any(is_glob).then(|| file.finding(1, message))
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

/// The first file of each cycle of a crate, with the names of its members.
fn circles_of<'a>(files: &[&'a File]) -> Vec<(&'a File, Vec<String>)> {
    let modules: BTreeMap<Module, &File> = files
        .iter()
        .map(|file| (module_of(&file.path), *file))
        .collect();
    let mut homes = Homes::default();
    let mut paths = BTreeMap::new();
    let masked: Vec<_> = files.iter().map(|file| code::mask(&file.text)).collect();
    for (file, masked) in files.iter().zip(&masked) {
        let tokens = code::without_tests(&code::tokens(masked));
        homes.add(module_of(&file.path), &tokens);
        paths.insert(module_of(&file.path), homes::paths(&tokens));
    }
    let mut folders: BTreeMap<&[String], Graph> = BTreeMap::new();
    for module in modules.keys() {
        for other in named(module, &paths[module], &homes) {
            let pairs = module.iter().zip(&other);
            let depth = pairs.take_while(|(part, other)| part == other).count();
            let graph = folders.entry(&module[..depth]).or_default();
            let part = graph.entry(module[..=depth].to_vec()).or_default();
            part.insert(other[..=depth].to_vec());
        }
    }
    let mut circles = Vec::new();
    for members in folders.values().flat_map(circles_in) {
        let of_first = |(module, _): &(&Module, &&'a File)| module.starts_with(&members[0]);
        let first = modules.iter().find(of_first);
        let names = members.iter().map(|member| member.join("::")).collect();
        circles.extend(first.map(|(_, file)| (*file, names)));
    }
    circles
}

/// The members of each cycle.
fn circles_in(graph: &Graph) -> Vec<Vec<Module>> {
    let from = |start: &Module| {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut next: Vec<&Module> = graph[start].iter().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let all: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, from(module))).collect();
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for (module, reached) in &all {
        if !reached.contains(module) || told.contains(module) {
            continue;
        }
        let is_member = |other: &&&Module| all.get(*other).is_some_and(|all| all.contains(module));
        let members: Vec<&Module> = reached.iter().filter(is_member).copied().collect();
        told.extend(members.iter().copied());
        circles.push(members.into_iter().cloned().collect());
    }
    circles
}

/// The modules whose items a module names, without those above and below it.
fn named(module: &Module, paths: &[Vec<&str>], homes: &Homes) -> BTreeSet<Module> {
    let named = paths.iter().map(|path| homes.home(module, path));
    named
        .filter(|other| !other.starts_with(module) && !module.starts_with(other))
        .collect()
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
    fn a_glob_of_the_folder_above_is_found_outside_tests() {
        let glob = found(&[
            ("src/a/mod.rs", "mod one;"),
            ("src/a/one.rs", "use super::*;"),
        ]);
        assert_eq!(glob.len(), 1, "{glob:?}");
        assert!(glob[0].contains("super::*"), "{glob:?}");
        let tests = "fn f() {} #[cfg(test)] mod tests { use super::*; }";
        let below = "mod one; pub use one::*;";
        assert!(found(&[("src/a/mod.rs", below), ("src/a/one.rs", tests)]).is_empty());
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
    fn a_circle_by_way_of_the_module_above_is_found() {
        for one in [
            "use super::B;",
            "use crate::a::B;",
            "use crate::a; fn f(b: &a::B) {}",
            "use super::B as Other;",
            "fn f(b: &super::B) {}",
        ] {
            for module in [
                "mod one; mod two; pub use one::A; pub use two::B;",
                "pub use self::{one::A, two::B};",
                "pub(crate) use one::*; use two::*;",
                "pub use crate::a::{one::*, two::B};",
            ] {
                let found = found(&[
                    ("src/lib.rs", "pub mod a; pub use a::A;"),
                    ("src/a/mod.rs", module),
                    ("src/a/one.rs", &format!("{one} pub struct A;")),
                    ("src/a/two.rs", "use crate::A; pub struct B;"),
                ]);
                let [finding] = &found[..] else {
                    panic!("{one} {module} {found:?}");
                };
                assert!(
                    finding.contains("a::one, a::two name each other"),
                    "{finding}"
                );
            }
        }
    }

    #[test]
    fn files_that_only_share_their_parent_are_not_a_circle() {
        let found = found(&[
            ("src/lib.rs", "mod a; mod b;"),
            (
                "src/a/mod.rs",
                "mod one; mod two; use std::sync::Arc; pub use crate::b::C; pub use one::A; pub struct Own;",
            ),
            ("src/a/one.rs", "use super::{Arc, C, Own}; pub struct A;"),
            ("src/a/two.rs", "use super::{A, Arc, C, Own};"),
            ("src/b.rs", "pub struct C;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_folder_is_one_thing_from_outside() {
        let through_a_folder = found(&[
            ("src/a/one/mod.rs", ""),
            ("src/a/one/x.rs", "use crate::a::two::B;"),
            ("src/a/one/y.rs", ""),
            ("src/a/two.rs", "use super::one::y::C;"),
        ]);
        let [finding] = &through_a_folder[..] else {
            panic!("{through_a_folder:?}");
        };
        assert!(
            finding.contains("a::one, a::two name each other"),
            "{finding}"
        );
        let inside_of_it = found(&[
            ("src/a/one/mod.rs", ""),
            ("src/a/one/x.rs", "use super::y::C;"),
            ("src/a/one/y.rs", "use super::x::B;"),
            ("src/a/two.rs", "use super::one::y::C;"),
        ]);
        let [finding] = &inside_of_it[..] else {
            panic!("{inside_of_it:?}");
        };
        assert!(
            finding.contains("a::one::x, a::one::y name each other"),
            "{finding}"
        );
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
