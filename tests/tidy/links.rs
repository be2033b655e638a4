//! Links of documents lead to existing files and headings.

use std::collections::HashMap;

use crate::tree::{self, File, Finding, Tree};

/// Placeholders for a number or a name in templates and instructions.
const PLACEHOLDERS: &[&str] = &["NNNN", "NAME"];

/// Whether a path stands for others, not for itself.
pub fn has_placeholder(path: &str) -> bool {
    PLACEHOLDERS
        .iter()
        .any(|placeholder| path.contains(placeholder))
}

/// The lines of a document outside its fences, from 1.
pub fn unfenced(text: &str) -> Vec<(usize, &str)> {
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

/// The line without the parts in back-ticks.
fn prose(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of the links in a line: `[text](target)`, and `[name]: target` at its start.
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

/// The anchors of a document's headings, as code hosts derive them.
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
pub fn relative(file: &File, tree: &Tree) -> Vec<Finding> {
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
        relative(&File::new("docs/b.md", text), &tree()).len()
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
            assert!(relative(&file, &tree).is_empty(), "{text}");
        }
        assert!(relative(&File::new("src/a.rs", "[x](missing.md)"), &tree()).is_empty());
    }
}
