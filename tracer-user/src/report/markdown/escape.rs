//! Text that somebody else chose, made safe for a page of Markdown: it becomes neither markup nor
//! HTML nor a link, and ends neither a cell nor a block.

use crate::printable::{printable, printable_lines};

/// Text within a line, or within the cell of a table.
pub(in crate::report) fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let text = printable(text);
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            // By number: HTML has no markup left, and no renderer turns these back.
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            // Behind these, references to people and issues would become links, which notify.
            '@' | '#' => {
                out.push(character);
                out += "<!-- -->";
            }
            // Addresses become links by themselves.
            ':' if rest.as_str().starts_with('/') => out += "&#58;",
            '.' if out.ends_with("www") => out += "&#46;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out
}

/// Text as code within a line, or within the cell of a table. In HTML, since in code of Markdown's
/// own neither a pipe nor a backtick can be escaped everywhere.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", inline(text))
}

/// Text as a block of its own, in a fence that is longer than any in it.
pub(in crate::report) fn fenced(language: &str, text: &str) -> String {
    let text = printable_lines(text);
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}{language}\n{text}\n{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let hostile =
            "a|b`c<script>\n# h @you #1 https://x [l](u) *e* _f_ ~~g~~ ![i](j) \\| $x$ &lt;";
        let text = inline(hostile);
        assert_eq!(text.matches('<').count(), text.matches("<!-- -->").count(), "{text}");
        assert!(text.contains("@<!-- -->you #<!-- -->1 https&#58;//x"), "{text}");
        assert!(
            !text.contains("://") && !text.contains('\n') && !inline("www.x.org").contains("www."),
            "{text}"
        );
        for mark in ["|", "`", "*", "_", "[", "]", "~", "!", "$"] {
            let bare = text.replace("<!-- -->", "");
            let unescaped = bare.replace("\\\\", "").replace(&format!("\\{mark}"), "");
            assert!(!unescaped.contains(mark), "{mark} in {text}");
        }
        assert!(text.contains("&amp;lt;"));
        assert_eq!(inline("plain text 12.3 MiB, +4"), "plain text 12.3 MiB, +4");
    }

    #[test]
    fn no_text_ends_its_fence() {
        assert_eq!(fenced("text", "a"), "```text\na\n```\n");
        let text = fenced("", "```\n````\u{1b}[31m\n");
        assert!(text.starts_with("`````\n") && text.ends_with("\n`````\n"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
