//! Text that somebody else chose (a command line, a file name, a symbol), made safe to print: a
//! terminal obeys control characters, and shows text in another order where it is told to.

/// One line without control characters and marks of direction, each of which becomes a question
/// mark; safe for terminals and XML.
pub fn printable(text: &str) -> String {
    text.chars().map(safe).collect()
}

/// As [`printable`]; line feeds stay. Not for text that is a single line by its nature: whoever
/// chose it could add lines that look like ours.
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { safe(c) }).collect()
}

fn safe(c: char) -> char {
    let is_harmful = c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        );
    if is_harmful { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_becomes_a_question_mark() {
        // A title, a colour, the one-character form of the same, a line of its own, a turn.
        let hostile = "a\u{1b}]0;b\u{7}\u{9b}31mc\r\nd\te\u{202e}f\u{7f}";
        assert_eq!(printable(hostile), "a?]0;b??31mc??d?e?f?");
        assert_eq!(printable_lines(hostile), "a?]0;b??31mc?\nd?e?f?");
        let harmless = "/srv/größe/文件 (x86-64) → «ok» 😀";
        assert_eq!(printable(harmless), harmless);
        assert_eq!(printable_lines(harmless), harmless);
    }
}
