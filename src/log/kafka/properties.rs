//! Properties files, as Java programs read them (`java.util.Properties`).

/// A line that is invalid. It is identified by its number: its text may be a secret.
#[derive(Debug, PartialEq)]
pub(super) struct BadLine {
    pub(super) number: usize,
    pub(super) why: &'static str,
}

/// Names and values in their order, each with the number of the line where it begins.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, String, String)>, BadLine> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let number = index + 1;
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while goes_on(&line) {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let (name, value) = split(&line);
        let bad = |why| BadLine { number, why };
        let name = unescaped(name).map_err(bad)?;
        if name.is_empty() {
            return Err(bad("the name before the `=` is missing"));
        }
        found.push((number, name, unescaped(value).map_err(bad)?));
    }
    Ok(found)
}

/// Whether it ends with a backslash that is not itself escaped.
fn goes_on(line: &str) -> bool {
    let backslashes = line.chars().rev().take_while(|c| *c == '\\').count();
    backslashes % 2 == 1
}

/// At the first `=`, `:` or space that is not escaped; spaces around it belong to neither side, and those
/// after the value are part of it, as in Java.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, value.trim_start())
}

fn unescaped(text: &str) -> Result<String, &'static str> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let c = match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16).ok();
                let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let unit = unit.filter(|_| is_hex);
                units.push(unit.ok_or("a `\\u` is not followed by four hexadecimal digits")?);
                continue;
            }
            ('\\', Some(other)) => other,
            ('\\', None) => continue,
            (plain, _) => plain,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).map_err(|_| "a `\\u` is half of a surrogate pair")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let found = parse(text).expect("good");
        found
            .into_iter()
            .map(|(_, name, value)| (name, value))
            .collect()
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        for (text, name, value) in [
            (
                "security.protocol=SASL_SSL",
                "security.protocol",
                "SASL_SSL",
            ),
            ("  a = b c\r\n", "a", "b c"),
            ("a:b=c", "a", "b=c"),
            ("a b", "a", "b"),
            ("a\t=\t b ", "a", "b "),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("a\\=b\\ c = d", "a=b c", "d"),
            ("a=x\\\n    y\\\\", "a", "xy\\"),
            ("a=\\u00e9\\t\\q\\ud83d\\ude00", "a", "é\tq😀"),
            ("a=pa#ss!word", "a", "pa#ss!word"),
            ("a=é", "a", "é"),
            ("a=end\\", "a", "end"),
        ] {
            assert_eq!(
                pairs(text),
                [(name.to_owned(), value.to_owned())],
                "{text:?}"
            );
        }
        assert_eq!(pairs("# a=b\n\n ! c\\\nd=e\n").len(), 1);
        let numbered = parse("\na=\\\n1\nb=2").expect("good");
        let numbers: Vec<usize> = numbered.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, [2, 4]);
    }

    #[test]
    fn bad_lines_are_named_by_number() {
        for text in [
            "\n=hunter2",
            "\na=hunter\\u12",
            "\na=\\ud83dhunter",
            "\na=\\u+123",
        ] {
            let bad = parse(text).expect_err(text);
            assert_eq!(bad.number, 2);
            assert!(!bad.why.contains("hunter"), "{bad:?}");
        }
    }
}
