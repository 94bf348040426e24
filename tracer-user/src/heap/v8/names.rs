//! Strings of a snapshot that are names: of constructors, functions, variables, properties. Others
//! are contents of the program's own strings and are not kept, not even in part.

/// Bytes of a name that are kept.
const MAX_NAME_BYTES: usize = 96;
/// Bytes of all names together.
const MAX_ALL_BYTES: usize = 64 << 20;
/// What V8 calls the way from the key of a WeakMap to its value.
const EPHEMERON: &[u8] = b" / part of key (";

/// Names by the index of their string.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Which strings are names; one bit each.
    wanted: Vec<u64>,
    /// Which say that an edge goes from the key of a WeakMap to its value.
    ephemerons: Vec<u64>,
    text: Vec<u8>,
    /// Where each string's text ends; that of one that is not kept is empty.
    ends: Vec<u32>,
    /// Names for which there was no room.
    pub(super) left_out: u64,
}

impl Names {
    pub(super) fn memory_bytes(&self) -> u64 {
        let words = self.wanted.capacity() + self.ephemerons.capacity();
        (words * 8 + self.ends.capacity() * 4 + self.text.capacity()) as u64
    }

    /// Has the text of a string kept. Before the strings come.
    pub(super) fn want(&mut self, index: u32) {
        set(&mut self.wanted, index);
    }

    /// Strings that came.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the text of the next string is wanted.
    pub(super) fn wants_next(&self) -> bool {
        is_set(&self.wanted, self.ends.len() as u32)
    }

    /// Takes in a part of the next string, where that is wanted.
    pub(super) fn push(&mut self, part: &[u8]) {
        let begin = self.ends.last().map_or(0, |end| *end as usize);
        let room = MAX_NAME_BYTES.saturating_sub(self.text.len() - begin);
        self.text.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Ends the next string.
    pub(super) fn end(&mut self) {
        let begin = self.ends.last().map_or(0, |end| *end as usize);
        let text = &self.text[begin..];
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 && text[digits..].starts_with(EPHEMERON) {
            set(&mut self.ephemerons, self.ends.len() as u32);
            self.text.truncate(begin);
        } else if self.text.len() > MAX_ALL_BYTES {
            self.text.truncate(begin);
            self.left_out += 1;
        }
        self.ends.push(self.text.len() as u32);
    }

    /// Whether this is the name of a way from the key of a WeakMap to its value.
    pub(super) fn is_ephemeron(&self, index: u32) -> bool {
        is_set(&self.ephemerons, index)
    }

    /// A name, cut; empty where it is none or was left out.
    pub(super) fn get(&self, index: u32) -> &str {
        let index = index as usize;
        let begin = if index == 0 { Some(&0) } else { self.ends.get(index - 1) };
        let range = begin.zip(self.ends.get(index));
        let text = range.and_then(|(begin, end)| self.text.get(*begin as usize..*end as usize));
        let text = text.unwrap_or_default();
        match std::str::from_utf8(text) {
            Ok(text) => text,
            // A cut within a character, or garbage.
            Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}

fn set(bits: &mut Vec<u64>, index: u32) {
    let word = index as usize / 64;
    if word >= bits.len() {
        bits.resize(word + 1, 0);
    }
    bits[word] |= 1 << (index % 64);
}

fn is_set(bits: &[u64], index: u32) -> bool {
    bits.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}
