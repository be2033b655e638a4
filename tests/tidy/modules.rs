//! Every file of code is compiled: a leftover half of a split file would look as if it were in use.

use crate::code;
use crate::tree::{self, File, Finding, Tree};

/// A file is the root of a crate, or a module declared by a file beside or above it.
pub fn declared(file: &File, tree: &Tree) -> Vec<Finding> {
    if is_crate_root(&file.path) {
        return Vec::new();
    }
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    // `a/b/mod.rs` is module `b`, declared in `a`, or in `a.rs`.
    let (folder, module) = match name {
        "mod.rs" => folder.rsplit_once('/').unwrap_or(("", folder)),
        _ => (folder, name.trim_end_matches(".rs")),
    };
    let above = format!("{folder}.rs");
    let is_declared = tree.rust().any(|other| {
        let beside = other.path.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
        let declares = (beside || other.path == above) && declares(other, module);
        declares || points_to(other, &file.path)
    });
    // Programs that a test compiles to check the compiler's errors.
    let is_data = || {
        tree.rust()
            .any(|other| other.text.contains(&format!("\"{folder}/*.rs\"")))
    };
    if is_declared || is_data() {
        return Vec::new();
    }
    vec![file.finding(
        1,
        format!(
            "no file declares `mod {module}`, so that nothing compiles it; declare or remove it"
        ),
    )]
}

fn declares(file: &File, module: &str) -> bool {
    let masked = code::mask(&file.text);
    let tokens = code::tokens(&masked);
    tokens
        .windows(3)
        .any(|three| code::starts_with(three, &["mod", module, ";"]))
}

/// Whether an attribute `#[path]` names that file.
fn points_to(file: &File, path: &str) -> bool {
    let attributes = file
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \""));
    attributes
        .filter_map(|rest| rest.split('"').next())
        .any(|link| tree::resolve(&file.path, link).as_deref() == Some(path))
}

/// The places where cargo looks for crates by default.
fn is_crate_root(path: &str) -> bool {
    // `topologies/ocean/src/lib.rs` is one, like `src/lib.rs`.
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [.., "src", "lib.rs" | "main.rs"] | [.., "build.rs"] => true,
        [.., "tests" | "benches" | "examples" | "bin", _, "main.rs"] => true,
        // A folder of unit tests below `src` has no crates.
        [.., parent, "tests" | "benches" | "examples", _] => {
            parent != "src" && !parts.contains(&"src")
        }
        ["tests" | "benches" | "examples", _] | [.., "src", "bin", _] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nothing_declares_are_found() {
        let tree = Tree::of(vec![
            File::new("src/lib.rs", "pub mod a; // mod gone;"),
            File::new("src/a/mod.rs", "mod b;\n#[cfg(test)] mod tests;"),
            File::new("benches/x.rs", "#[path = \"y/part.rs\"]\nmod part;"),
            File::new(
                "tests/compile.rs",
                "cases.compile_fail(\"tests/refused/*.rs\");",
            ),
        ]);
        let count = |path: &str| declared(&File::new(path, ""), &tree).len();
        for path in [
            "src/lib.rs",
            "src/a/mod.rs",
            "src/a.rs",
            "src/a/b.rs",
            "src/a/b/mod.rs",
            "src/a/tests.rs",
            "benches/x.rs",
            "benches/y/part.rs",
            "tests/it/main.rs",
            "tests/refused/a.rs",
            "src/bin/marea/main.rs",
            "topologies/ocean/src/main.rs",
            "topologies/ocean/tests/a.rs",
            "examples/a.rs",
            "build.rs",
        ] {
            assert_eq!(count(path), 0, "{path}");
        }
        for path in [
            "src/gone.rs",
            "src/a/gone.rs",
            "src/a/gone/mod.rs",
            "src/a/tests/gone.rs",
            "benches/x/gone.rs",
            "tests/it/gone.rs",
            "topologies/ocean/src/gone.rs",
        ] {
            assert_eq!(count(path), 1, "{path}");
        }
    }
}
