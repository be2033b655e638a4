//! Nothing in the repository depends on the machine it was written on.

use crate::tree::{File, Finding};

/// Prefixes of paths that exist on one machine only. Written in two parts, or this file would contain them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

/// Hosts that package clients contact; each may be replaced by a mirror.
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

/// No path of one machine, and no host that a package client would contact.
pub fn named(file: &File) -> Vec<Finding> {
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

/// Whether the line contains the start of an absolute path, not the middle of a relative one.
fn has_rooted(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "_-.~}*".contains(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_found() {
        for start in MACHINE_PATHS {
            for text in [
                format!("cd {start}x"),
                format!("\"{start}x\""),
                format!("{start}x"),
                format!("a:{start}"),
            ] {
                assert_eq!(named(&File::new("a.txt", &text)).len(), 1, "{text}");
            }
            for text in [
                format!("src{start}x"),
                format!("../a.b{start}x"),
                format!("${{HOME}}{start}"),
            ] {
                assert_eq!(named(&File::new("a.txt", &text)).len(), 0, "{text}");
            }
        }
        for host in REGISTRY_HOSTS {
            let text = format!("source = \"https://{host}/x\"");
            assert_eq!(named(&File::new("a.toml", &text)).len(), 1, "{text}");
            assert_eq!(named(&File::new("Cargo.lock", &text)).len(), 0, "{text}");
        }
        assert!(
            named(&File::new(
                "README.md",
                "https://docs.rs/marea https://crates.io/marea"
            ))
            .is_empty()
        );
    }
}
