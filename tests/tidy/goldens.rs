//! Files that tests compare with: each is read by a test, and can be parsed.

use crate::tree::{File, Finding, Tree};

/// A golden file that no test reads looks as if it checked something.
pub fn in_use(file: &File, tree: &Tree) -> Vec<Finding> {
    let unused = |what: &str| {
        vec![file.finding(
            1,
            format!("no test {what}; remove the file, or bring the test back"),
        )]
    };
    if file.path.ends_with(".snap") || file.path.ends_with(".snap.new") {
        if file.path.ends_with(".new") {
            return vec![file.finding(
                1,
                "a result nobody has reviewed; accept it, or remove the file",
            )];
        }
        // `crate__module__test.snap`, with `-2` and so on for later ones of a test; or a name of its own.
        let stem = file.name().trim_end_matches(".snap");
        let name = stem.rsplit("__").next().unwrap_or(stem);
        let test = name
            .trim_end_matches(|c: char| c.is_ascii_digit())
            .trim_end_matches('-');
        let quoted = format!("\"{name}\"");
        let is_used = tree.has_function(test)
            || tree.has_function(name)
            || readers(tree).any(|source| source.text.contains(&quoted));
        return if is_used {
            Vec::new()
        } else {
            unused(&format!("makes the snapshot `{name}`"))
        };
    }
    let is_golden = file
        .path
        .split('/')
        .any(|part| part == "goldens" || part == "fixtures");
    let is_read = || readers(tree).any(|source| source.text.contains(file.name()));
    if is_golden && !file.is_rust() && !file.is_markdown() && !is_read() {
        return unused(&format!("names `{}`", file.name()));
    }
    Vec::new()
}

/// The files that may read a golden; this rule's own tests name some that do not exist.
fn readers(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.rust()
        .filter(|file| !file.path.starts_with("tests/tidy/"))
}

/// A vector of the conformance suite is JSON.
pub fn vectors(file: &File) -> Vec<Finding> {
    if !file.path.starts_with("tests/conformance/") || !file.path.ends_with(".json") {
        return Vec::new();
    }
    match serde_json::from_str::<serde_json::Value>(&file.text) {
        Ok(_) => Vec::new(),
        Err(error) => vec![file.finding(
            error.line(),
            format!("no JSON: {error}; write the vector again"),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goldens_without_a_test_are_found() {
        let tree = Tree::of(vec![File::new(
            "tests/it/a.rs",
            "fn joins() { golden(\"words.txt\"); assert_snapshot!(\"named\", x) }",
        )]);
        let count = |path: &str| in_use(&File::new(path, ""), &tree).len();
        for path in [
            "tests/it/snapshots/it__a__joins.snap",
            "tests/it/snapshots/it__a__joins-2.snap",
            "tests/it/snapshots/it__a__named.snap",
            "tests/goldens/words.txt",
            "tests/goldens/README.md",
            "docs/other.txt",
        ] {
            assert_eq!(count(path), 0, "{path}");
        }
        for path in [
            "tests/it/snapshots/it__a__gone.snap",
            "tests/it/snapshots/it__a__joins.snap.new",
            "tests/goldens/gone.txt",
            "tests/fixtures/0.1.0/gone.sst",
        ] {
            assert_eq!(count(path), 1, "{path}");
        }
    }

    #[test]
    fn vectors_that_are_no_json_are_found() {
        let count = |path: &str, text: &str| vectors(&File::new(path, text)).len();
        assert_eq!(count("tests/conformance/a.json", "{\"a\": [1]}"), 0);
        assert_eq!(count("tests/conformance/a.json", "{\"a\": [1}"), 1);
        assert_eq!(count("tests/conformance/a.json", ""), 1);
        assert_eq!(count("tests/goldens/a.json", ""), 0);
    }
}
