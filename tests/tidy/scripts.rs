//! Scripts: they are executable, and stop at their first error.

use crate::tree::{File, Finding};

/// Files that are scripts whatever their first line is.
const SCRIPTS: &[&str] = &[".ci/run"];

pub fn runnable(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let first = file.text.lines().next().unwrap_or_default();
    // `#![` is an attribute of Rust.
    let is_script = first.starts_with("#!") && !first.starts_with("#![");
    if !is_script && !SCRIPTS.contains(&file.path.as_str()) {
        return findings;
    }
    if !file.executable {
        findings.push(file.finding(
            1,
            "a script that cannot be run; `git update-index --chmod=+x` it",
        ));
    }
    let is_shell = first.ends_with("sh") || first.contains("sh ");
    if !is_shell && is_script {
        return findings;
    }
    let stops = file.text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("set")
            && words
                .next()
                .is_some_and(|flags| flags.starts_with('-') && flags.contains('e'))
    });
    if !stops {
        findings.push(file.finding(
            1,
            "goes on after an error; put `set -eu` below the first line",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str, executable: bool) -> usize {
        runnable(&File {
            executable,
            ..File::new(path, text)
        })
        .len()
    }

    #[test]
    fn scripts_that_go_on_are_found() {
        assert_eq!(count("scripts/a", "#!/bin/sh\nset -eu\n", true), 0);
        assert_eq!(
            count(
                "scripts/a",
                "#!/usr/bin/env bash\nset -euo pipefail\n",
                true
            ),
            0
        );
        assert_eq!(count("scripts/a", "#!/bin/sh\n# set -e\necho\n", true), 1);
        assert_eq!(count("scripts/a", "#!/bin/sh\nset -u\n", true), 1);
        assert_eq!(count("scripts/a", "#!/bin/sh\nset -eu\n", false), 1);
        assert_eq!(count(".ci/run", "echo", false), 2);
        assert_eq!(count("scripts/a", "#!/usr/bin/env python3\n", true), 0);
        assert_eq!(count("src/a.rs", "#![allow(x)]\n", false), 0);
    }
}
