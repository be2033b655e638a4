//! What documents promise: links that lead somewhere, tests that exist, no machine of ours.

use std::collections::HashMap;

use crate::code;
use crate::tree::{self, File, Finding, Tree};

/// Starts of paths that exist on one machine only. Written in two parts, or this file would have them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

/// Hosts that package clients ask; a mirror may stand in for each.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("crates.io", "-index"),
    concat!("repo1.maven", ".org"),
    concat!("repo.maven", ".apache.org"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Files that may name a host: cargo writes the registry into its lock file.
const MAY_NAME_HOSTS: &[&str] = &["Cargo.lock"];

/// What templates and instructions have in the place of a number or a name.
const PLACEHOLDERS: &[&str] = &["NNNN", "NAME"];

fn has_placeholder(path: &str) -> bool {
    PLACEHOLDERS
        .iter()
        .any(|placeholder| path.contains(placeholder))
}

/// The lines of a document outside its fences, from 1.
fn unfenced(text: &str) -> Vec<(usize, &str)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let marker = ["```", "~~~"]
            .into_iter()
            .find(|marker| line.trim_start().starts_with(marker));
        match (fence, marker) {
            (None, Some(_)) => fence = marker,
            (Some(open), Some(marker)) if open == marker => fence = None,
            (None, None) => lines.push((index + 1, line)),
            _ => {}
        }
    }
    lines
}

/// The line without what stands in back-ticks.
fn prose(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Where the links of a line lead: `[text](target)`, and `[name]: target` at its start.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in line.split("](").skip(1) {
        let target = part.split([')', ' ']).next().unwrap_or_default();
        found.push(target.trim_matches(['<', '>']));
    }
    if let Some((_, definition)) = line
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
    {
        found.extend(definition.split_whitespace().next());
    }
    found
}

/// The anchors that a document's headings make, as code hosts derive them.
fn anchors(text: &str) -> Vec<String> {
    let mut counts = HashMap::new();
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title
            .trim()
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let slug = slug.to_lowercase();
        let seen: &mut usize = counts.entry(slug.clone()).or_default();
        found.push(if *seen == 0 {
            slug
        } else {
            format!("{slug}-{seen}")
        });
        *seen += 1;
    }
    found
}

/// Every relative link of a document leads to a file or folder, and its anchor to a heading.
pub fn links(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.is_markdown() {
        return findings;
    }
    for (line, text) in unfenced(&file.text) {
        for target in targets(&prose(text)) {
            let is_outside = target.contains("://") || target.starts_with("mailto:");
            if is_outside || has_placeholder(target) {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let resolved = match path {
                "" => Some(file.path.clone()),
                _ if path.starts_with('/') => None,
                _ => tree::resolve(&file.path, path),
            };
            let Some(resolved) = resolved.filter(|path| tree.has_path(path)) else {
                findings.push(file.finding(
                    line,
                    format!("link to `{path}` leads nowhere; correct its path"),
                ));
                continue;
            };
            let goal = tree.find(&resolved).filter(|goal| goal.is_markdown());
            if !anchor.is_empty()
                && goal.is_some_and(|goal| !anchors(&goal.text).iter().any(|a| a == anchor))
            {
                findings.push(file.finding(
                    line,
                    format!("no heading of {resolved} makes `#{anchor}`; correct the anchor"),
                ));
            }
        }
    }
    findings
}

/// No path of one machine, and no host that a package client would ask.
pub fn machines(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for start in MACHINE_PATHS.iter().filter(|start| has_rooted(line, start)) {
            findings.push(file.finding(
                index + 1,
                format!("`{start}` is a path of one machine; make it relative"),
            ));
        }
        if MAY_NAME_HOSTS.contains(&file.name()) {
            continue;
        }
        for host in REGISTRY_HOSTS.iter().filter(|host| line.contains(**host)) {
            findings.push(file.finding(
                index + 1,
                format!("`{host}` is a registry's host; name the package alone"),
            ));
        }
    }
    findings
}

/// Whether the line has this start of an absolute path: not as the middle of a relative one.
fn has_rooted(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "_-.~}*".contains(c)))
    })
}

/// In tables with a column of tests, each name in back-ticks is that of a function, a conformance
/// vector, or a file. It may be qualified (`crash.rs::name`, `crash::name`), or have a `*`; what stands
/// in parentheses is a remark.
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

/// What stands outside parentheses, where remarks are; those in back-ticks are no remarks.
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
    // A command to run says nothing of names.
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

/// Whether a path, or the end of one, is in the repository, and holds the word behind its `::`.
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

/// A file named in back-ticks is there, and so is what is said to be in it: `file.rs::name`.
pub fn files(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.is_markdown() {
        return findings;
    }
    for (line, text) in unfenced(&file.text) {
        for name in text.split('`').skip(1).step_by(2) {
            let is_place =
                name.contains(".rs::") || FOLDERS.iter().any(|folder| name.starts_with(folder));
            // `a/*/b`, `a/<name>` and the like stand for many.
            let is_pattern = has_placeholder(name)
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

    fn broken(text: &str) -> usize {
        links(&File::new("docs/b.md", text), &tree()).len()
    }

    #[test]
    fn broken_links_are_found() {
        for text in [
            "[x](missing.md)",
            "see [x](a.md), [y](../src/b.rs)",
            "[x](/docs/a.md)",
            "[x](../../docs/a.md)",
            "[x](#nowhere)",
            "[x](a.md#nowhere)",
            "[x]: missing.md",
            "```\n[x](a.md)\n```\n[x](missing.md)",
        ] {
            assert_eq!(broken(text), 1, "{text}");
        }
    }

    #[test]
    fn sound_links_pass() {
        for text in [
            "[x](a.md) [y](../src/a.rs \"title\") [z](<a.md>)",
            "[x](a.md#the-title-code--more) [y](a.md#part-1)",
            "[x](NNNN-name.md)",
            "# Here we are\n[x](#here-we-are)",
            "[x](https://example.org/a#b) [y](mailto:a@example.org)",
            "`[x](missing.md)` and\n```text\n[x](missing.md)\n```\n",
            "[x]: a.md\n[y]: https://example.org",
        ] {
            let text = text.to_owned();
            let file = File::new("docs/b.md", &text);
            let tree = Tree::of(vec![
                File::new("docs/b.md", &text),
                File::new(
                    "docs/a.md",
                    "# The Title: `code` & more\n## Part\n## Part\n",
                ),
                File::new("src/a.rs", ""),
            ]);
            assert!(links(&file, &tree).is_empty(), "{text}");
        }
        assert!(links(&File::new("src/a.rs", "[x](missing.md)"), &tree()).is_empty());
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
    fn machines_are_found() {
        for start in MACHINE_PATHS {
            for text in [
                format!("cd {start}x"),
                format!("\"{start}x\""),
                format!("{start}x"),
                format!("a:{start}"),
            ] {
                assert_eq!(machines(&File::new("a.txt", &text)).len(), 1, "{text}");
            }
            for text in [
                format!("src{start}x"),
                format!("../a.b{start}x"),
                format!("${{HOME}}{start}"),
            ] {
                assert_eq!(machines(&File::new("a.txt", &text)).len(), 0, "{text}");
            }
        }
        for host in REGISTRY_HOSTS {
            let text = format!("source = \"https://{host}/x\"");
            assert_eq!(machines(&File::new("a.toml", &text)).len(), 1, "{text}");
            assert_eq!(machines(&File::new("Cargo.lock", &text)).len(), 0, "{text}");
        }
        assert!(
            machines(&File::new(
                "README.md",
                "https://docs.rs/marea https://crates.io/marea"
            ))
            .is_empty()
        );
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
