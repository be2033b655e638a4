//! The public API: each item and method that a user can name, one per line.
//!
//! A module counts, starting at `src/lib.rs`, if it is `pub` and not `#[doc(hidden)]`; an item where it is
//! declared `pub` or re-exported. Items made by macros are not seen.

use std::collections::BTreeSet;

use crate::code::{self, Token};
use crate::paths::use_paths;
use crate::tree::Tree;

/// The words that begin an item, before its name.
const KEYWORDS: &[&str] = &[
    "struct", "enum", "trait", "type", "const", "static", "fn", "union",
];

/// The public items, sorted.
pub fn public_items(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    module(tree, "src/lib.rs", "marea", &mut found);
    let names: BTreeSet<String> = found
        .iter()
        .filter_map(|path| Some(path.rsplit_once("::")?.1.to_owned()))
        .collect();
    for file in tree.rust() {
        if file.path.starts_with("src/") && !file.is_test() {
            let masked = code::mask(&file.text);
            let tokens = code::without_tests(&code::tokens(&masked));
            methods(&tokens, &names, &mut found);
        }
    }
    found
}

fn module(tree: &Tree, path: &str, name: &str, found: &mut BTreeSet<String>) {
    let Some(file) = tree.find(path) else { return };
    let masked = code::mask(&file.text);
    let tokens = code::without_tests(&code::tokens(&masked));
    let folder = path
        .strip_suffix("lib.rs")
        .or_else(|| path.strip_suffix("mod.rs"))
        .map_or_else(
            || format!("{}/", path.trim_end_matches(".rs")),
            str::to_owned,
        );
    for item in visible(&tokens) {
        match item[0].text {
            "mod" => {
                let module_name = format!("{name}::{}", item[1].text);
                module(
                    tree,
                    &file_of(tree, &folder, item[1].text),
                    &module_name,
                    found,
                );
                found.insert(module_name);
            }
            "use" => {
                for path in use_paths(&item[1..]) {
                    match path[..] {
                        [private, "*"] => {
                            module(tree, &file_of(tree, &folder, private), name, found);
                        }
                        [.., last] => {
                            found.insert(format!("{name}::{last}"));
                        }
                        [] => {}
                    }
                }
            }
            _ => found.extend(named(item).map(|item| format!("{name}::{item}"))),
        }
    }
}

fn file_of(tree: &Tree, folder: &str, module: &str) -> String {
    let alone = format!("{folder}{module}.rs");
    match tree.find(&alone) {
        Some(_) => alone,
        None => format!("{folder}{module}/mod.rs"),
    }
}

/// The items that are `pub` and not hidden, from the word after `pub` to their end.
fn visible<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let (mut items, mut at, mut hidden) = (Vec::new(), 0, false);
    while at < tokens.len() {
        if tokens[at].text == "#" {
            let end = code::group_end(tokens, at + 1 + usize::from(tokens[at + 1].text == "!"));
            hidden |= tokens[at..end]
                .windows(3)
                .any(|part| code::starts_with(part, &["doc", "(", "hidden"]));
            at = end;
            continue;
        }
        let end = item_end(tokens, at);
        let is_public = tokens[at].text == "pub" && tokens[at + 1].text != "(";
        if is_public && !hidden {
            items.push(&tokens[at + 1..end]);
        }
        hidden = false;
        at = end;
    }
    items
}

/// The place after the item that begins at `at`: after its block, or its semicolon.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let is_use = tokens[at..].iter().take(5).any(|token| token.text == "use");
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" if !is_use => return code::group_end(tokens, at),
            "(" | "[" | "{" => at = code::group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// The name of an item that has one.
fn named<'a>(item: &[Token<'a>]) -> Option<&'a str> {
    let mut words = item.iter();
    let keyword = words.by_ref().find(|word| KEYWORDS.contains(&word.text))?;
    let name = words.next()?;
    // `const fn`.
    match keyword.text == "const" && KEYWORDS.contains(&name.text) {
        true => words.next().map(|name| name.text),
        false => Some(name.text),
    }
}

/// The public methods of public types, and the methods of public traits.
fn methods(tokens: &[Token<'_>], names: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "#" {
            at = code::group_end(tokens, at + 1 + usize::from(tokens[at + 1].text == "!"));
            continue;
        }
        let end = item_end(tokens, at);
        let item = &tokens[at..end];
        at = end;
        let Some(open) = item.iter().position(|token| token.text == "{") else {
            continue;
        };
        let head = &item[..open];
        let inner = &item[open + 1..item.len().max(open + 2) - 1];
        if head[0].text == "impl" && !head.iter().any(|token| token.text == "for") {
            if let Some(name) = subject(head).filter(|name| names.contains(*name)) {
                let public = visible(inner).into_iter().filter_map(named);
                found.extend(public.map(|method| format!("{name}::{method}")));
            }
        } else if let Some(place) = head.iter().position(|token| token.text == "trait") {
            let name = head.get(place + 1).map_or("", |name| name.text);
            if names.contains(name) {
                let all = items(inner).into_iter().filter_map(named);
                found.extend(all.map(|method| format!("{name}::{method}")));
            }
        }
    }
}

/// All items, whether or not they are `pub`: what a trait contains is as public as the trait.
fn items<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let (mut items, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at].text == "#" {
            at = code::group_end(tokens, at + 1);
            continue;
        }
        let end = item_end(tokens, at);
        items.push(&tokens[at..end]);
        at = end;
    }
    items
}

/// The type that `impl<..> a::Type<..>` is about.
fn subject<'a>(head: &[Token<'a>]) -> Option<&'a str> {
    let mut at = 1;
    if head.get(at)?.text == "<" {
        let mut depth = 0;
        while at < head.len() {
            match head[at].text {
                "<" => depth += 1,
                // Not that of `->`.
                ">" if head[at - 1].text != "-" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
    }
    let path = head[at.min(head.len())..].iter();
    let path = path.take_while(|token| token.is_word() || token.text == "::");
    path.filter(|token| token.is_word())
        .last()
        .map(|token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::File;

    #[test]
    fn what_can_be_named_is_listed() {
        let tree = Tree::of(vec![
            File::new(
                "src/lib.rs",
                "pub mod a;\nmod b;\n#[doc(hidden)]\npub mod c;\npub use b::{Two, Three};\npub(crate) fn no() {}\npub const fn yes() {}",
            ),
            File::new(
                "src/a/mod.rs",
                "mod own;\npub use own::*;\npub trait Door { fn open(&self); }\nstruct Private;\nimpl Private { pub fn no(&self) {} }",
            ),
            File::new(
                "src/a/own.rs",
                "pub struct One<T>(T);\nimpl<T: Fn() -> u8> One<T> { pub fn one(&self) {} fn no(&self) {} }",
            ),
            File::new(
                "src/b.rs",
                "pub struct Two;\npub struct No;\nimpl Two { #[doc(hidden)] pub fn no() {} pub async fn two() {} }\nimpl Clone for Two { fn clone(&self) {} }",
            ),
            File::new("src/c.rs", "pub struct No;"),
        ]);
        let found: Vec<String> = public_items(&tree).into_iter().collect();
        let expected = [
            "Door::open",
            "One::one",
            "Two::two",
            "marea::Three",
            "marea::Two",
            "marea::a",
            "marea::a::Door",
            "marea::a::One",
            "marea::yes",
        ];
        assert_eq!(found, expected);
    }
}
