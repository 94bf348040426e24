//! How large an object is, by its type and its own fields, and how many entries it has.

use super::kind::{Shape, TypeInfo};
use super::layout::HeapLayout;
use crate::runtime::memory::{u32_in, u64_in};

/// Objects larger than this are not believed, bytes.
pub const MAX_OBJECT_BYTES: u64 = 1 << 40;
/// `tp_flags`: made at run time.
const HEAP_TYPE: u64 = 1 << 9;

/// What is asked of a type for every object, in little room.
#[derive(Clone, Copy, Debug, Default)]
pub struct KindSize {
    basic_bytes: u32,
    item_bytes: u32,
    /// Bytes before the object, the collector's header among them.
    pub preheader_bytes: u8,
    /// Whether the collector's header is there.
    pub has_gc: bool,
    /// Whether its objects are types.
    is_type: bool,
    form: Form,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// `tp_basicsize` is all there is.
    #[default]
    Fixed,
    /// `ob_size` items follow.
    Items,
    /// As many digits as an int says.
    Int,
    Text,
}

impl KindSize {
    /// Of a type.
    pub fn new(kind: &TypeInfo, layout: &HeapLayout) -> Self {
        let form = match kind.shape {
            Shape::Text => Form::Text,
            Shape::Int if layout.text.int_is_tagged => Form::Int,
            // Their items are counted elsewhere: a frame's code knows how many slots it has.
            Shape::Frame | Shape::Generator
                if layout.frame.object_locals.is_none() || kind.shape == Shape::Generator =>
            {
                Form::Fixed
            }
            _ if kind.item_size != 0 => Form::Items,
            _ => Form::Fixed,
        };
        // A static type is smaller than `type` says; nothing is known of what follows it.
        let basic_bytes =
            if kind.shape == Shape::Type { layout.kind.static_bytes } else { kind.basic_size };
        // Those without a time zone are allocated without the field for it, which is the last.
        let has_optional_field = ["datetime.time", "datetime.datetime"].contains(&&*kind.name);
        let basic_bytes =
            if has_optional_field { basic_bytes.saturating_sub(8) } else { basic_bytes };
        Self {
            basic_bytes: u32::try_from(basic_bytes).unwrap_or(u32::MAX),
            item_bytes: u32::try_from(kind.item_size).unwrap_or(u32::MAX),
            preheader_bytes: kind.preheader_bytes as u8,
            has_gc: layout.gc_bytes != 0 && kind.flags >> 14 & 1 != 0,
            is_type: kind.shape == Shape::Type,
            form,
        }
    }

    /// The same of one object. A type that was not made by `type` has nothing before it, even where
    /// an extension asked malloc for it: the collector knows no such types.
    #[inline]
    pub fn of_object(mut self, object: &[u8], layout: &HeapLayout) -> Self {
        if self.is_type {
            let flags = u64_in(object, layout.kind.flags as usize).unwrap_or(0);
            if flags & HEAP_TYPE == 0 {
                self.preheader_bytes = 0;
                self.has_gc = false;
            }
        }
        self
    }

    /// Bytes of the object whose memory begins with `object`, without what is before it; `None`
    /// where it says what cannot be.
    #[inline]
    pub fn bytes_of(&self, object: &[u8], layout: &HeapLayout) -> Option<u64> {
        let first = || u64_in(object, layout.header_bytes as usize);
        let basic = u64::from(self.basic_bytes);
        let bytes = match self.form {
            Form::Fixed => basic,
            Form::Items => {
                // Ints up to 3.11 have their sign there.
                let items = first()?.cast_signed().unsigned_abs();
                basic.checked_add(items.checked_mul(u64::from(self.item_bytes))?)?
            }
            Form::Int => basic.checked_add((first()? >> 3).checked_mul(4)?)?.checked_sub(4)?,
            Form::Text => self.text_bytes(object, layout)?,
        };
        (bytes <= MAX_OBJECT_BYTES).then_some(bytes)
    }

    fn text_bytes(&self, object: &[u8], layout: &HeapLayout) -> Option<u64> {
        let text = &layout.text;
        let length = u64_in(object, text.length as usize)?;
        let state = u32_in(object, text.state as usize)?;
        let form = text.form(state);
        let width = u64::from(form.width);
        let is_legacy = width == 0 && !form.is_compact;
        if ![1, 2, 4].contains(&width) && !is_legacy {
            return None;
        }
        let data = match (form.is_compact, form.is_ascii) {
            (true, true) => text.ascii_data,
            (true, false) => text.compact_data,
            (false, _) => return Some(u64::from(self.basic_bytes)),
        };
        let characters = length.checked_add(1)?.checked_mul(width)?;
        data.checked_add(characters)
    }
}
