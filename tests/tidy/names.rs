//! Names that say nothing, and files that are too long.

use crate::code;
use crate::tree::{File, Finding};

/// Last words of names that say nothing about the thing.
const EMPTY_WORDS: &[&str] = &[
    "manager", "impl", "util", "utils", "helper", "helpers", "common", "misc",
];

/// The most lines a file of code may have.
const LINES_MAX: usize = 500;

/// Types, traits and modules are named after what they are.
pub fn types(file: &File) -> Vec<Finding> {
    let masked = code::mask(&file.text);
    let tokens = code::tokens(&masked);
    let declared = tokens.windows(2).filter(|pair| {
        ["struct", "enum", "union", "trait", "type", "mod"].contains(&pair[0].text)
            && pair[1].is_word()
    });
    declared
        .filter(|pair| is_empty(pair[1].text))
        .map(|pair| file.finding(pair[1].line, advice(pair[1].text)))
        .collect()
}

/// So are files and folders.
pub fn files(file: &File) -> Vec<Finding> {
    let parts = file
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part));
    parts
        .filter(|part| is_empty(part))
        .map(|part| file.finding(1, advice(part)))
        .collect()
}

fn advice(name: &str) -> String {
    format!("`{name}` says nothing of what it is; call it after what it does or holds")
}

/// Whether the last word of a name, in either case, says nothing.
fn is_empty(name: &str) -> bool {
    let start = name.char_indices().rev().find(|(at, c)| {
        *c == '_'
            || *c == '-'
            || (c.is_uppercase() && name[at + 1..].starts_with(char::is_lowercase))
    });
    let word = start
        .map_or(name, |(at, _)| &name[at..])
        .trim_start_matches(['_', '-']);
    EMPTY_WORDS.contains(&word.to_lowercase().as_str())
}

/// A long file should be two files.
pub fn too_long(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![file.finding(
        LINES_MAX,
        format!("{lines} lines, at most {LINES_MAX}; split the file"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_of_types_are_found() {
        for text in [
            "struct TaskManager;",
            "pub enum LogImpl {}",
            "trait CodecHelper {}",
            "type Util = u8;",
            "mod utils;",
            "mod test_helpers {}",
        ] {
            assert_eq!(types(&File::new("src/a.rs", text)).len(), 1, "{text}");
        }
        for text in [
            "struct Managers; enum Simple {} trait Implied {} type Utility = u8; mod commons;",
            "struct Memory; impl Log for Memory {} // struct LogImpl",
            "use clap::builder::StrManager; let helper = \"mod helper\";",
        ] {
            assert!(types(&File::new("src/a.rs", text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn empty_names_of_files_are_found() {
        for path in [
            "src/util.rs",
            "tests/common/mod.rs",
            "src/log/test-helpers.rs",
            "web/misc.js",
        ] {
            assert_eq!(files(&File::new(path, "")).len(), 1, "{path}");
        }
        for path in [
            "src/simpl.rs",
            "src/utility.rs",
            "README.md",
            ".ci/run",
            "src/commit.rs",
        ] {
            assert!(files(&File::new(path, "")).is_empty(), "{path}");
        }
    }

    #[test]
    fn long_files_are_refused() {
        let file = |lines: usize| File::new("src/a.rs", &"x\n".repeat(lines));
        assert!(too_long(&file(500)).is_empty());
        assert_eq!(too_long(&file(501)).len(), 1);
    }
}
