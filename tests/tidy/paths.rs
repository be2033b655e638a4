//! Paths in code, with `use` trees expanded.

use crate::code::{self, Token};

/// The paths of a `use` tree, or the one path of an expression: `a::{b, c::d}` is `a::b` and `a::c::d`. Every path
/// has at least one segment; a glob's last is `*`.
pub fn use_paths<'a>(tokens: &[Token<'a>]) -> Vec<Vec<&'a str>> {
    let named = use_names(tokens).into_iter();
    named.map(|(path, _)| path).collect()
}

/// The same, each with the name by which its item is known from then on: `a::{self, b as c}` is `a::self`, known as
/// `a`, and `a::b`, known as `c`.
pub fn use_names<'a>(tokens: &[Token<'a>]) -> Vec<(Vec<&'a str>, &'a str)> {
    let Some(first) = tokens.first() else {
        return vec![(vec![""], "")];
    };
    if first.text == "{" {
        let end = code::group_end(tokens, 0);
        let inner = &tokens[1..end.max(2) - 1];
        return branches(inner).into_iter().flat_map(use_names).collect();
    }
    if tokens.get(1).is_some_and(|token| token.text == "::")
        && tokens
            .get(2)
            .is_some_and(|token| token.is_word() || ["{", "*"].contains(&token.text))
    {
        let mut named = use_names(&tokens[2..]);
        for (path, name) in &mut named {
            if *name == "self" && path.len() == 1 {
                *name = first.text;
            }
            path.insert(0, first.text);
        }
        return named;
    }
    let name = match tokens {
        [_, mark, name, ..] if mark.text == "as" => name,
        _ => first,
    };
    vec![(vec![first.text], name.text)]
}

/// The parts between commas outside brackets.
fn branches<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < tokens.len() {
        if tokens[at].text == "{" {
            at = code::group_end(tokens, at);
            continue;
        }
        if tokens[at].text == "," {
            parts.push(&tokens[start..at]);
            start = at + 1;
        }
        at += 1;
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_spread_out() {
        let spread = |text: &str| {
            let found = use_paths(&code::tokens(text)).into_iter();
            found
                .map(|path| path.join("::"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(spread("a::b::C;"), "a::b::C");
        assert_eq!(
            spread("a::{b, c::{d as e, f::*},};"),
            "a::b a::c::d a::c::f::*"
        );
        assert_eq!(spread("{a, b::{self}}"), "a b::self");
        assert_eq!(spread("a::f::<B>(x, y)"), "a::f");
        assert_eq!(spread("a!(b)"), "a");
        assert_eq!(spread(""), "");
    }

    #[test]
    fn names_are_those_after_as() {
        let names = |text: &str| {
            let found = use_names(&code::tokens(text)).into_iter();
            found.map(|(_, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("a::b::C;"), "C");
        assert_eq!(names("a::{self, b::{self, c as d, e::*}};"), "a b d *");
        assert_eq!(names("a::{self as b};"), "b");
    }
}
