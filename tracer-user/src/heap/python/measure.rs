//! What objects cost and how long containers are: what is asked of single objects.

use super::heap::PythonHeap;
use super::kind::Shape;
use super::object::ObjectIndex;
use super::tables::{Owned, most_blocks};
use std::cell::Cell;

/// A table, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnedRange {
    start_avma: u64,
    length_bytes: u32,
    owner: u32,
}

impl PythonHeap<'_> {
    /// Finds what objects own, in one pass through them.
    pub(super) fn owned(&self) -> Owned<'_> {
        Owned {
            reader: self.reader(),
            pools: &self.pools,
            has_chunks: self.has_chunks,
            prefix_bytes: self.prefix_bytes,
            blocks_left: Cell::new(most_blocks(
                self.image.length_bytes(),
                self.layout.deque.block_bytes,
            )),
            is_cut: Cell::new(false),
        }
    }

    /// What the allocator pays for an object and the tables that it owns; bytes.
    pub fn bytes_of(&self, object: ObjectIndex) -> u64 {
        self.bytes_by(&self.owned(), object)
    }

    /// The same of one of many, which share what bounds a pass through them.
    pub(super) fn bytes_by(&self, owned: &Owned<'_>, object: ObjectIndex) -> u64 {
        let Some(it) = self.objects.get(object) else { return 0 };
        let mut bytes = u64::from(it.block_bytes);
        owned.visit(self.kind_of(object), it.avma, |table| {
            bytes = bytes.saturating_add(owned.paid(table).bytes);
        });
        bytes
    }

    /// Entries of a container, bytes or characters; `None` for what has no length.
    pub fn length_of(&self, object: ObjectIndex) -> Option<u64> {
        let avma = self.objects.get(object)?.avma;
        self.length_at(self.kind_of(object).shape, avma)
    }

    /// The same where the shape is known.
    #[inline]
    pub(super) fn length_at(&self, shape: Shape, avma: u64) -> Option<u64> {
        // A negative length is none.
        self.image.word(self.length_word(shape, avma)?).filter(|length| *length < 1 << 40)
    }

    /// The word of the target's memory that holds a container's length: it can be read again at
    /// any time while the container lives.
    pub fn length_field(&self, object: ObjectIndex) -> Option<u64> {
        let avma = self.objects.get(object)?.avma;
        self.length_word(self.kind_of(object).shape, avma)
    }

    #[inline]
    fn length_word(&self, shape: Shape, avma: u64) -> Option<u64> {
        let layout = &self.layout;
        match shape {
            Shape::Dict => avma.checked_add(layout.dict.used),
            Shape::Set => avma.checked_add(layout.set.used),
            Shape::List | Shape::Tuple | Shape::Deque | Shape::Bytes | Shape::ByteArray => {
                avma.checked_add(layout.header_bytes)
            }
            Shape::Text => avma.checked_add(layout.text.length),
            Shape::LruCache => {
                let cache = self.reader().field(avma, layout.small.lru_cache)?;
                self.objects
                    .find(cache)
                    .filter(|cache| self.kind_of(*cache).shape == Shape::Dict)
                    .and_then(|_| cache.checked_add(layout.dict.used))
            }
            _ => None,
        }
    }

    /// The object whose own block, or a table that it owns, holds an address.
    ///
    /// # Cost
    /// The first address that is in no object's own block makes an index of all tables: about
    /// 100 ns and 16 bytes for each.
    pub fn block_at(&self, avma: u64) -> Option<ObjectIndex> {
        if let Some(found) = self.object_around(avma) {
            return Some(found);
        }
        let tables = self.table_index.get_or_init(|| self.index_tables());
        let behind = tables.partition_point(|table| table.start_avma <= avma);
        let table = tables.get(behind.checked_sub(1)?)?;
        (avma - table.start_avma < u64::from(table.length_bytes))
            .then_some(ObjectIndex(table.owner))
    }

    /// The object whose own block holds an address.
    pub(super) fn object_around(&self, avma: u64) -> Option<ObjectIndex> {
        let all = self.objects.all();
        let behind = all.partition_point(|object| object.avma <= avma);
        let holds = |index: usize| {
            let object = all.get(index)?;
            let before = self.kind_of(ObjectIndex(index as u32)).preheader_bytes;
            let start = object.avma.checked_sub(before)?;
            let length = u64::from(object.block_bytes).max(8);
            (start..start.saturating_add(length))
                .contains(&avma)
                .then_some(ObjectIndex(index as u32))
        };
        // What lies before an object is part of its block.
        holds(behind).or_else(|| holds(behind.checked_sub(1)?))
    }

    fn index_tables(&self) -> Vec<OwnedRange> {
        let owned = self.owned();
        let mut tables = Vec::new();
        for (index, object) in self.objects.all().iter().enumerate() {
            owned.visit(self.kind_of(ObjectIndex(index as u32)), object.avma, |table| {
                let length = table.asked_bytes.max(owned.paid(table).bytes);
                tables.push(OwnedRange {
                    start_avma: table.avma,
                    length_bytes: u32::try_from(length).unwrap_or(u32::MAX),
                    owner: index as u32,
                });
            });
        }
        tables.sort_unstable_by_key(|table| table.start_avma);
        tables
    }
}
