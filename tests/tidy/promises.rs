//! What documents claim to exist: tests that prove a guarantee, files, and what is in them.

use crate::code;
use crate::links;
use crate::tree::{File, Finding, Tree};

/// In tables with a column of tests, each name in back-ticks is that of a function, a conformance vector, or a
/// file. It may be qualified (`crash.rs::name`, `crash::name`), or contain a `*`; text in parentheses is a remark.
pub fn guarantees(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut columns: Option<Vec<usize>> = None;
    let mut named = 0;
    for (index, line) in file.text.lines().enumerate() {
        let Some(row) = line.trim().strip_prefix('|') else {
            columns = None;
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        let Some(columns) = &columns else {
            let is_tests = |cell: &str| {
                let mut words = cell.split(|c: char| !c.is_alphabetic());
                words.any(|word| ["test", "tests"].contains(&word.to_lowercase().as_str()))
            };
            columns = Some((0..cells.len()).filter(|&at| is_tests(cells[at])).collect());
            continue;
        };
        for cell in columns.iter().filter_map(|&at| cells.get(at)) {
            for name in without_remarks(cell).split('`').skip(1).step_by(2) {
                named += 1;
                if !is_test_of(name, tree) {
                    findings.push(file.finding(
                        index + 1,
                        format!("no test is called `{name}`; correct the name, or write the test"),
                    ));
                }
            }
        }
    }
    if named == 0 {
        findings.push(file.finding(
            1,
            "names no test; put them in a column headed `test`, in back-ticks",
        ));
    }
    findings
}

/// The text outside parentheses, where remarks are; parentheses in back-ticks are no remarks.
fn without_remarks(cell: &str) -> String {
    let (mut depth, mut quoted) = (0, false);
    let mut kept = String::new();
    for c in cell.chars() {
        quoted ^= c == '`';
        depth += i32::from(c == '(' && !quoted);
        if depth <= 0 {
            kept.push(c);
        }
        depth -= i32::from(c == ')' && !quoted);
    }
    kept
}

fn is_test_of(name: &str, tree: &Tree) -> bool {
    // A command to run does not contain names of tests.
    if name.contains(' ') {
        return true;
    }
    if name.contains('/') || name.contains(".rs") {
        return exists(name, tree);
    }
    let function = name
        .rsplit("::")
        .next()
        .unwrap_or(name)
        .trim_end_matches("()");
    match function.split_once('*') {
        Some((start, end)) => tree.has_function_like(start, end),
        None => {
            tree.has_function(function)
                || tree.has_path(&format!("tests/conformance/{function}.json"))
        }
    }
}

/// Whether a path, or the end of one, is in the repository, and contains the word after its `::`.
fn exists(name: &str, tree: &Tree) -> bool {
    let (path, item) = match name.split_once(".rs::") {
        Some((stem, item)) => (format!("{stem}.rs"), item.rsplit("::").next()),
        None => (name.trim_end_matches('/').to_owned(), None),
    };
    let Some(item) = item.map(|item| item.trim_end_matches("()")) else {
        let end = format!("/{path}");
        return tree.has_path(&path) || tree.all().any(|file| file.path.ends_with(&end));
    };
    let end = format!("/{path}");
    let mut files = tree
        .rust()
        .filter(|file| file.path == path || file.path.ends_with(&end));
    files.any(|file| {
        let masked = code::mask(&file.text);
        code::tokens(&masked).iter().any(|token| token.text == item)
    })
}

/// Folders of the root whose files are named in prose by their paths.
const FOLDERS: &[&str] = &[
    "src/",
    "tests/",
    "benches/",
    "examples/",
    "docs/",
    "scripts/",
    "topologies/",
];

/// A file named in back-ticks exists, and so does what is said to be in it: `file.rs::name`.
pub fn files(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.is_markdown() {
        return findings;
    }
    for (line, text) in links::unfenced(&file.text) {
        for name in text.split('`').skip(1).step_by(2) {
            let is_place =
                name.contains(".rs::") || FOLDERS.iter().any(|folder| name.starts_with(folder));
            // `a/*/b`, `a/<name>` and similar stand for many.
            let is_pattern = links::has_placeholder(name)
                || (name.contains([' ', '*', '<', '{', '[', '…', ':']) && !name.contains(".rs::"));
            if is_place && !is_pattern && !exists(name, tree) {
                findings
                    .push(file.finding(line, format!("`{name}` is not there; correct the name")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::of(vec![
            File::new(
                "docs/a.md",
                "# The Title: `code` & more\n## Part\n## Part\n",
            ),
            File::new("src/a.rs", "fn one_test() {} // fn no_test()"),
            File::new("tests/conformance/join-left.json", "{}"),
        ])
    }

    #[test]
    fn files_that_are_not_there_are_found() {
        let count = |text: &str| files(&File::new("docs/b.md", text), &tree()).len();
        for text in [
            "`src/b.rs`",
            "see `docs/b.txt`, `src/a.rs`",
            "`a.rs::no_test`",
            "`src/b/`",
        ] {
            assert_eq!(count(text), 1, "{text}");
        }
        for text in [
            "`src/a.rs` `src/a.rs::one_test`",
            "`src/*/b.rs` `src/<name>.rs` `src/NAME.rs`",
            "src/b.rs",
            "```\n`src/b.rs`\n```",
            "`b.rs`",
        ] {
            assert_eq!(count(text), 0, "{text}");
        }
    }

    #[test]
    fn guarantees_without_a_test_are_found() {
        let found = |name: &str| {
            let text = format!(
                "| promise | `mechanism` | Tests |\n|---|---|---|\n| `x` | `y` | a, {name} |\n"
            );
            guarantees(&File::new("docs/guarantees.md", &text), &tree()).len()
        };
        for name in [
            "`one_test`",
            "`a::one_test`, `one_test`",
            "`src/a.rs`",
            "`a.rs::one_test`",
            "`a.rs`",
            "`one_test()` (with `strace`)",
            "`one_*`",
            "`join-left`",
            "`cargo test x`",
        ] {
            assert_eq!(found(name), 0, "{name}");
        }
        for name in [
            "`no_test`",
            "`one_test` `no_test`",
            "`src/b.rs`",
            "`src/a.rs::no_test`",
            "`two_*`",
            "none",
        ] {
            assert_eq!(found(name), 1, "{name}");
        }
    }
}
