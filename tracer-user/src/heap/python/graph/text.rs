//! Texts of the target's: names of attributes, modules, functions and variables, and keys.

use super::edges;
use super::label::{Edge, Label};
use super::traits::last_name;
use super::view::View;
use crate::heap::python::{ObjectIndex, Shape};
use crate::printable::printable;
use crate::runtime::memory::u32_in;

/// Longest name that is shown, and longest key; characters.
const LONGEST_NAME: usize = 120;
const LONGEST_KEY: usize = 24;
/// Kind of a variable that a function took from around it.
const FREE: u8 = 0x80;

impl View<'_> {
    pub fn byte(&self, avma: u64) -> u8 {
        self.image.bytes(avma, 1).map_or(0, |bytes| bytes[0])
    }

    pub fn half(&self, avma: u64) -> u32 {
        self.image.bytes(avma, 4).and_then(|bytes| u32_in(bytes, 0)).unwrap_or(0)
    }

    /// A text object, no longer than names are.
    pub fn text(&self, avma: u64) -> Option<String> {
        self.text_up_to(avma, LONGEST_NAME).map(|(text, _)| text)
    }

    /// The first characters of a text object, and whether that is all of it.
    fn text_up_to(&self, avma: u64, limit: usize) -> Option<(String, bool)> {
        let is_text = self.kind(self.find(avma)?)?.shape == Shape::Text;
        if !is_text {
            return None;
        }
        let places = &self.layout.text;
        let length = self.word(avma.checked_add(places.length)?);
        let state = self.half(avma.checked_add(places.state)?);
        let form = places.form(state);
        if !form.is_compact {
            return None;
        }
        let data = if form.is_ascii { places.ascii_data } else { places.compact_data };
        let shown = length.min(limit as u64) as usize;
        let wide = form.width as usize;
        let bytes = self.image.bytes(avma.checked_add(data)?, shown.checked_mul(wide)?)?;
        let text: String = match wide {
            1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            2 => char::decode_utf16(
                bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)),
            )
            .map(|unit| unit.unwrap_or('?'))
            .collect(),
            4 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|unit| char::from_u32(u32::from_le_bytes(*unit)).unwrap_or('?'))
                .collect(),
            _ => return None,
        };
        Some((printable(&text), length <= limit as u64))
    }

    /// A key as code would write it, cut short; `None` for one that is neither text nor number nor
    /// a `ContextVar`.
    pub fn key(&self, avma: u64) -> Option<String> {
        if let Some((text, is_all)) = self.text_up_to(avma, LONGEST_KEY) {
            let more = if is_all { "" } else { "…" };
            return Some(format!("'{text}{more}'"));
        }
        let kind = self.kind(self.find(avma)?)?;
        match kind.shape {
            Shape::Int => self.number(avma).map(|number| number.to_string()),
            // A variable of a context is called by its name.
            Shape::Other if last_name(&kind.name) == "ContextVar" => {
                let name = self.text(self.word(avma.checked_add(16)?))?;
                Some(format!("'{name}'"))
            }
            _ => None,
        }
    }

    /// An integer of at most two digits.
    fn number(&self, avma: u64) -> Option<i64> {
        let head = self.word(avma.checked_add(16)?);
        let (digits, is_negative) = if self.layout.text.int_is_tagged {
            (head >> 3, head & 3 == 2)
        } else {
            (head.cast_signed().unsigned_abs(), head.cast_signed() < 0)
        };
        let digit = |index: u64| i64::from(self.half(avma.saturating_add(24 + index * 4)));
        let value = match digits {
            0 => 0,
            1 => digit(0),
            2 => digit(0) | digit(1) << 30,
            _ => return None,
        };
        Some(if is_negative { -value } else { value })
    }

    /// The name of a module.
    pub fn module_name(&self, index: ObjectIndex) -> Option<String> {
        let avma = self.object(index).avma;
        if let Some(name) = self.text(self.word(avma.checked_add(self.layout.small.module_name)?)) {
            return Some(name);
        }
        // Where the structure is another (3.15), by what the module says of itself.
        let namespace = self.find(self.word(avma.checked_add(self.layout.small.module_dict)?))?;
        let mut name = None;
        edges::each(self, namespace, &mut |edge: Edge| {
            if let Label::Value(key) = edge.label
                && name.is_none()
                && self.text(key).as_deref() == Some("__name__")
            {
                name = self.text(edge.target);
            }
        });
        name
    }

    /// The qualified name of a code object.
    pub fn code_name(&self, code: u64) -> Option<String> {
        let places = &self.layout.code;
        self.text(self.word(code.checked_add(places.qualname.unwrap_or(places.name))?))
    }

    /// Module and qualified name of a function.
    pub fn function_name(&self, index: ObjectIndex) -> Option<String> {
        let avma = self.object(index).avma;
        let places = &self.layout.function;
        let name = self.text(self.word(avma.checked_add(places.qualname)?))?;
        match self.text(self.word(avma.checked_add(places.module)?)) {
            Some(module) => Some(format!("{module}.{name}")),
            None => Some(name),
        }
    }

    /// The name of a variable of a code object, by its place in a frame.
    pub fn local_name(&self, code: u64, index: u64) -> Option<String> {
        let places = &self.layout.code;
        let at = |offset: u64| self.word(code.saturating_add(offset));
        if let Some(names) = places.slot_names {
            return self.text(self.tuple_item(at(names), index)?);
        }
        let mut index = index;
        for offset in places.variable_names? {
            let names = at(offset);
            let count = self.word(names.saturating_add(16));
            if index < count {
                return self.text(self.tuple_item(names, index)?);
            }
            index -= count;
        }
        None
    }

    /// The name of a variable that a function takes from around it.
    pub fn free_name(&self, code: u64, index: u64) -> Option<String> {
        let places = &self.layout.code;
        let at = |offset: u64| self.word(code.saturating_add(offset));
        if let Some([_, _, free]) = places.variable_names {
            return self.text(self.tuple_item(at(free), index)?);
        }
        let kinds = at(places.slot_kinds?);
        let count = self.word(kinds.saturating_add(16)).min(1 << 16);
        let kinds = self.image.bytes(kinds.checked_add(32)?, count as usize)?;
        let free = |kind: &(usize, &u8)| kind.1 & FREE != 0;
        let (place, _) = kinds.iter().enumerate().filter(free).nth(index as usize)?;
        self.local_name(code, place as u64)
    }

    fn tuple_item(&self, avma: u64, index: u64) -> Option<u64> {
        let count = self.word(avma.checked_add(16)?);
        let at = self.layout.tuple_items.checked_add(index.checked_mul(8)?)?;
        (index < count).then(|| self.word(avma.saturating_add(at)))
    }
}

impl View<'_> {
    /// The code of a frame or of a generator that is not over.
    pub fn code_of(&self, index: ObjectIndex) -> Option<u64> {
        let avma = self.object(index).avma;
        let places = &self.layout.frame;
        let is_frame = self.kind(index)?.shape == Shape::Frame;
        let frame = match places.object_frame {
            Some(frame) if is_frame => self.word(avma.checked_add(frame)?),
            Some(_) => avma.checked_add(places.generator_frame)?,
            None if is_frame => avma,
            None => return Some(self.word(avma.checked_add(places.generator_code?)?)),
        };
        Some(self.word(frame.checked_add(places.code)?) & !3)
    }

    /// The coroutine that a task runs.
    pub fn coroutine_of(&self, task: ObjectIndex) -> Option<ObjectIndex> {
        let (object, kind) = (self.object(task), self.kind(task)?);
        let words = kind.basic_size.min(512) / 8;
        self.words(object.avma.checked_add(16)?, words.saturating_sub(2))
            .filter_map(|word| self.find(word))
            .find(|index| self.kind(*index).is_some_and(|kind| kind.shape == Shape::Generator))
    }
}
