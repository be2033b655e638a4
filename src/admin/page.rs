//! The page: files in the binary, without a build step.

use std::fmt::Write as _;

use super::{AdminOptions, Section};

const INDEX: &str = include_str!("page/index.html");

/// The files beside it: name, content type, content.
pub(super) const FILES: [(&str, &str, &str); 10] = [
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("page.css", CSS, include_str!("page/page.css")),
    ("page.js", JS, include_str!("page/page.js")),
    ("words.js", JS, include_str!("page/words.js")),
    ("rates.js", JS, include_str!("page/rates.js")),
    ("stream.js", JS, include_str!("page/stream.js")),
    ("flow.js", JS, include_str!("page/flow.js")),
    ("change.js", JS, include_str!("page/change.js")),
    ("tables.js", JS, include_str!("page/tables.js")),
    ("letters.js", JS, include_str!("page/letters.js")),
];
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// What the page may load: scripts and styles of its own origin, nothing inline, and nothing from other origins.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                 img-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// The page with its title and its sections.
pub(super) fn index(application: &str, options: &AdminOptions) -> String {
    let title = Escaped(options.title.as_deref().unwrap_or(application)).to_string();
    let (mut styles, mut sections) = (String::new(), String::new());
    for section in &options.sections {
        let Section {
            id,
            title,
            module,
            style,
            ..
        } = section;
        if let Some(style) = style {
            let style = Escaped(style);
            let _ = writeln!(styles, "<link rel=\"stylesheet\" href=\"{style}\">");
        }
        let (id, title, module) = (Escaped(id), Escaped(title), Escaped(module));
        let _ = writeln!(
            sections,
            "<section class=\"own\" aria-labelledby=\"own-{id}\"><h2 id=\"own-{id}\">{title}</h2>\
             <div data-section=\"{id}\" data-module=\"{module}\"></div></section>"
        );
    }
    let page = INDEX.replace("<!-- title -->", &title);
    let page = page.replace("<!-- styles -->\n", &styles);
    page.replace("<!-- sections -->\n", &sections)
}

/// The page as served at a path. Its links are below that path, even if the path does not end with a slash, as
/// that of a nested router does not.
pub(super) fn at(index: &str, path: &str) -> String {
    let base = match path.ends_with('/') {
        true => String::new(),
        false => format!("<base href=\"{}/\">\n", Escaped(path)),
    };
    index.replace("<!-- base -->\n", &base)
}

/// Text in HTML, between tags or quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Guard;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let files = FILES.iter().map(|(_, _, content)| *content);
        let all: Vec<&str> = files.chain([INDEX]).collect();
        let bytes: usize = all.iter().map(|content| content.len()).sum();
        assert!(bytes < 150 << 10, "{bytes}");
        for content in all {
            let foreign = ["http://", "https://", "//cdn", "@import"];
            let found = foreign.iter().find(|foreign| content.contains(**foreign));
            let svg = "http://www.w3.org/2000/svg";
            assert!(
                found.is_none()
                    || content
                        .replace(svg, "")
                        .find(found.unwrap_or(&""))
                        .is_none(),
                "{found:?}"
            );
        }
    }

    #[test]
    fn nothing_is_inline() {
        assert!(!INDEX.contains("<style"));
        assert!(!INDEX.contains("style="));
        let scripts = INDEX.matches("<script").count();
        assert_eq!(
            scripts,
            INDEX.matches("<script type=\"module\" src=").count()
        );
        let handlers = [" onclick=", " onload=", "javascript:"];
        assert!(handlers.iter().all(|handler| !INDEX.contains(handler)));
    }

    #[test]
    fn what_an_application_says_cannot_break_out() {
        let section = Section::new("a\"b", "<script>", "x.js\"><script>").style("\"onload=x");
        let options = AdminOptions::new(Guard::default())
            .title("<b>&")
            .section(section);
        let page = index("ignored", &options);
        assert!(page.contains("<title>&lt;b&gt;&amp;</title>"));
        assert_eq!(
            page.matches("<script").count(),
            INDEX.matches("<script").count()
        );
        assert!(page.contains("href=\"&quot;onload=x\""));
    }
}
