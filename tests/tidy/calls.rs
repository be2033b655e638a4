//! Calls that the library does not make outside its tests.

use crate::code;
use crate::tree::{File, Finding};

/// Words and marks in a row, where they are banned, and what to do instead.
struct Ban {
    tokens: &'static [&'static str],
    scopes: &'static [&'static str],
    instead: &'static str,
}

const LIBRARY: &[&str] = &["src/"];
const PROGRAMS: &[&str] = &["src/", "topologies/"];

const RETURN: &str = "return a `base::Error` that says what to do";
const TRACE: &str = "say it with `tracing`, or let the caller say it";
const ENV: &str = "ask `base::Env`";

#[rustfmt::skip]
const BANS: &[Ban] = &[
    Ban { tokens: &[".", "unwrap", "("], scopes: PROGRAMS, instead: RETURN },
    Ban { tokens: &["::", "unwrap"], scopes: PROGRAMS, instead: RETURN },
    Ban { tokens: &[".", "expect", "("], scopes: PROGRAMS, instead: RETURN },
    Ban { tokens: &["::", "expect"], scopes: PROGRAMS, instead: RETURN },
    Ban { tokens: &["panic", "!"], scopes: PROGRAMS, instead: RETURN },
    Ban { tokens: &["todo", "!"], scopes: PROGRAMS, instead: "write it" },
    Ban { tokens: &["unimplemented", "!"], scopes: PROGRAMS, instead: "write it, or refuse with `ErrorKind::Invalid`" },
    Ban { tokens: &["dbg", "!"], scopes: &[""], instead: "remove it" },
    Ban { tokens: &["print", "!"], scopes: LIBRARY, instead: TRACE },
    Ban { tokens: &["println", "!"], scopes: LIBRARY, instead: TRACE },
    Ban { tokens: &["eprint", "!"], scopes: LIBRARY, instead: TRACE },
    Ban { tokens: &["eprintln", "!"], scopes: LIBRARY, instead: TRACE },
    Ban { tokens: &["Instant", "::", "now"], scopes: LIBRARY, instead: ENV },
    Ban { tokens: &["SystemTime", "::", "now"], scopes: LIBRARY, instead: ENV },
    Ban { tokens: &["thread", "::", "spawn"], scopes: LIBRARY, instead: ENV },
    Ban { tokens: &["thread", "::", "Builder"], scopes: LIBRARY, instead: ENV },
    Ban { tokens: &["thread", "::", "sleep"], scopes: LIBRARY, instead: ENV },
];

/// Prefixes of paths that may make some of the calls: the bans by their advice, and why.
const EXEMPT: &[(&str, &[&str])] = &[
    // The only access to time and threads has to use it.
    ("src/base/env.rs", &[ENV]),
    // A public suite: it is run by the tests of backends, and fails like tests.
    ("src/log/conformance/", &[RETURN]),
    // A command line prints for a person.
    ("src/bin/", &[TRACE]),
];

pub fn banned(file: &File) -> Vec<Finding> {
    if file.is_test() {
        return Vec::new();
    }
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let exempt = EXEMPT
        .iter()
        .filter(|(start, _)| file.path.starts_with(start));
    let exempt: Vec<&str> = exempt.flat_map(|(_, advice)| *advice).copied().collect();
    let mut findings = Vec::new();
    for ban in BANS {
        let is_banned = ban.scopes.iter().any(|start| file.path.starts_with(start));
        if !is_banned || exempt.contains(&ban.instead) {
            continue;
        }
        for (at, token) in tokens.iter().enumerate() {
            if code::starts_with(&tokens[at..], ban.tokens) {
                let call = ban.tokens.concat();
                findings
                    .push(file.finding(token.line, format!("`{call}` is banned; {}", ban.instead)));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        banned(&File::new(path, text)).len()
    }

    #[test]
    fn each_ban_is_found() {
        for ban in BANS {
            let text = format!("fn f() {{ x {} (y) }}", ban.tokens.join(" "));
            assert_eq!(count("src/state/a.rs", &text), 1, "{text}");
            assert_eq!(count("src/state/tests/a.rs", &text), 0, "{text}");
            assert_eq!(count("tests/it/a.rs", &text), 0, "{text}");
            assert_eq!(
                count("src/a.rs", &format!("#[cfg(test)] mod tests {{ {text} }}")),
                0,
                "{text}"
            );
            assert_eq!(
                count(
                    "src/a.rs",
                    &format!("/// {text}\nconst A: &str = r#\"{text}\"#;")
                ),
                0,
                "{text}"
            );
        }
    }

    #[test]
    fn calls_across_lines_are_found() {
        let found = banned(&File::new(
            "src/a.rs",
            "fn f() {\n    x\n        .unwrap()\n}",
        ));
        assert!(
            found[0]
                .to_string()
                .starts_with("src/a.rs:3: `.unwrap(` is banned; ")
        );
    }

    #[test]
    fn their_likes_pass() {
        let text = "#[expect(clippy::x, reason = \"y\")] fn f() { x.unwrap_or(1); y.expect_none; \
                    assert!(z); std::thread::current(); let panic = unwrap(3); }";
        assert_eq!(count("src/a.rs", text), 0);
    }

    #[test]
    fn exemptions_are_as_wide_as_their_reasons() {
        assert_eq!(count("src/base/env.rs", "Instant::now()"), 0);
        assert_eq!(count("src/base/env.rs", "x.unwrap()"), 1);
        assert_eq!(count("src/log/conformance/mod.rs", "panic!()"), 0);
        assert_eq!(count("src/log/conformance/mod.rs", "println!()"), 1);
        assert_eq!(count("src/bin/marea/main.rs", "println!()"), 0);
        assert_eq!(count("topologies/ocean/src/main.rs", "println!()"), 0);
        assert_eq!(count("topologies/ocean/src/main.rs", "x.unwrap()"), 1);
        assert_eq!(count("examples/a.rs", "println!(); dbg!(x)"), 1);
    }
}
