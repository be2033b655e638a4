//! Rust as tokens: enough of its lexer that comments, strings and tests never count as code.

/// A word or a mark of code. `::` is one token; every other mark is one token per character.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

impl Token<'_> {
    pub fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with a blank for each character of comments (including documentation and its examples), strings, and
/// character literals. Line ends stay, so that line numbers do not change.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            // A word is taken as a whole: the `r` of `for` starts no raw string.
            let word = chars[at..]
                .iter()
                .take_while(|&&c| is_word_part(c))
                .count()
                .max(1);
            out.extend(&chars[at..at + word]);
            at += word;
        }
    }
    out
}

/// Where the comment or literal that starts here ends; the same place if none starts here.
fn literal_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => at + rest.iter().take_while(|&&c| c != '\n').count(),
        ['/', '*', ..] => block_comment_end(chars, at),
        ['\'', '\\', _, tail @ ..] => at + 3 + tail.iter().take_while(|&&c| c != '\'').count() + 1,
        // Otherwise a quote opens a lifetime.
        ['\'', _, '\'', ..] => at + 3,
        ['"', ..] => string_end(chars, at + 1),
        _ => {
            let prefix = ["br", "cr", "r", "b", "c"]
                .into_iter()
                .find(|prefix| rest.iter().take(prefix.len()).copied().eq(prefix.chars()));
            let Some(prefix) = prefix else { return at };
            let quote = at + prefix.len();
            let hashes = chars[quote..].iter().take_while(|&&c| c == '#').count();
            match chars.get(quote + hashes) {
                Some('"') if prefix.ends_with('r') => {
                    raw_string_end(chars, quote + hashes + 1, hashes)
                }
                Some('"') if hashes == 0 => string_end(chars, quote + 1),
                _ => at,
            }
        }
    }
    .min(chars.len())
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string_end(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        let closing = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
        if chars[at] == '"' && closing >= hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// The tokens of a masked text.
pub fn tokens(masked: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, mut rest) in masked.lines().enumerate() {
        while let Some(first) = rest.chars().next() {
            let length = if is_word_part(first) {
                rest.find(|c| !is_word_part(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                found.push(Token {
                    text: &rest[..length],
                    line: index + 1,
                });
            }
            rest = &rest[length..];
        }
    }
    found
}

/// The tokens without those of items that exist only in tests.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_mark(&tokens[at..]) {
            at = item_end(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Whether the next tokens are these words and marks.
pub fn starts_with(tokens: &[Token<'_>], expected: &[&str]) -> bool {
    tokens.len() >= expected.len()
        && tokens
            .iter()
            .zip(expected)
            .all(|(token, text)| token.text == *text)
}

fn is_test_mark(tokens: &[Token<'_>]) -> bool {
    [
        &["#", "[", "cfg", "(", "test", ")", "]"][..],
        &["#", "[", "cfg", "(", "all", "(", "test"],
        &["#", "[", "test", "]"],
    ]
    .into_iter()
    .any(|mark| starts_with(tokens, mark))
}

/// The place after the item whose first attribute is here: after its `;`, or the end of its `{}`.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    while at < tokens.len() && tokens[at].text == "#" {
        at = group_end(tokens, at + 1);
    }
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" => return group_end(tokens, at),
            "(" | "[" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// The place after the bracket that closes the one here.
pub fn group_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth <= 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let masked = mask(text);
        assert_eq!(masked.lines().count(), text.lines().count(), "{text}");
        let found = tokens(&masked);
        found
            .iter()
            .map(|token| token.text)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_are_masked() {
        assert_eq!(words("a // b\nc"), "a c");
        assert_eq!(words("/// b `c`\n//! d\na"), "a");
        assert_eq!(words("a /* b /* c */ d\n */ e"), "a e");
        assert_eq!(words("a / b * c"), "a / b * c");
        assert_eq!(words("a /* never closed"), "a");
    }

    #[test]
    fn strings_are_masked() {
        assert_eq!(words(r#"a "b \" c" d"#), "a d");
        assert_eq!(words("a \"// b\" c"), "a c");
        assert_eq!(words("a \"b\n c\" d"), "a d");
        assert_eq!(words(r#"a b"b" c c"c" d"#), "a c d");
        assert_eq!(words(r#"a "\\" b "c""#), "a b");
        assert_eq!(words("a \"never closed"), "a");
    }

    #[test]
    fn raw_strings_are_masked() {
        assert_eq!(words("a r\"\\\" b"), "a b");
        assert_eq!(words("a r#\"b \" c\"# d"), "a d");
        assert_eq!(words("a br##\"b \"# c\"## d cr\"e\" f"), "a d f");
        assert_eq!(words("r#type br \"c\""), "r # type br");
    }

    #[test]
    fn character_literals_are_masked_and_lifetimes_are_not() {
        assert_eq!(words("a 'b' '\"' '\\'' '\\u{1F600}' '\\\\' c"), "a c");
        assert_eq!(words("b'\"' d"), "b d");
        assert_eq!(
            words("f<'a, 'b>(x: &'a str)"),
            "f < ' a , ' b > ( x : & ' a str )"
        );
        assert_eq!(words("'('; 'é'"), ";");
    }

    #[test]
    fn tokens_know_their_lines() {
        let found = tokens("a::b\n\n 7u8.c");
        let found: Vec<_> = found.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(
            found,
            [
                ("a", 1),
                ("::", 1),
                ("b", 1),
                ("7u8", 3),
                (".", 3),
                ("c", 3)
            ]
        );
    }

    #[test]
    fn items_of_tests_are_cut_off() {
        let kept = |text: &str| {
            let masked = mask(text);
            let kept = without_tests(&tokens(&masked));
            kept.iter()
                .map(|token| token.text)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(kept("a; #[cfg(test)] mod tests; b;"), "a ; b ;");
        assert_eq!(
            kept("a; #[cfg(test)]\nmod tests { fn f() { x } }\nb;"),
            "a ; b ;"
        );
        assert_eq!(
            kept("#[cfg(test)] #[path = \"x\"] fn f(x: [u8; 2]) { x } b"),
            "b"
        );
        assert_eq!(
            kept("#[test] fn f() {} #[cfg(all(test, unix))] use c; b"),
            "b"
        );
        assert_eq!(
            kept("#[cfg(unix)] fn f() { x }"),
            "# [ cfg ( unix ) ] fn f ( ) { x }"
        );
        assert_eq!(kept("\"#[cfg(test)]\" mod a { b }"), "mod a { b }");
    }
}
