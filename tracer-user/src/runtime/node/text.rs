//! V8's strings, in all their forms: one or two bytes a character; in one piece, joined, sliced,
//! replaced by another, or kept outside of the heap.

use super::heap::{Heap, pointer, small_integer};
use crate::runtime::memory::u32_in;

/// Type numbers below this are strings.
pub(super) const FIRST_NONSTRING: u16 = 128;
/// The bits of a type number that say how the string is kept.
const FORM: u16 = 7;
const IN_ONE_PIECE: u16 = 0;
const JOINED: u16 = 1;
const OUTSIDE: u16 = 2;
const SLICED: u16 = 3;
const REPLACED: u16 = 5;
/// The bit for one byte a character.
const ONE_BYTE: u16 = 8;
/// The bit of a string outside whose address is not kept.
const UNCACHED: u16 = 16;

/// Offset of the characters of an object in one piece, in bytes. Others have two words there: what
/// is joined, sliced or replaced; the second half of what is joined, the start of a slice, the
/// address of what is outside.
const DATA: u64 = 16;

/// Objects that one string may consist of.
const MAX_PIECES: usize = 4096;
/// Bytes that are read at once.
const MAX_READ_BYTES: usize = 1 << 20;

/// A run of characters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run<'a> {
    /// One byte each (Latin-1).
    Narrow(&'a [u8]),
    /// Two bytes each (UTF-16, little-endian).
    Wide(&'a [[u8; 2]]),
}

/// Calls `visit` with the characters of the string that `word` points to, in order. `None` when it
/// is none, cannot be read, has more than `max_characters`, or `visit` wants no more; some of it may
/// have been visited.
pub(super) fn visit(
    heap: &Heap,
    word: u64,
    max_characters: usize,
    visit: impl FnMut(Run<'_>) -> Option<()>,
) -> Option<()> {
    let (_, _, length) = header(heap, word)?;
    (length <= max_characters).then(|| visit_part(heap, word, 0, length, visit)).flatten()
}

/// The same for `take` characters behind the first `skip`.
fn visit_part(
    heap: &Heap,
    word: u64,
    skip: usize,
    take: usize,
    mut visit: impl FnMut(Run<'_>) -> Option<()>,
) -> Option<()> {
    let mut waiting: Vec<(u64, usize, usize)> = vec![(word, skip, take)];
    for _ in 0..MAX_PIECES {
        let Some((word, skip, take)) = waiting.pop() else { return Some(()) };
        if take == 0 {
            continue;
        }
        let (address, type_number, length) = header(heap, word)?;
        if skip.checked_add(take).is_none_or(|end| end > length) {
            return None;
        }
        let [first, second] = heap.words(address + DATA)?;
        match type_number & FORM {
            IN_ONE_PIECE => run(heap, address + DATA, type_number, skip, take, &mut visit)?,
            OUTSIDE if type_number & UNCACHED == 0 => {
                run(heap, second, type_number, skip, take, &mut visit)?;
            }
            JOINED => {
                let (_, _, first_length) = header(heap, first)?;
                let in_first = first_length.saturating_sub(skip).min(take);
                waiting.push((second, skip.saturating_sub(first_length), take - in_first));
                waiting.push((first, skip, in_first));
            }
            SLICED => {
                let start = usize::try_from(small_integer(second)?).ok()?;
                waiting.push((first, start.checked_add(skip)?, take));
            }
            REPLACED => waiting.push((first, skip, take)),
            _ => return None,
        }
    }
    None
}

/// The string that `word` points to, if it has no more than `max_characters`.
pub(super) fn text(heap: &Heap, word: u64, max_characters: usize) -> Option<String> {
    let (_, _, length) = header(heap, word)?;
    (length <= max_characters).then(|| part(heap, word, 0, length)).flatten()
}

/// The last `max_characters` of the string that `word` points to, and whether that is all of it.
pub(super) fn tail(heap: &Heap, word: u64, max_characters: usize) -> Option<(String, bool)> {
    let (_, _, length) = header(heap, word)?;
    let take = length.min(max_characters);
    Some((part(heap, word, length - take, take)?, take == length))
}

fn part(heap: &Heap, word: u64, skip: usize, take: usize) -> Option<String> {
    let mut text = String::new();
    let mut wide = Vec::new();
    visit_part(heap, word, skip, take, |run| {
        match run {
            // Halves of one character may be in two runs.
            Run::Wide(units) => wide.extend(units.iter().map(|unit| u16::from_le_bytes(*unit))),
            Run::Narrow(bytes) => {
                take_wide(&mut wide, &mut text);
                text.extend(bytes.iter().map(|byte| char::from(*byte)));
            }
        }
        Some(())
    })?;
    take_wide(&mut wide, &mut text);
    Some(text)
}

fn take_wide(wide: &mut Vec<u16>, text: &mut String) {
    let decoded = char::decode_utf16(wide.drain(..));
    text.extend(decoded.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// Address, type and number of characters of a string.
fn header(heap: &Heap, word: u64) -> Option<(u64, u16, usize)> {
    let address = pointer(word)?;
    let [map, hash_and_length] = heap.words(address)?;
    let type_number = heap.type_of_map(map).filter(|number| *number < FIRST_NONSTRING)?;
    let length = u32_in(&hash_and_length.to_le_bytes(), 4)?;
    Some((address, type_number, length as usize))
}

/// Characters that lie together.
fn run(
    heap: &Heap,
    start: u64,
    type_number: u16,
    skip: usize,
    take: usize,
    visit: &mut impl FnMut(Run<'_>) -> Option<()>,
) -> Option<()> {
    let width = if type_number & ONE_BYTE != 0 { 1 } else { 2 };
    let mut at = start.checked_add((skip * width) as u64)?;
    let mut left = take * width;
    while left > 0 {
        let bytes = heap.bytes(at, left.min(MAX_READ_BYTES))?;
        match width {
            1 => visit(Run::Narrow(&bytes))?,
            _ => visit(Run::Wide(bytes.as_chunks::<2>().0))?,
        }
        at = at.checked_add(bytes.len() as u64)?;
        left -= bytes.len();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings in this process: an object for each, four words long, and their maps.
    #[expect(clippy::vec_box, reason = "what points to them must stay right")]
    struct Strings {
        maps: Vec<Box<[u64; 2]>>,
        objects: Vec<Box<[u64; 4]>>,
    }

    impl Strings {
        fn new() -> Self {
            Self { maps: Vec::new(), objects: Vec::new() }
        }

        /// A pointer to a string of that type and length.
        fn add(&mut self, type_number: u64, length: u64, first: u64, second: u64) -> u64 {
            let map = Box::new([0, type_number << 32]);
            let object = Box::new([map.as_ptr() as u64 | 1, length << 32 | 7, first, second]);
            let word = object.as_ptr() as u64 | 1;
            self.maps.push(map);
            self.objects.push(object);
            word
        }
    }

    #[test]
    fn every_form_of_string_is_read() {
        let heap = Heap::new(std::process::id());
        let mut strings = Strings::new();
        let plain = strings.add(40, 8, u64::from_le_bytes(*b"gr\xfc\xdfe...").to_owned(), 0);
        let wide =
            strings.add(32, 3, u64::from_le_bytes([0xac, 0x20, 0x3d, 0xd8, 0, 0xde, 0, 0]), 0);
        let outside = *b"outside";
        let external = strings.add(42, 7, 0, outside.as_ptr() as u64);
        let uncached = strings.add(58, 7, 0, outside.as_ptr() as u64);
        let joined = strings.add(33, 11, plain, wide);
        let sliced = strings.add(43, 3, plain, 2 << 32);
        let sliced_joined = strings.add(35, 4, joined, 6 << 32);
        let replaced = strings.add(45, 7, external, 0);
        let circle = strings.add(33, 8, 0, 0);
        strings.objects.last_mut().unwrap()[2] = circle;
        strings.objects.last_mut().unwrap()[3] = circle;
        let read = |word| text(&heap, word, 100);
        assert_eq!(read(plain).as_deref(), Some("grüße..."));
        assert_eq!(read(wide).as_deref(), Some("€😀"));
        assert_eq!(read(external).as_deref(), Some("outside"));
        assert_eq!(read(uncached), None);
        assert_eq!(read(joined).as_deref(), Some("grüße...€😀"));
        assert_eq!(read(sliced).as_deref(), Some("üße"));
        assert_eq!(read(sliced_joined).as_deref(), Some("..€\u{fffd}"));
        assert_eq!(read(replaced).as_deref(), Some("outside"));
        assert_eq!(read(circle), None);
        assert_eq!(text(&heap, plain, 7), None);
        let end = |word, length| tail(&heap, word, length);
        assert_eq!(end(joined, 5), Some(("..€😀".to_owned(), false)));
        assert_eq!(end(sliced, 2), Some(("ße".to_owned(), false)));
        assert_eq!(end(external, 7), Some(("outside".to_owned(), true)));
        assert_eq!(end(circle, 3), None);
        assert_eq!(read(0), None);
    }
}
