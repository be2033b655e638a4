//! Which files may name which third-party crate, and where memory may be unsafe.

use crate::code::{self, Token};
use crate::tree::{File, Finding};

/// A crate, and the prefixes of the paths that may name it.
struct Vendor {
    name: &'static str,
    /// Where it may not be named, except in `allowed`.
    scope: &'static str,
    allowed: &'static [&'static str],
    /// Whether the tests of the scope may name it too.
    tests: bool,
}

const VENDORS: &[Vendor] = &[
    Vendor {
        name: "rocksdb",
        scope: "",
        allowed: &["src/disk/"],
        tests: false,
    },
    // The tests of the Kafka backend play the other side.
    Vendor {
        name: "rdkafka",
        scope: "",
        allowed: &[
            "src/log/kafka/",
            "tests/kafka/",
            "benches/end_to_end/bare.rs",
            "benches/end_to_end/written.rs",
        ],
        tests: false,
    },
    // The limit on open files.
    Vendor {
        name: "rlimit",
        scope: "",
        allowed: &["src/disk/files.rs"],
        tests: false,
    },
    // Optional, and no longer maintained.
    Vendor {
        name: "bincode",
        scope: "",
        allowed: &["src/codec/bincode.rs"],
        tests: false,
    },
    // `describe` writes a topology as JSON, and `change` what a start finds, for dashboards; the admin endpoint
    // writes the rest. Tests read their vectors with it.
    Vendor {
        name: "serde_json",
        scope: "src/",
        allowed: &[
            "src/codec/json.rs",
            "src/topology/describe.rs",
            "src/runtime/change/text.rs",
            "src/admin/",
        ],
        tests: true,
    },
    Vendor {
        name: "axum",
        scope: "",
        allowed: &["src/admin/", "tests/admin/", "topologies/"],
        tests: false,
    },
    Vendor {
        name: "hyper",
        scope: "",
        allowed: &["src/admin/", "topologies/"],
        tests: false,
    },
    Vendor {
        name: "tower_http",
        scope: "",
        allowed: &["topologies/"],
        tests: false,
    },
    Vendor {
        name: "reqwest",
        scope: "",
        allowed: &["topologies/"],
        tests: false,
    },
];

/// Where `unsafe` is allowed, and the maximum number of uses, which is the number of proofs to read.
const UNSAFE: &[(&str, usize)] = &[
    // A struct that refers to itself; the proof is beside it.
    ("src/disk/", 1),
    // A request for which the binding of Kafka's client has no call; the proof is beside it.
    ("src/log/kafka/convert.rs", 1),
    ("src/log/kafka/cluster/ends.rs", 1),
    ("src/log/kafka/cluster/members.rs", 1),
    ("src/log/kafka/tokens.rs", 1),
    ("src/log/kafka/cluster/topic_ids.rs", 1),
    // A global allocator that counts: the trait and its three methods are unsafe by their nature.
    ("tests/allocations.rs", 7),
    ("tests/memory/allocator.rs", 9),
];

/// Crates are named only where the table allows it.
pub fn confined(file: &File) -> Vec<Finding> {
    let masked = code::mask(&file.text);
    let tokens = code::tokens(&masked);
    let code_only = code::without_tests(&tokens);
    let mut findings = Vec::new();
    for vendor in VENDORS {
        let is_free = !file.path.starts_with(vendor.scope)
            || vendor
                .allowed
                .iter()
                .any(|start| file.path.starts_with(start))
            || (vendor.tests && file.is_test());
        if is_free {
            continue;
        }
        let tokens = if vendor.tests { &code_only } else { &tokens };
        for line in lines_that_name(tokens, vendor.name) {
            findings.push(file.finding(
                line,
                format!(
                    "crate `{}` is for {} only; go through what is there",
                    vendor.name,
                    vendor.allowed.join(", ")
                ),
            ));
        }
    }
    findings
}

/// The lines where a path starts with this crate. In a file with a module of the same name only a leading `::`
/// means the crate.
fn lines_that_name(tokens: &[Token<'_>], name: &str) -> Vec<usize> {
    let text = |at: Option<usize>| {
        at.and_then(|at| tokens.get(at))
            .map_or("", |token| token.text)
    };
    let shadowed = tokens
        .windows(2)
        .any(|pair| pair[0].text == "mod" && pair[1].text == name);
    let mut lines = Vec::new();
    for (at, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == name)
    {
        let before = text(at.checked_sub(1));
        let leading = before == "::"
            && at.checked_sub(2).is_none_or(|at| {
                let word = tokens[at];
                (!word.is_word() && word.text != ">")
                    || ["use", "return", "as", "in"].contains(&word.text)
            });
        let heads_path = text(Some(at + 1)) == "::" && before != "::";
        let imported =
            ["use", "crate"].contains(&before) && [";", "as", "{"].contains(&text(Some(at + 1)));
        if leading || (!shadowed && (heads_path || imported)) {
            lines.push(token.line);
        }
    }
    lines
}

/// `unsafe` is used only in the table's files, and not more often than was proved.
pub fn unsafe_blocks<'a>(files: impl Iterator<Item = &'a File>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut counts = vec![0; UNSAFE.len()];
    for file in files {
        let masked = code::mask(&file.text);
        for token in code::tokens(&masked)
            .iter()
            .filter(|token| token.text == "unsafe")
        {
            let place = UNSAFE
                .iter()
                .position(|(start, _)| file.path.starts_with(start));
            let Some(place) = place else {
                findings
                    .push(file.finding(token.line, "`unsafe` outside src/disk; write it safely"));
                continue;
            };
            counts[place] += 1;
            if counts[place] > UNSAFE[place].1 {
                findings.push(file.finding(
                    token.line,
                    format!(
                        "`unsafe` number {} in {}; go through the one that is proved",
                        counts[place], UNSAFE[place].0
                    ),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> usize {
        confined(&File::new(path, text)).len()
    }

    #[test]
    fn a_vendor_out_of_place_is_found() {
        for (path, text) in [
            ("src/state/a.rs", "use rocksdb::DB;"),
            (
                "src/state/a.rs",
                "#[cfg(test)] mod tests { use rocksdb::DB; }",
            ),
            ("benches/a.rs", "fn f(x: &::rocksdb::DB) {}"),
            ("src/log/a.rs", "use rdkafka;"),
            ("src/log/a.rs", "extern crate rdkafka as kafka;"),
            ("src/codec/mod.rs", "mod bincode; use ::bincode::config;"),
            ("src/codec/a.rs", "let x = bincode::config::standard();"),
            ("src/runtime/a.rs", "serde_json::json!({})"),
            ("src/runtime/a.rs", "use axum::Router;"),
        ] {
            assert_eq!(lines(path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_vendor_in_its_place_passes() {
        for (path, text) in [
            ("src/disk/a.rs", "use rocksdb::DB;"),
            (
                "src/state/a.rs",
                "// rocksdb::DB\nfn over_rocksdb(x: &str) { f(\"rocksdb::DB\") }",
            ),
            ("src/state/a.rs", "let rocksdb = 1; x.rocksdb = 2;"),
            (
                "src/codec/mod.rs",
                "mod bincode; pub use bincode::Bincode; use crate::codec::bincode::A;",
            ),
            ("src/codec/a.rs", "use super::bincode::Bincode;"),
            ("src/codec/bincode.rs", "use ::bincode::config;"),
            ("src/state/tests/a.rs", "use serde_json::Value;"),
            (
                "src/state/a.rs",
                "#[cfg(test)] mod tests { use serde_json::Value; }",
            ),
            (
                "topologies/ocean/src/http.rs",
                "use axum::Router; use serde_json::Value;",
            ),
        ] {
            assert_eq!(lines(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn unsafe_is_counted() {
        let once = File::new(
            "src/disk/a.rs",
            "#[expect(unsafe_code)] fn f() { unsafe { g() } } // unsafe",
        );
        let else_where = File::new("src/state/a.rs", "\nunsafe { g() }");
        assert!(unsafe_blocks([&once].into_iter()).is_empty());
        let found = unsafe_blocks([&once, &once, &else_where].into_iter());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].to_string().starts_with("src/state/a.rs:2: "));
    }
}
