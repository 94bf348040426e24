//! What is looked at: memory, types and objects, and finding an object by its address.

use super::traits::Traits;
use crate::heap::image::Image;
use crate::heap::python::{HeapLayout, Object, ObjectIndex, Objects, TypeIndex, TypeInfo};
use std::cell::Cell;
use std::collections::HashMap;

/// How often each word of the memory may be looked at in one go. A table that many objects claim
/// would otherwise be read for each of them.
const READS_PER_WORD: u64 = 12;

/// A heap, as the graph sees it.
pub(super) struct View<'a> {
    pub image: &'a Image,
    pub types: &'a [TypeInfo],
    pub objects: &'a Objects,
    pub layout: &'a HeapLayout,
    /// By [`TypeIndex`].
    pub traits: Vec<Traits>,
    /// The first type of the same name, by [`TypeIndex`].
    namesakes: Vec<TypeIndex>,
    /// Words that may still be looked at.
    budget: Cell<u64>,
    /// It was too small.
    is_cut: Cell<bool>,
}

impl<'a> View<'a> {
    pub fn new(
        image: &'a Image,
        types: &'a [TypeInfo],
        objects: &'a Objects,
        layout: &'a HeapLayout,
    ) -> Self {
        let traits = Traits::of_all(types, layout);
        let mut first: HashMap<&str, TypeIndex> = HashMap::new();
        let namesakes = types.iter().enumerate().map(|(index, kind)| {
            *first.entry(kind.name.as_str()).or_insert(TypeIndex(index as u32))
        });
        let namesakes = namesakes.collect();
        let view = Self {
            image,
            types,
            objects,
            layout,
            traits,
            namesakes,
            budget: Cell::new(0),
            is_cut: Cell::new(false),
        };
        view.refill();
        view
    }

    /// Minor version of CPython 3.
    #[inline]
    pub fn minor(&self) -> u8 {
        self.layout.version.minor
    }

    /// What stands for all types of the same name as this one: a class that is made in a function is
    /// a type for each call.
    pub fn namesake(&self, kind: TypeIndex) -> TypeIndex {
        self.namesakes.get(kind.0 as usize).copied().unwrap_or(kind)
    }

    /// Before each pass through the heap, or a part of it.
    pub fn refill(&self) {
        let words = self.image.length_bytes() / 8 + self.objects.all().len() as u64;
        self.budget.set(words.saturating_mul(READS_PER_WORD).saturating_add(1 << 16));
    }

    /// Whether something was left out, since the memory contradicts itself.
    pub fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// The object at exactly this address.
    #[inline]
    pub fn find(&self, avma: u64) -> Option<ObjectIndex> {
        self.objects.find(avma)
    }

    /// The object whose block holds an address.
    #[cfg(test)]
    pub fn around(&self, avma: u64) -> Option<ObjectIndex> {
        let all = self.objects.all();
        // The collector's header, and what else stands before the object, is within 32 bytes.
        let behind = all.partition_point(|object| object.avma <= avma.saturating_add(32));
        (behind.saturating_sub(2)..behind).map(|index| ObjectIndex(index as u32)).find(|index| {
            let object = self.object(*index);
            let start = object.avma.saturating_sub(32);
            (start..object.avma.saturating_add(u64::from(object.block_bytes))).contains(&avma)
        })
    }

    #[inline]
    pub fn object(&self, index: ObjectIndex) -> Object {
        self.objects.get(index).copied().unwrap_or_default()
    }

    pub fn kind(&self, index: ObjectIndex) -> Option<&'a TypeInfo> {
        self.type_at(self.object(index).kind)
    }

    pub fn type_at(&self, index: TypeIndex) -> Option<&'a TypeInfo> {
        self.types.get(index.0 as usize)
    }

    /// Bytes of an object's block from the object on.
    pub fn bytes_from(&self, index: ObjectIndex) -> u64 {
        let object = self.object(index);
        let before = self.type_at(object.kind).map_or(0, |kind| kind.preheader_bytes);
        u64::from(object.block_bytes).saturating_sub(before)
    }

    /// A word; 0 where there is none.
    #[inline]
    pub fn word(&self, avma: u64) -> u64 {
        self.image.word(avma).unwrap_or(0)
    }

    /// As many words from an address on; fewer where the memory ends.
    pub fn words(&self, avma: u64, count: u64) -> impl Iterator<Item = u64> + 'a {
        let room = self
            .image
            .region_at(avma)
            .map_or(0, |region| region.range().end.saturating_sub(avma) / 8);
        let count = count.min(room);
        let granted = count.min(self.budget.get());
        self.budget.set(self.budget.get() - granted);
        self.is_cut.set(self.is_cut.get() || granted < count);
        let length = granted.saturating_mul(8);
        let bytes = self.image.bytes(avma, length as usize).unwrap_or_default();
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
    }

    /// How many references there are to an object by its own count; `None` for one that counts
    /// none (immortal, from 3.12 on).
    pub fn references_counted(&self, index: ObjectIndex) -> Option<u64> {
        let word = self.word(self.object(index).avma);
        if self.minor() < 12 {
            return Some(word);
        }
        let low = word & 0xffff_ffff;
        (low < 1 << 31).then_some(low)
    }
}
