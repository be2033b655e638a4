//! The rules of this repository that a machine can check: layers, vendors, banned calls, names, sizes, links,
//! goldens. Each finding is one line: `path:line: what is wrong; what to do`.
//!
//! ```text
//!  tree       the files, and what a finding is
//!  code       comments and strings masked, tests cut off, tokens;  paths  what `use` trees name
//!  homes      the modules that paths lead to, through imports
//!  layers circles modules vendors calls names links promises machines goldens scripts surface     a rule, or a few akin, in each
//! ```
//!
//! A rule is a function from a path and a text to findings, so each has its own tests below it: a violation that
//! it must find, and the correct line beside it that it must accept. A rule's exceptions are in a table at the top
//! of its file, each with its reason.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "tidy/tree.rs"]
mod tree;

#[path = "tidy/code.rs"]
mod code;

#[path = "tidy/paths.rs"]
mod paths;

#[path = "tidy/homes.rs"]
mod homes;

#[path = "tidy/layers.rs"]
mod layers;

#[path = "tidy/circles.rs"]
mod circles;

#[path = "tidy/modules.rs"]
mod modules;

#[path = "tidy/vendors.rs"]
mod vendors;

#[path = "tidy/calls.rs"]
mod calls;

#[path = "tidy/names.rs"]
mod names;

#[path = "tidy/links.rs"]
mod links;

#[path = "tidy/promises.rs"]
mod promises;

#[path = "tidy/machines.rs"]
mod machines;

#[path = "tidy/goldens.rs"]
mod goldens;

#[path = "tidy/scripts.rs"]
mod scripts;

#[path = "tidy/surface.rs"]
mod surface;

use tree::{File, Finding, Tree};

/// Fails with all findings of a rule over the given files.
fn hold(
    files: impl Iterator<Item = impl std::borrow::Borrow<File>>,
    rule: impl Fn(&File) -> Vec<Finding>,
) {
    fail_on(files.flat_map(|file| rule(file.borrow())).collect());
}

fn fail_on(findings: Vec<Finding>) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} findings:\n{}\n",
        lines.len(),
        lines.join("\n")
    );
}

#[test]
fn layers_are_declared_in_the_order_of_their_ranks() {
    let tree = Tree::read();
    fail_on(layers::declared(tree.file("src/lib.rs")));
    layers::table_points_down();
}

#[test]
fn imports_point_down() {
    let tree = Tree::read();
    let roots = layers::roots(&tree);
    hold(tree.rust(), |file| layers::imports(file, &roots));
}

#[test]
fn arrows_that_are_gone_are_not_allowed() {
    let tree = Tree::read();
    fail_on(layers::unused(&tree, &layers::roots(&tree)));
}

#[test]
fn files_do_not_name_each_other_in_circles() {
    fail_on(circles::circles(&Tree::read()));
}

#[test]
fn every_file_is_compiled() {
    let tree = Tree::read();
    hold(tree.rust(), |file| modules::declared(file, &tree));
}

#[test]
fn vendors_are_confined() {
    hold(Tree::read().rust(), vendors::confined);
}

#[test]
fn unsafe_code_is_where_its_proof_is() {
    fail_on(vendors::unsafe_blocks(Tree::read().rust()));
}

#[test]
fn banned_calls_are_not_made() {
    hold(Tree::read().rust(), calls::banned);
}

#[test]
fn names_say_what_things_are() {
    let tree = Tree::read();
    hold(tree.rust(), names::types);
    hold(tree.all(), names::files);
}

#[test]
fn files_are_short() {
    hold(Tree::read().rust(), names::too_long);
}

#[test]
fn links_lead_somewhere() {
    let tree = Tree::read();
    hold(tree.all(), |file| links::relative(file, &tree));
}

#[test]
fn files_named_in_documents_are_there() {
    let tree = Tree::read();
    hold(tree.all(), |file| promises::files(file, &tree));
}

#[test]
fn no_machine_is_named() {
    hold(Tree::read().all(), machines::named);
}

#[test]
fn guarantees_name_tests_that_exist() {
    let tree = Tree::read();
    // Strict from the day when the document exists.
    if let Some(file) = tree.find("docs/guarantees.md") {
        fail_on(promises::guarantees(file, &tree));
    }
}

#[test]
fn goldens_are_read_by_a_test() {
    let tree = Tree::read();
    hold(tree.all(), |file| goldens::in_use(file, &tree));
}

#[test]
fn conformance_vectors_are_json() {
    hold(Tree::read().all(), goldens::vectors);
}

#[test]
fn scripts_run_and_stop_at_the_first_error() {
    hold(Tree::read().all(), scripts::runnable);
}

/// A name that is added, renamed or lost shows as a line of a diff. `UPDATE_GOLDENS=1` rewrites the file.
#[test]
fn public_items_are_those_of_the_golden() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").to_owned());
    let path = std::path::Path::new(&root).join("tests/goldens/public_items.txt");
    let items: String = (surface::public_items(&Tree::read()).iter())
        .map(|item| format!("{item}\n"))
        .collect();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &items).expect("the golden can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| {
        text.lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (before, now) = (lines(&golden), lines(&items));
    let gone: Vec<_> = before.difference(&now).collect();
    let new: Vec<_> = now.difference(&before).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "the public items changed; if that is wanted, say so in CHANGELOG.md and run with UPDATE_GOLDENS=1\n\
         gone: {gone:#?}\nnew: {new:#?}"
    );
}

#[test]
fn the_guide_prints_the_examples() {
    let tree = Tree::read();
    let guide = &tree.file("docs/guide.md").text;
    for program in ["word_count", "revenue", "ocean"] {
        let source = &tree.file(&format!("examples/{program}.rs")).text;
        assert!(
            guide.contains(&format!("```rust\n{source}```\n")),
            "docs/guide.md does not print examples/{program}.rs as it is; copy it there"
        );
    }
}
