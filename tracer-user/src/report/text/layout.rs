//! Lines of a width that terminals and mails have.

use std::fmt::{self, Write};

/// Characters in a line.
const WIDTH: usize = 100;
/// What everything below a heading begins with.
const INDENT: &str = "   ";
/// The same of a line that goes on.
const HANGING: &str = "     ";

/// Colours, where the reader is a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) color: bool,
}

impl Paint {
    /// In the terminal's colours of this code.
    pub(super) fn with(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// A line cut to the width of the report.
pub(in crate::report) fn fitted(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let head: String = line.chars().take(WIDTH - 3).collect();
    head + "..."
}

/// A sentence below a heading, on as many lines as it takes.
pub(super) fn write_sentence(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "{}", wrapped(text, INDENT, HANGING))
}

/// Lines below a heading, those that are too long on as many as it takes.
pub(super) fn wrapped_lines(lines: &str) -> String {
    let whole = |line: &str| match line.strip_prefix(INDENT) {
        Some(text) => wrapped(text, INDENT, HANGING) + "\n",
        None => line.to_owned() + "\n",
    };
    lines.lines().map(whole).collect()
}

/// Words on lines of at most [`WIDTH`] characters, the first of which begins with `first` and the
/// others with `next`; as it is where it fits. A word that is longer than that keeps a line of its
/// own.
pub(super) fn wrapped(text: &str, first: &str, next: &str) -> String {
    if first.chars().count() + text.chars().count() <= WIDTH {
        return format!("{first}{text}");
    }
    let mut out = first.to_owned();
    let mut taken = first.chars().count();
    let mut is_first = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if !is_first && taken + 1 + length > WIDTH {
            out.push('\n');
            out += next;
            taken = next.chars().count();
            is_first = true;
        }
        if !is_first {
            out.push(' ');
            taken += 1;
        }
        out += word;
        taken += length;
        is_first = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrapped("a  b", "", "  "), "a  b");
        assert_eq!(wrapped("", "   ", "  "), "   ");
        let text = "word ".repeat(60);
        let lines = wrapped(&text, "   ", "     ");
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH), "{lines}");
        assert_eq!(lines.split_whitespace().count(), 60);
        assert!(lines.lines().skip(1).all(|line| line.starts_with("     word")), "{lines}");
        let long = "x".repeat(300);
        assert_eq!(wrapped(&format!("a {long} b"), "", " "), format!("a\n {long}\n b"));
    }

    #[test]
    fn lines_that_fit_stay_as_they_are() {
        let text = "\n\u{1b}[1mV8\u{1b}[0m\n   heap  about 71.3 MiB\n";
        assert_eq!(wrapped_lines(text), text);
        let long = format!("\nV8\n   {}\n   x\n", "word ".repeat(30).trim_end());
        let shown = wrapped_lines(&long);
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        assert_eq!(shown.lines().count(), long.lines().count() + 1);
    }

    #[test]
    fn a_line_that_is_too_long_says_so() {
        assert_eq!(fitted(&"x".repeat(100)).len(), 100);
        assert!(fitted(&"ä".repeat(101)).ends_with("ä..."));
        assert_eq!(fitted(&"ä".repeat(101)).chars().count(), 100);
    }
}
