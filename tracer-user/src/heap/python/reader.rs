//! Reading single objects of an image: texts, entries of dicts. For what is done for every object
//! see `scan` and `tables`.

use super::layout::{HeapLayout, KeysForm};
use crate::heap::Image;
use crate::runtime::memory::u64_in;

/// Longest text that is read as a name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Most entries of a dict that are believed.
const MAX_ENTRIES: u64 = 1 << 31;

/// A keys table of a dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysTable {
    /// Bytes of it, as the interpreter asked for them.
    pub length_bytes: u64,
    /// Where its entries begin, how many are in use or were, bytes of one.
    pub entries_avma: u64,
    /// See the field above.
    pub entries: u64,
    /// See the field above.
    pub entry_bytes: u64,
    /// Key and value in an entry; the values of shared tables lie elsewhere.
    pub key: u64,
    /// See the field above.
    pub value: u64,
    /// Entries that it has room for.
    pub room: u64,
    /// Whether instances share it.
    pub is_shared: bool,
}

/// Reads objects.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The memory.
    pub image: &'a Image,
    /// Where things are.
    pub layout: &'a HeapLayout,
}

impl<'a> Reader<'a> {
    /// A word of an object.
    #[inline]
    pub fn field(&self, avma: u64, offset: u64) -> Option<u64> {
        self.image.word(avma.checked_add(offset)?)
    }

    /// The type of an object.
    #[inline]
    pub fn kind_avma(&self, avma: u64) -> Option<u64> {
        self.field(avma, self.layout.object_kind)
    }

    /// The text at an address, if one is there; cut at `limit` bytes.
    ///
    /// The caller knows that it is a `str`, or does not mind garbage.
    pub fn text(&self, avma: u64, limit: usize) -> Option<String> {
        let layout = &self.layout.text;
        let state = self.image.half_word(avma.checked_add(layout.state)?)?;
        let length = usize::try_from(self.field(avma, layout.length)?).ok()?;
        let form = layout.form(state);
        let data = match (form.is_compact, form.is_ascii) {
            (true, true) => avma.checked_add(layout.ascii_data)?,
            (true, false) => avma.checked_add(layout.compact_data)?,
            (false, _) => self.field(avma, layout.data_pointer)?,
        };
        let length = length.min(limit);
        let bytes = |width: usize| self.image.bytes(data, length.checked_mul(width)?);
        let unknown = char::REPLACEMENT_CHARACTER;
        let mut text: String = match form.width {
            1 => bytes(1)?.iter().map(|byte| char::from(*byte)).collect(),
            2 => char::decode_utf16(
                bytes(2)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])),
            )
            .map(|character| character.unwrap_or(unknown))
            .collect(),
            4 => bytes(4)?
                .chunks_exact(4)
                .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .map(|number| char::from_u32(number).unwrap_or(unknown))
                .collect(),
            _ => return None,
        };
        if text.len() > limit {
            let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        Some(text)
    }

    /// The keys table at an address.
    #[inline]
    pub fn keys_table(&self, avma: u64) -> Option<KeysTable> {
        match self.layout.dict.keys_form {
            KeysForm::Sized => {
                let head = self.image.bytes(avma, 40)?;
                let word = |at: usize| u64_in(head, at);
                let (slots, entries) = (word(8)?, word(32)?);
                if !slots.is_power_of_two() || slots > MAX_ENTRIES || entries > slots {
                    return None;
                }
                let index_bytes = match slots {
                    ..=0xff => 1,
                    0x100..=0xffff => 2,
                    _ if slots <= 0xffff_ffff => 4,
                    _ => 8,
                } * slots;
                // USABLE_FRACTION
                let room = (slots << 1) / 3;
                let entries_avma = avma.checked_add(40)?.checked_add(index_bytes)?;
                Some(KeysTable {
                    length_bytes: 40 + index_bytes + 24 * room,
                    entries_avma,
                    entries: entries.min(room),
                    entry_bytes: 24,
                    key: 8,
                    value: 16,
                    room,
                    is_shared: false,
                })
            }
            KeysForm::Logarithmic => {
                let head = self.image.bytes(avma, 32)?;
                let word = |at: usize| u64_in(head, at);
                let (log_slots, log_index_bytes, kind) = (head[8], head[9], head[10]);
                if log_slots > 31 || log_index_bytes > 34 || kind > 2 {
                    return None;
                }
                let (usable, entries) = (word(16)?, word(24)?);
                let room = (2 << log_slots) / 3;
                if entries > room || usable > room {
                    return None;
                }
                let index_bytes = 1_u64 << log_index_bytes;
                let entries_avma = avma.checked_add(32)?.checked_add(index_bytes)?;
                let (entry_bytes, key) = if kind == 0 { (24, 8) } else { (16, 0) };
                Some(KeysTable {
                    length_bytes: 32 + index_bytes + entry_bytes * room,
                    entries_avma,
                    entries,
                    entry_bytes,
                    key,
                    value: key + 8,
                    room,
                    is_shared: kind == 2,
                })
            }
        }
    }

    /// The keys table of a dict, and where the values of a dict that shares it lie.
    #[inline]
    pub fn dict_tables(&self, dict_avma: u64) -> Option<(u64, KeysTable, Option<u64>)> {
        let keys_avma = self.field(dict_avma, self.layout.dict.keys)?;
        let values = self.field(dict_avma, self.layout.dict.values)?;
        let keys = self.keys_table(keys_avma)?;
        let values = match values {
            0 => None,
            values => Some(values.checked_add(self.layout.dict.first_value)?),
        };
        Some((keys_avma, keys, values))
    }

    /// Shows the entries of a dict, at most `limit` of them, until `visit` says that it is enough
    /// (false).
    pub fn visit_dict(&self, dict_avma: u64, limit: u64, mut visit: impl FnMut(u64, u64) -> bool) {
        let Some((_, keys, values)) = self.dict_tables(dict_avma) else { return };
        for index in 0..keys.entries.min(limit) {
            let entry = keys.entries_avma.saturating_add(index * keys.entry_bytes);
            let Some(key) = self.field(entry, keys.key) else { return };
            let value = match values {
                Some(values) => self.image.word(values.saturating_add(8 * index)),
                None => self.field(entry, keys.value),
            };
            let Some(value) = value else { return };
            if key != 0 && value != 0 && !visit(key, value) {
                return;
            }
        }
    }
}
