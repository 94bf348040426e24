//! How people know the place of a script: `file:` addresses as paths, texts of `eval` by where
//! these were evaluated.

/// The name of a script, as V8 has it, for people.
pub fn display_path(name: &str) -> String {
    match name.strip_prefix("file://") {
        Some(rest) if rest.starts_with('/') => decoded_path(rest),
        _ => name.to_owned(),
    }
}

/// The place where a text was evaluated, in V8's words.
pub(super) fn eval_path(function: &str, file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("eval at {function} ({file}:{line})"),
        (Some(file), None) => format!("eval at {function} ({file})"),
        (None, _) => format!("eval at {function}"),
    }
}

/// The path that an address stands for: without a query, which loaders add to load a file anew
/// (`app.mjs?update=1`), and decoded.
pub(super) fn decoded_path(address: &str) -> String {
    decoded(address.split(['?', '#']).next().unwrap_or(address))
}

/// `%20` and the like, decoded; what is not UTF-8 then stays as it is.
fn decoded(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, pair) {
            (b'%', (Some(high), Some(low))) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files_become_paths() {
        for (name, expected) in [
            ("file:///srv/a%20b/%C3%A4.mjs", "/srv/a b/ä.mjs"),
            ("file:///srv/a.mjs?update=1#x", "/srv/a.mjs"),
            ("file:///srv/%ff%2", "/srv/%ff%2"),
            ("/srv/a%20b.js", "/srv/a%20b.js"),
            ("node:internal/fs/utils", "node:internal/fs/utils"),
            ("evalmachine.<anonymous>", "evalmachine.<anonymous>"),
            ("file://host/x", "file://host/x"),
        ] {
            assert_eq!(display_path(name), expected);
        }
    }

    #[test]
    fn places_of_evaluated_texts_are_told_as_far_as_they_are_known() {
        assert_eq!(eval_path("f", Some("/a.js"), Some(3)), "eval at f (/a.js:3)");
        assert_eq!(eval_path("f", Some("/a.js"), None), "eval at f (/a.js)");
        assert_eq!(eval_path("f", None, Some(3)), "eval at f");
    }
}
