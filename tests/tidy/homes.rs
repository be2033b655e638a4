//! In which module the item is that a path names: an item may be named by way of any module that imports it.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{self, Token};
use crate::paths::{use_names, use_paths};

/// A module's path from the root of its crate.
pub type Module = Vec<String>;

/// The target of a `use`.
struct Import {
    path: Module,
    /// Whether other modules may use it: `pub`, however far.
    is_public: bool,
}

/// What a module's file makes known under a name.
#[derive(Default)]
struct Names {
    /// Items, by the names that `use` gives them.
    imported: BTreeMap<String, Import>,
    /// Modules of which everything is imported.
    globs: Vec<Import>,
    /// The items of the file itself.
    own: BTreeSet<String>,
}

/// The modules of a crate, with the names that are known in each.
#[derive(Default)]
pub struct Homes {
    modules: BTreeMap<Module, Names>,
}

impl Homes {
    /// Adds a module, with its tokens.
    pub fn add(&mut self, module: Module, tokens: &[Token<'_>]) {
        let mut names = Names::default();
        let mut depth = 0;
        for (at, token) in tokens.iter().enumerate() {
            match token.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                "use" if depth == 0 && is_use(&tokens[at..]) => {
                    let is_public = at > 0 && ["pub", ")"].contains(&tokens[at - 1].text);
                    for (path, name) in use_names(&tokens[at + 1..]) {
                        let mut path = absolute(&module, &path);
                        if name == "*" {
                            path.pop();
                            names.globs.push(Import { path, is_public });
                        } else {
                            let import = Import { path, is_public };
                            names.imported.insert(name.to_owned(), import);
                        }
                    }
                }
                word if depth == 0 && ITEMS.contains(&word) => {
                    let mut after = tokens[at + 1..].iter();
                    let name = after.find(|token| token.text != "!");
                    names.own.extend(name.map(|name| name.text.to_owned()));
                }
                _ => {}
            }
        }
        self.modules.insert(module, names);
    }

    /// The module of the item that a path within `module` names; as much of it as is known.
    pub fn home(&self, module: &Module, path: &[&str]) -> Module {
        self.follow(&absolute(module, path), &mut BTreeSet::new())
    }

    /// Follows a path from the root of the crate. `steps` are the names already looked up: imports may be circular.
    fn follow(&self, path: &[String], steps: &mut BTreeSet<Module>) -> Module {
        let mut depth = path.len();
        while depth > 0 && !self.modules.contains_key(&path[..depth]) {
            depth -= 1;
        }
        let (module, rest) = path.split_at(depth);
        let Some((name, inside)) = rest.split_first() else {
            return module.to_vec();
        };
        let Some(names) = self.modules.get(module) else {
            return module.to_vec();
        };
        if !steps.insert(path[..=depth].to_vec()) {
            return module.to_vec();
        }
        if let Some(import) = names.imported.get(name) {
            return self.follow(&[&import.path[..], inside].concat(), steps);
        }
        if names.own.contains(name) {
            return module.to_vec();
        }
        let mut globs = names.globs.iter().map(|glob| &glob.path[..]);
        match globs.find(|glob| self.offers(glob, name, &mut BTreeSet::new())) {
            Some(glob) => self.follow(&[glob, rest].concat(), steps),
            None => module.to_vec(),
        }
    }

    /// Whether a glob of a module has a name. `asked` are the modules asked before: globs may be circular.
    fn offers(&self, module: &[String], name: &str, asked: &mut BTreeSet<Module>) -> bool {
        let Some(names) = self.modules.get(module) else {
            return false;
        };
        if !asked.insert(module.to_vec()) {
            return false;
        }
        let import = names.imported.get(name);
        let mut globs = names.globs.iter().filter(|glob| glob.is_public);
        names.own.contains(name)
            || import.is_some_and(|import| import.is_public)
            || globs.any(|glob| self.offers(&glob.path, name, asked))
    }
}

/// The words before the name of an item.
const ITEMS: &[&str] = &[
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "fn",
    "const",
    "static",
    "mod",
    "macro_rules",
];

/// A path within a module as one from the root of the crate. A path into another crate becomes one that begins
/// with a name unknown in the module.
fn absolute(module: &[String], path: &[&str]) -> Module {
    let (mut full, mut rest) = match path.split_first() {
        Some((&"crate", rest)) => (Module::new(), rest),
        _ => (module.to_vec(), path),
    };
    while let Some((&word @ ("super" | "self"), after)) = rest.split_first() {
        if word == "super" {
            full.pop();
        }
        rest = after;
    }
    full.extend(rest.iter().map(|part| (*part).to_owned()));
    if rest.last() == Some(&"self") {
        full.pop();
    }
    full
}

/// The paths in a text: of every `use`, and of every expression and type that has more than one segment.
pub fn paths<'a>(tokens: &[Token<'a>]) -> Vec<Vec<&'a str>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        let is_first = at == 0 || tokens[at - 1].text != "::";
        if is_use(rest) {
            paths.extend(use_paths(&rest[1..]));
            at += rest.iter().take_while(|token| token.text != ";").count();
        } else if is_first && rest[0].is_word() && code::starts_with(&rest[1..], &["::"]) {
            let found = use_paths(rest).into_iter();
            paths.extend(found.filter(|path| path.len() > 1));
        }
        at += 1;
    }
    paths
}

/// Whether an import begins here; `use<'a>` in a type is none.
fn is_use(tokens: &[Token<'_>]) -> bool {
    tokens[0].text == "use"
        && tokens
            .get(1)
            .is_some_and(|next| next.is_word() || next.text == "{")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The home of a path named in `a/one.rs`.
    fn home(files: &[(&[&str], &str)], path: &str) -> String {
        let mut homes = Homes::default();
        let owned = |module: &[&str]| module.iter().map(|part| (*part).to_owned()).collect();
        for (module, text) in files {
            homes.add(owned(module), &code::tokens(text));
        }
        let path: Vec<_> = path.split("::").collect();
        homes.home(&owned(&["a", "one"]), &path).join("::")
    }

    #[test]
    fn a_path_leads_to_the_module_that_it_spells() {
        let files: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["a"], "mod one; mod two; struct Own;"),
            (&["a", "one"], "use std::fmt; use super::two;"),
            (&["a", "two"], "struct B;"),
        ];
        assert_eq!(home(files, "super::two::B"), "a::two");
        assert_eq!(home(files, "crate::a::two::B"), "a::two");
        assert_eq!(home(files, "two::B::new"), "a::two");
        assert_eq!(home(files, "super::Own"), "a");
        assert_eq!(home(files, "super::super::a::two::*"), "a::two");
        assert_eq!(home(files, "self::Here"), "a::one");
        assert_eq!(home(files, "fmt::Display"), "a::one");
        assert_eq!(home(files, "std::fmt"), "a::one");
    }

    #[test]
    fn a_name_is_followed_through_imports() {
        let files: &[(&[&str], &str)] = &[
            (&[], "pub use a::B as Alias;"),
            (
                &["a"],
                "mod two; pub use self::two::{self as second, B}; pub(crate) use three::*; struct C;",
            ),
            (&["a", "two"], "struct B; struct C; struct E;"),
            (&["a", "three"], "pub use four::*; struct D; enum C {}"),
            (
                &["a", "three", "four"],
                "macro_rules! each {} impl X { fn e() {} }",
            ),
        ];
        assert_eq!(home(files, "super::B"), "a::two");
        assert_eq!(home(files, "crate::Alias::new"), "a::two");
        assert_eq!(home(files, "super::second::E"), "a::two");
        assert_eq!(home(files, "super::D"), "a::three");
        assert_eq!(home(files, "super::each"), "a::three::four");
        assert_eq!(home(files, "super::e"), "a", "a method is no item");
        assert_eq!(
            home(files, "super::C"),
            "a",
            "its own comes before a glob's"
        );
        assert_eq!(home(files, "super::E"), "a", "not imported");
    }

    #[test]
    fn circular_imports_end() {
        let files: &[(&[&str], &str)] = &[
            (&["a"], "pub use two::X; pub use two::*;"),
            (&["a", "two"], "pub use super::X; pub use super::*;"),
        ];
        assert_eq!(home(files, "super::X"), "a");
        assert_eq!(home(files, "super::Y"), "a");
    }

    #[test]
    fn paths_are_those_of_uses_and_of_expressions() {
        let found = |text: &str| {
            let tokens = code::tokens(text);
            let found = paths(&tokens).into_iter().map(|path| path.join("::"));
            found.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            found("use a::{b, c::D}; e; f(g::H::i())"),
            "a::b a::c::D g::H::i"
        );
        assert_eq!(
            found("a.b::<c::D>(..e::F) + use<'a>; use g;"),
            "c::D e::F g"
        );
    }
}
