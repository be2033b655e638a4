//! Which layer may import which: the architecture's arrows, in one table.

use std::collections::HashMap;

use crate::code::{self, Token};
use crate::paths::use_paths;
use crate::tree::{File, Finding, Tree};

/// What one layer may name of another.
enum Of {
    Everything,
    /// These items only; the comment beside them says why.
    Only(&'static [&'static str]),
}

use Of::{Everything, Only};

/// The layers in the reading order of `src/lib.rs`, lowest first, each with those it may import.
#[rustfmt::skip]
const LAYERS: &[(&str, &[(&str, Of)])] = &[
    ("base", &[]),
    ("disk", &[("base", Everything)]),
    ("codec", &[("base", Everything)]),
    // Formats in memory: what logs keep, and tasks read and write.
    ("batch", &[("base", Everything)]),
    // Does not know tasks.
    ("log", &[("base", Everything), ("disk", Everything), ("batch", Everything)]),
    // For any log: it knows the trait, but no backend.
    ("client", &[("base", Everything), ("codec", Everything), ("log", Everything)]),
    ("state", &[
        ("base", Everything), ("disk", Everything), ("codec", Everything),
        // The format of a changelog's records; reading and writing the topic is up to the runtime.
        ("batch", Only(&["RecordRef", "Records"])),
    ]),
    // No log, reader, or writer: a task returns its effects.
    ("task", &[("base", Everything), ("batch", Everything), ("state", Everything)]),
    // Neither this layer nor `plan` knows operators: they carry constructors, which come from `dsl`.
    ("topology", &[
        ("base", Everything), ("state", Everything), ("task", Everything),
        // The limit that applies if the log gives none.
        ("batch", Only(&["DEFAULT_MAX_RECORD_BYTES"])),
    ]),
    ("plan", &[("base", Everything), ("state", Everything), ("task", Everything), ("topology", Everything)]),
    ("dsl", &[
        ("base", Everything), ("codec", Everything), ("state", Everything), ("task", Everything),
        ("topology", Everything), ("plan", Everything),
        // What a source decodes.
        ("batch", Only(&["RecordRef"])),
    ]),
    // Runs a topology, whoever described it: no codec, operator, plan, or DSL.
    ("runtime", &[
        ("base", Everything), ("log", Everything), ("state", Everything), ("task", Everything),
        ("topology", Everything),
        // The memory that all tasks share; it is passed to the state, which opens the databases.
        ("disk", Only(&["Budget"])),
    ]),
    // Reads what tasks of any topology have committed.
    ("query", &[("base", Everything), ("codec", Everything), ("state", Everything), ("runtime", Everything)]),
    // Shows the snapshots of the runtime and the results of queries; uses the log for dead letters, changes of
    // stores and the addresses of instances.
    ("admin", &[
        ("base", Everything), ("codec", Everything), ("log", Everything), ("runtime", Everything),
        ("query", Everything),
        // What the keys of a changelog refer to.
        ("state", Only(&["StoreKind"])),
    ]),
    // Drives a topology, whoever described it.
    ("testing", &[
        ("base", Everything), ("codec", Everything), ("log", Everything), ("state", Everything),
        ("task", Everything), ("topology", Everything), ("runtime", Everything),
        // Stores by their types, as processors open them.
        ("dsl", Only(&["TypedStore"])),
        // As for the runtime.
        ("disk", Only(&["Budget"])),
    ]),
    // The names that a program needs, from wherever they are.
    ("prelude", &[
        ("base", Everything), ("codec", Everything), ("log", Everything), ("client", Everything),
        ("topology", Everything), ("dsl", Everything), ("runtime", Everything), ("testing", Everything),
    ]),
];

/// Panics if the table itself lets a layer import one above it.
pub fn table_points_down() {
    for (rank, (layer, allowed)) in LAYERS.iter().enumerate() {
        for (lower, _) in *allowed {
            let below = LAYERS[..rank].iter().any(|(name, _)| name == lower);
            assert!(
                below,
                "`{layer}` may import `{lower}`, which is not below it"
            );
        }
    }
}

/// `src/lib.rs` declares the layers of the table, in its order.
pub fn declared(library: &File) -> Vec<Finding> {
    let masked = code::mask(&library.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let modules: Vec<_> = (tokens.iter().zip(tokens.iter().skip(1)))
        .filter(|(keyword, _)| keyword.text == "mod")
        .map(|(_, name)| name)
        .collect();
    let mut findings = Vec::new();
    let mut ranks_before = 0;
    for module in &modules {
        match LAYERS.iter().position(|(name, _)| *name == module.text) {
            None => findings.push(library.finding(
                module.line,
                format!(
                    "layer `{}` has no rank; add it to LAYERS in tests/tidy/layers.rs",
                    module.text
                ),
            )),
            Some(rank) if rank < ranks_before => findings.push(library.finding(
                module.line,
                format!(
                    "layer `{}` stands above a lower one; declare the lowest first",
                    module.text
                ),
            )),
            Some(rank) => ranks_before = rank,
        }
    }
    for (layer, _) in LAYERS {
        if !modules.iter().any(|module| module.text == *layer) {
            findings.push(library.finding(
                1,
                format!(
                    "layer `{layer}` of LAYERS in tests/tidy/layers.rs is gone; remove its rank"
                ),
            ));
        }
    }
    findings
}

/// The layer of each name that the crate's root has besides its modules: what `lib.rs` re-exports, and the
/// exported macros.
pub fn roots(tree: &Tree) -> HashMap<String, String> {
    let mut roots = HashMap::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        let masked = code::mask(&file.text);
        let tokens = code::tokens(&masked);
        for at in 0..tokens.len() {
            let rest = &tokens[at..];
            if file.path == "src/lib.rs" && code::starts_with(rest, &["pub", "use"]) {
                for path in use_paths(&rest[2..])
                    .into_iter()
                    .filter(|path| path.len() > 1)
                {
                    roots.insert(path[path.len() - 1].to_owned(), path[0].to_owned());
                }
            } else if code::starts_with(rest, &["macro_rules", "!"])
                && let (Some(name), Some(layer)) = (rest.get(2), layer_of(&file.path))
            {
                roots.insert(name.text.to_owned(), layer.to_owned());
            }
        }
    }
    roots
}

/// The layer that a file of the library is in.
fn layer_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let layer = path.split('/').next()?.trim_end_matches(".rs");
    (!["bin", "lib", "main"].contains(&layer)).then_some(layer)
}

/// A name of another layer, in a file of the library.
struct Use {
    line: usize,
    /// Empty if the name belongs to no layer.
    target: String,
    item: String,
}

/// The names of other layers in a file, outside its tests.
fn uses(file: &File, layer: &str, roots: &HashMap<String, String>) -> Vec<Use> {
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let mut uses = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        for path in paths_from_root(file, &tokens, at) {
            let is_layer = LAYERS.iter().any(|(name, _)| *name == path[0]);
            let (target, item) = if is_layer {
                (path[0], path.get(1).copied().unwrap_or("*"))
            } else {
                (roots.get(path[0]).map_or("", String::as_str), path[0])
            };
            if target != layer {
                uses.push(Use {
                    line: token.line,
                    target: target.to_owned(),
                    item: item.to_owned(),
                });
            }
        }
    }
    uses
}

/// A file of the library uses only the names of other layers that the table allows.
pub fn imports(file: &File, roots: &HashMap<String, String>) -> Vec<Finding> {
    let Some(layer) = layer_of(&file.path).filter(|_| !file.is_test()) else {
        return Vec::new();
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        let message = format!(
            "`{layer}` is no layer; move the file, or add it to LAYERS in tests/tidy/layers.rs"
        );
        return vec![file.finding(1, message)];
    };
    let mut findings = climbs(file);
    for Use { line, target, item } in uses(file, layer, roots) {
        let message = match allowed.iter().find(|(name, _)| *name == target) {
            Some((_, Everything)) => continue,
            Some((_, Only(items))) if items.contains(&item.as_str()) => continue,
            Some((_, Only(items))) => format!(
                "`{layer}` may name of `{target}` only {}, and names `{item}`; let a layer above pass it in",
                items.join(", ")
            ),
            None if target.is_empty() => {
                format!("`crate::{item}` names no layer; write the layer out")
            }
            None => format!(
                "`{layer}` may not import `{target}`; move what it needs down, or let a layer above pass it in"
            ),
        };
        findings.push(file.finding(line, message));
    }
    findings
}

/// `super::super`, which could leave the layer unnoticed.
fn climbs(file: &File) -> Vec<Finding> {
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let climbs = |at: &usize| {
        code::starts_with(&tokens[*at..], &["super", "::"])
            && use_paths(&tokens[at + 2..])
                .iter()
                .any(|path| path[0] == "super")
    };
    let found = (0..tokens.len()).filter(climbs);
    found
        .map(|at| {
            file.finding(
                tokens[at].line,
                "`super::super` hides the layer; start from `crate::`",
            )
        })
        .collect()
}

/// Imports that the table allows but that no longer exist: a removed arrow must not come back unnoticed.
pub fn unused(tree: &Tree, roots: &HashMap<String, String>) -> Vec<Finding> {
    let mut made = Vec::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        if let Some(layer) = layer_of(&file.path) {
            let uses = uses(file, layer, roots).into_iter();
            made.extend(uses.map(|one| (layer, one.target, one.item)));
        }
    }
    let is_made = |layer: &str, target: &str, item: Option<&str>| {
        made.iter().any(|(from, to, what)| {
            *from == layer && to == target && item.is_none_or(|item| item == what)
        })
    };
    let mut findings = Vec::new();
    let mut report = |layer: &str, what: &str| {
        let message = format!("`{layer}` no longer names {what}; take it out of LAYERS");
        findings.push(File::new("tests/tidy/layers.rs", "").finding(1, message));
    };
    for (layer, allowed) in LAYERS {
        for (target, of) in *allowed {
            match of {
                Everything if !is_made(layer, target, None) => report(layer, target),
                Everything => {}
                Only(items) => {
                    for item in items
                        .iter()
                        .filter(|item| !is_made(layer, target, Some(item)))
                    {
                        report(layer, &format!("{target}::{item}"));
                    }
                }
            }
        }
    }
    findings
}

/// The paths below the crate's root that are named here: after `crate::`, and after the `super::` of a layer's own
/// `mod.rs` if a layer follows.
fn paths_from_root<'a>(file: &File, tokens: &[Token<'a>], at: usize) -> Vec<Vec<&'a str>> {
    let rest = &tokens[at..];
    // `pub(crate)` and `use crate;` name nothing.
    if code::starts_with(rest, &["crate", "::"]) {
        return use_paths(&rest[2..]);
    }
    let is_top = file.path.matches('/').count() == 2 && file.name() == "mod.rs";
    if is_top && code::starts_with(rest, &["super", "::"]) {
        let mut paths = use_paths(&rest[2..]);
        paths.retain(|path| LAYERS.iter().any(|(name, _)| *name == path[0]));
        return paths;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let roots = [("Error", "base"), ("log_conformance", "log")];
        let roots = roots
            .map(|(name, layer)| (name.to_owned(), layer.to_owned()))
            .into();
        let findings = imports(&File::new(path, text), &roots);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn an_import_from_above_is_found() {
        for (path, text) in [
            ("src/base/a.rs", "use crate::disk::Database;"),
            ("src/log/a.rs", "\nfn f(x: &crate::task::Step) {}"),
            (
                "src/log/a/b.rs",
                "use crate::{base::Error, state::{Store, Table}};",
            ),
            ("src/topology/a.rs", "use crate::dsl::Stream;"),
            ("src/topology/mod.rs", "use super::dsl::Stream;"),
            ("src/plan/a.rs", "use crate::dsl::Change;"),
            ("src/runtime/a.rs", "use crate::{ plan :: Graph };"),
            ("src/base/a.rs", "use $crate::log_conformance;"),
            ("src/base/a.rs", "use crate::*;"),
            ("src/base/a.rs", "use crate::Unknown;"),
            ("src/new/a.rs", ""),
            ("src/new.rs", ""),
        ] {
            assert_ne!(messages(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn an_item_that_is_not_for_this_layer_is_found() {
        assert!(messages("src/state/a.rs", "use crate::batch::{RecordRef, Records};").is_empty());
        let findings = messages("src/state/a.rs", "\nuse crate::batch::{Records, Batch};");
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("src/state/a.rs:2: "),
            "{}",
            findings[0]
        );
        assert!(findings[0].contains("names `Batch`;"), "{}", findings[0]);
        for text in [
            "use crate::batch;",
            "use crate::batch::*;",
            "use crate::batch::{self, Records};",
        ] {
            assert_eq!(messages("src/state/a.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn an_import_from_below_passes() {
        for (path, text) in [
            (
                "src/log/a.rs",
                "use crate::base::{Error, ErrorKind}; use crate::log::Log;",
            ),
            (
                "src/log/a.rs",
                "crate::log_conformance!(x); use crate::Error; pub(crate) fn f() {}",
            ),
            (
                "src/log/a.rs",
                "/// [`crate::task`] // crate::task\nconst A: &str = \"crate::task\";",
            ),
            (
                "src/log/a.rs",
                "#[cfg(test)] mod tests { use crate::testing::Driver; }",
            ),
            (
                "src/log/a/tests/b.rs",
                "use crate::testing::Driver; use super::super::c;",
            ),
            ("src/log/mod.rs", "use super::base::Error;"),
            ("src/log/a/mod.rs", "use super::task;"),
            ("src/testing/a.rs", "use crate::runtime::Application;"),
            ("src/lib.rs", "pub use crate::dsl::Stream;"),
            ("src/bin/marea/main.rs", "use crate::args;"),
            ("tests/it/main.rs", "use crate::anything;"),
        ] {
            assert_eq!(messages(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_way_round_the_layers_is_found() {
        for text in ["use super::super::task;", "use super::{super::task, a};"] {
            assert_eq!(messages("src/log/a.rs", text).len(), 1, "{text}");
        }
        assert_eq!(messages("src/log/a.rs", "use super::{a, b::c};"), [""; 0]);
    }

    #[test]
    fn an_arrow_that_is_gone_is_found() {
        let only = File::new("src/disk/a.rs", "use crate::base::Error;");
        let found = unused(&Tree::of(vec![only]), &HashMap::new());
        let lines: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert!(
            lines
                .iter()
                .any(|line| line.contains("`codec` no longer names base;")),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("`state` no longer names batch::Records;"))
        );
        assert!(!lines.iter().any(|line| line.contains("`disk`")));
    }

    #[test]
    fn the_library_declares_its_layers_lowest_first() {
        let all = |swap: bool| {
            let mut names: Vec<_> = LAYERS.iter().map(|(name, _)| *name).collect();
            if swap {
                names.swap(3, 5);
            }
            let lines = names.iter().map(|name| format!("pub mod {name};\n"));
            declared(&File::new("src/lib.rs", &lines.collect::<String>()))
        };
        assert!(all(false).is_empty());
        assert!(!all(true).is_empty());
        let unknown = declared(&File::new("src/lib.rs", "pub mod base;\npub mod util;"));
        assert!(
            unknown[0]
                .to_string()
                .starts_with("src/lib.rs:2: layer `util` has no rank")
        );
        assert_eq!(unknown.len(), LAYERS.len(), "{unknown:?}");
    }

    #[test]
    fn names_of_the_root_belong_to_a_layer() {
        let found = roots(&Tree::of(vec![
            File::new("src/lib.rs", "pub use base::{Error, Result as R};"),
            File::new(
                "src/log/conformance/mod.rs",
                "macro_rules! log_conformance { () => {} }",
            ),
        ]));
        assert_eq!(found["Error"], "base");
        assert_eq!(found["log_conformance"], "log");
    }
}
