//! Suppressions as LeakSanitizer reads them: a line `leak:PATTERN` each, `#` begins a comment.
//!
//! # Sources
//! LLVM, compiler-rt/lib/sanitizer_common/sanitizer_suppressions.cpp and `TemplateMatch` beside it:
//! a pattern is searched for in a text; `*` stands for anything, `^` for the text's beginning, `$`
//! for its end. Matched are the function, the source file and the module of every frame.

use crate::report::FrameReport;
use crate::same::Same;

/// The longest file of suppressions; bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why a file of suppressions cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuppressionError {
    /// A line that is no suppression.
    #[error("line {line}: `{text}` is no suppression; write leak:PATTERN, or # for a comment")]
    NoSuppression {
        /// 1-based.
        line: usize,
        /// As it stands there.
        text: String,
    },
    /// One that would suppress everything.
    #[error("line {line}: a pattern that matches everything would hide every leak; name something")]
    Everything {
        /// 1-based.
        line: usize,
    },
}

/// A suppression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// As it was written.
    pub pattern: String,
}

/// Reads a file of suppressions. Those of other sanitizers in the same file (`race:`...) are left
/// out.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse(text: &str) -> Result<Vec<Suppression>, SuppressionError> {
    const OTHERS: [&str; 12] = [
        "race",
        "race_top",
        "thread",
        "mutex",
        "signal",
        "deadlock",
        "called_from_lib",
        "interceptor_via_lib",
        "interceptor_via_fun",
        "interceptor_name",
        "odr_violation",
        "vptr_check",
    ];
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let stripped = line.trim().trim_start_matches('\u{feff}');
        if stripped.is_empty() || stripped.starts_with('#') {
            continue;
        }
        match stripped.split_once(':') {
            Some(("leak", pattern)) if pattern.trim_matches(['*', '^', '$', ' ']).is_empty() => {
                return Err(SuppressionError::Everything { line: index + 1 });
            }
            Some(("leak", pattern)) => found.push(Suppression { pattern: pattern.to_owned() }),
            Some((kind, _)) if OTHERS.contains(&kind) => {}
            _ => {
                let text: String = stripped.chars().take(80).collect();
                return Err(SuppressionError::NoSuppression { line: index + 1, text });
            }
        }
    }
    Ok(found)
}

impl Suppression {
    /// Whether any frame is named by it.
    pub fn matches(&self, frames: &[Same<FrameReport>]) -> bool {
        frames.iter().any(|frame| {
            let texts = [Some(&frame.function), frame.file.as_ref(), frame.module.as_ref()];
            texts.into_iter().flatten().any(|text| is_found(&self.pattern, text))
        })
    }
}

/// Whether `pattern` is found in `text`.
fn is_found(pattern: &str, text: &str) -> bool {
    let (pattern, from_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    // Whatever stands behind a dollar sign is not looked at.
    let (pattern, to_end) = match pattern.split_once('$') {
        Some((head, _)) => (head, true),
        None => (pattern, false),
    };
    let parts: Vec<&str> = pattern.split('*').collect();
    let mut rest = text;
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        if part.is_empty() {
            if is_last && to_end && parts.len() == 1 && from_start {
                return rest.is_empty();
            }
            continue;
        }
        if index == 0 && from_start {
            let Some(behind) = rest.strip_prefix(part) else { return false };
            rest = behind;
            if is_last && to_end {
                return rest.is_empty();
            }
        } else if is_last && to_end {
            return rest.ends_with(part);
        } else {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: Option<&str>, module: Option<&str>) -> FrameReport {
        FrameReport {
            kind: crate::stack::FrameKind::Native,
            function: function.into(),
            file: file.map(str::to_owned),
            line: None,
            module: module.map(str::to_owned),
            build_id: None,
            offset: None,
            generated: None,
            line_is_of_function: false,
        }
    }

    #[test]
    fn patterns_match_as_in_the_sanitizers() {
        for (pattern, text, expected) in [
            ("bar", "foobarbaz", true),
            ("foo*baz", "foobarbaz", true),
            ("^foo", "foobar", true),
            ("^bar", "foobar", false),
            ("bar$", "foobar", true),
            ("foo$", "foobar", false),
            ("^foobar$", "foobar", true),
            ("^foo$", "foobar", false),
            ("^f*r$", "foobar", true),
            ("a*a$", "a", false),
            ("a*a$", "aba", true),
            ("*bar", "foobar", true),
            ("foo*", "foobar", true),
            ("b*o", "foobar", false),
            ("x", "", false),
            ("ö*ß", "größe", true),
        ] {
            assert_eq!(is_found(pattern, text), expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn function_file_and_module_of_any_frame_are_matched() {
        let frames = [
            frame("malloc", None, Some("/lib/libc.so.6")).into(),
            frame("keep", Some("/srv/cache.c"), None).into(),
        ];
        for (pattern, expected) in [
            ("keep", true),
            ("cache.c$", true),
            ("libc.so", true),
            ("^kee*p", true),
            ("other", false),
        ] {
            let suppression = Suppression { pattern: pattern.into() };
            assert_eq!(suppression.matches(&frames), expected, "{pattern}");
        }
    }

    #[test]
    fn files_are_read_line_by_line() {
        let text = "# known\n\nleak:OPENSSL_init\r\n  leak:^libfoo*.so$\nrace:x\n";
        let found = parse(text).expect("suppressions");
        let patterns: Vec<_> = found.iter().map(|one| one.pattern.as_str()).collect();
        assert_eq!(patterns, ["OPENSSL_init", "^libfoo*.so$"]);
        assert!(parse("").expect("none").is_empty());
        for (text, line) in [("leak:a\nfoo", 2), ("lek:foo", 1), ("\u{1b}[31m", 1), ("leak", 1)] {
            let error = parse(text).expect_err(text);
            assert!(
                matches!(error, SuppressionError::NoSuppression { line: at, .. } if at == line)
            );
        }
        for text in ["leak:", "leak:*", "leak:^*$", "leak: "] {
            assert_eq!(parse(text), Err(SuppressionError::Everything { line: 1 }), "{text}");
        }
        let long = format!("leak:{}", "a*".repeat(50_000));
        let frames = [frame(&"ab".repeat(9000), None, None).into()];
        assert!(!parse(&long).expect("long")[0].matches(&frames));
    }
}
