//! Scripts: what their file is called, and which line a character is on.

use super::heap::{ARRAY_DATA, Heap, pointer, small_integer};
use super::objects::ObjectLayout;
use super::text::{Run, text, visit};

/// Longest path or address that is read, in characters.
const MAX_PATH_CHARACTERS: usize = 4096;
/// Longest source that is searched for the ends of its lines, in characters.
const MAX_SOURCE_CHARACTERS: usize = 32 << 20;
/// Most lines of one script.
const MAX_LINES: usize = 1 << 22;

/// `Script.id`, in bytes; all but the last few fields are at the same place in all versions.
const ID: u64 = 64;
/// Words of it that are read: up to `eval_from_position`.
const WORDS: usize = 11;

/// A place in a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// 1-based.
    pub(super) line: u32,
    /// 0-based, in UTF-16 units.
    pub(super) column: u32,
}

/// What names a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Number that V8 has given it; with its address it is known for ever.
    pub(super) id: i32,
    /// Its address by its own words (`//# sourceURL`), else what it was loaded as.
    pub(super) name: Option<String>,
    /// The function whose `eval` it is the text of (a word of the heap), and where in it, as V8
    /// says that.
    pub(super) eval_origin: Option<(u64, i32)>,
    /// Where its source map is (a word of the heap).
    pub(super) map_word: u64,
    line_offset: i32,
    column_offset: i32,
    /// Offset of the character that ends each line.
    line_ends: Vec<u32>,
}

impl Script {
    /// The number of the script at `address`.
    pub(super) fn read_id(heap: &Heap, address: u64) -> Option<i32> {
        small_integer(heap.word(address + ID)?)
    }

    /// Reads the script at `address`.
    pub(super) fn read(heap: &Heap, objects: &ObjectLayout, address: u64) -> Option<Self> {
        let words: [u64; WORDS] = heap.words(address)?;
        let [_, source, name, line_offset, column_offset, _, _, line_ends, id, eval, eval_at] =
            words;
        let [source_url, map_word] = heap.words(address + u64::from(objects.script_source_url))?;
        let path =
            |word: u64| text(heap, word, MAX_PATH_CHARACTERS).filter(|text| !text.is_empty());
        let line_ends = read_line_ends(heap, objects, line_ends)
            .or_else(|| find_line_ends(heap, source))
            .unwrap_or_default();
        Some(Self {
            id: small_integer(id)?,
            name: path(source_url).or_else(|| path(name)),
            eval_origin: heap
                .object(eval, objects.types.shared)
                .map(|_| (eval, small_integer(eval_at).unwrap_or(0))),
            map_word,
            line_offset: small_integer(line_offset).unwrap_or(0),
            column_offset: small_integer(column_offset).unwrap_or(0),
            line_ends,
        })
    }

    /// The line and column of the character at `offset`; `None` behind the end.
    pub(super) fn place(&self, offset: u32) -> Option<Place> {
        let index = self.line_ends.partition_point(|end| *end < offset);
        if index >= self.line_ends.len() {
            return None;
        }
        let start = index.checked_sub(1).map_or(0, |before| self.line_ends[before] + 1);
        let mut column = i64::from(offset - start);
        if index == 0 {
            column += i64::from(self.column_offset);
        }
        let line = index as i64 + i64::from(self.line_offset) + 1;
        Some(Place {
            line: u32::try_from(line).ok().filter(|line| *line > 0)?,
            column: u32::try_from(column).unwrap_or(0),
        })
    }

    /// Bytes of its texts and lines.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + 4 * self.line_ends.len() + self.name.as_ref().map_or(0, String::len)
    }
}

/// The ends of lines as V8 keeps them, once it has needed them.
fn read_line_ends(heap: &Heap, objects: &ObjectLayout, word: u64) -> Option<Vec<u32>> {
    let address = heap.object(word, objects.types.fixed_array)?;
    let count = heap.array_length(address).filter(|count| (1..=MAX_LINES).contains(count))?;
    let words = heap.word_list(address + ARRAY_DATA, count)?;
    let ends: Option<Vec<u32>> =
        words.iter().map(|word| u32::try_from(small_integer(*word)?).ok()).collect();
    ends.filter(|ends| ends.is_sorted())
}

/// The ends of lines by the source itself: a line ends at a line feed, a carriage return without
/// one, or one of Unicode's two separators; the last one at the end. What lies behind
/// [`MAX_LINES`] has none.
fn find_line_ends(heap: &Heap, source: u64) -> Option<Vec<u32>> {
    pointer(source)?;
    let mut ends = Vec::new();
    let mut at = 0_u32;
    let mut is_after_return = false;
    let mut step = |unit: u16| {
        if is_after_return && unit != 0x0a {
            ends.push(at - 1);
        }
        if matches!(unit, 0x0a | 0x2028 | 0x2029) {
            ends.push(at);
        }
        is_after_return = unit == 0x0d;
        at += 1;
        (ends.len() < MAX_LINES).then_some(())
    };
    let whole = visit(heap, source, MAX_SOURCE_CHARACTERS, |run| match run {
        Run::Narrow(bytes) => bytes.iter().try_for_each(|byte| step(u16::from(*byte))),
        Run::Wide(units) => units.iter().try_for_each(|unit| step(u16::from_le_bytes(*unit))),
    });
    if whole.is_some() {
        if is_after_return {
            ends.push(at - 1);
        }
        ends.push(at);
    } else if ends.len() < MAX_LINES {
        return None;
    }
    ends.truncate(MAX_LINES);
    ends.shrink_to_fit();
    Some(ends)
}
