//! The strings of a snapshot, as they come: names are kept, contents go by.

use super::{
    columns::{NodeKind, Snapshot, name_in},
    reader::{At, Reader, SnapshotError},
};

/// An escape within a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    No,
    Backslash,
    /// Hexadecimal digits that came, and their value.
    Unicode(u8, u32),
}

impl Reader {
    /// Nodes and edges are there: only what names them is kept of the strings.
    pub(super) fn want_names(&mut self) {
        let Snapshot { kinds, names, labels, targets, texts, .. } = &mut self.snapshot;
        let unnamed = [
            NodeKind::String,
            NodeKind::StringOfOthers,
            NodeKind::Regexp,
            NodeKind::Number,
            NodeKind::BigInt,
            NodeKind::Symbol,
            NodeKind::Code,
        ]
        .map(|kind| kind as u8);
        for (kind, name) in kinds.iter().zip(names) {
            if !unnamed.contains(kind) {
                texts.want(*name);
            }
        }
        for label in labels.iter().take(targets.len()) {
            if let Some(name) = name_in(*label) {
                texts.want(name);
            }
        }
    }

    pub(super) fn read_strings(&mut self, text: &[u8]) -> Result<usize, SnapshotError> {
        let At::Strings(mut inside, mut escape) = self.at else { return Ok(0) };
        let most = self.snapshot.kinds.len() + self.snapshot.targets.len() + 1024;
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            if !inside {
                at += 1;
                match byte {
                    b'"' => inside = true,
                    b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
                    b']' => {
                        self.at = At::Key(Vec::new(), false);
                        return Ok(at);
                    }
                    _ => return Err(SnapshotError::Nonsense("a list of strings")),
                }
                continue;
            }
            if escape != Escape::No {
                escape = self.escaped(escape, byte)?;
                at += 1;
                continue;
            }
            let plain = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'));
            let plain = plain.unwrap_or(text.len() - at);
            if plain > 0 && self.snapshot.texts.wants_next() {
                self.high = None;
                self.snapshot.texts.push(&text[at..at + plain]);
            }
            at += plain;
            match text.get(at) {
                Some(b'"') => {
                    self.high = None;
                    self.snapshot.texts.end();
                    if self.snapshot.texts.len() > most {
                        return Err(SnapshotError::Nonsense("more strings than names"));
                    }
                    inside = false;
                    at += 1;
                }
                Some(_) => {
                    escape = Escape::Backslash;
                    at += 1;
                }
                None => {}
            }
        }
        self.at = At::Strings(inside, escape);
        Ok(at)
    }

    /// A byte of an escape; what is left of it then.
    fn escaped(&mut self, escape: Escape, byte: u8) -> Result<Escape, SnapshotError> {
        let nonsense = SnapshotError::Nonsense("an escape in a string");
        let wanted = self.snapshot.texts.wants_next();
        let mut put = |text: &str| {
            if wanted {
                self.snapshot.texts.push(text.as_bytes());
            }
        };
        match escape {
            Escape::No => {}
            Escape::Backslash => match byte {
                b'u' => return Ok(Escape::Unicode(0, 0)),
                b'"' => put("\""),
                b'\\' => put("\\"),
                b'/' => put("/"),
                b'n' | b'r' | b't' | b'b' | b'f' => put(" "),
                _ => return Err(nonsense),
            },
            Escape::Unicode(digits, value) => {
                let digit = char::from(byte).to_digit(16).ok_or(nonsense)?;
                let value = value << 4 | digit;
                if digits < 3 {
                    return Ok(Escape::Unicode(digits + 1, value));
                }
                let whole = match (self.high.take(), value) {
                    (_, 0xD800..0xDC00) => {
                        self.high = Some(value);
                        return Ok(Escape::No);
                    }
                    (Some(high), 0xDC00..0xE000) => {
                        0x10000 + ((high - 0xD800) << 10) + (value - 0xDC00)
                    }
                    (_, value) => value,
                };
                let whole = char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER);
                put(whole.encode_utf8(&mut [0; 4]));
            }
        }
        Ok(Escape::No)
    }
}
