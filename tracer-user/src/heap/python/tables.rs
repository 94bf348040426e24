//! What an object owns beside its own block: tables of dicts and sets, items of lists, blocks of
//! deques, values of instances, characters.

use super::chunk::chunk_at;
use super::kind::{Shape, TypeInfo};
use super::layout::InstanceForm;
use super::pools::{PoolHeader, Pools};
use super::prefix;
use super::reader::Reader;
use crate::heap::RegionKind;
use std::cell::Cell;

/// Tables larger than this are not believed, bytes.
const MAX_TABLE_BYTES: u64 = 1 << 40;
/// Largest block that pools have, bytes.
const MAX_POOLED_BYTES: u64 = 512;
/// `tp_flags`: instances have a dict, or values, before them; within them.
const MANAGED_DICT: u64 = 1 << 4;
const INLINE_VALUES: u64 = 1 << 2;
/// `tp_flags`: made at run time.
const HEAP_TYPE: u64 = 1 << 9;
/// Of numpy's arrays: data, flags, and the flag of those that own their data.
const ARRAY_DATA: u64 = 16;
const ARRAY_FLAGS: u64 = 64;
const OWNS_DATA: u64 = 4;

/// A block that belongs to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Where it begins.
    pub avma: u64,
    /// What was asked for, bytes; 0 where only the allocator knows.
    pub asked_bytes: u64,
}

/// What the allocator pays for a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    /// Bytes of its block.
    pub bytes: u64,
    /// Whether that is in a pool.
    pub is_pooled: bool,
}

/// As many blocks of deques as an image has room for are believed of all deques together, and as
/// many again: blocks of an image that was read while the program ran may be met twice. Deques that
/// claim each other's blocks would otherwise take the product of their numbers, in time and memory.
const BLOCKS_PER_PLACE: u64 = 2;

/// Finds what objects own, in one pass through them.
#[derive(Clone, Debug)]
pub struct Owned<'a> {
    /// The objects.
    pub reader: Reader<'a>,
    /// Where pools are.
    pub pools: &'a Pools,
    /// Whether blocks outside pools have glibc's headers.
    pub has_chunks: bool,
    /// What the interpreter puts before each block, bytes.
    pub prefix_bytes: u64,
    /// Blocks of deques, but for the first of each, that may still be shown.
    pub blocks_left: Cell<u64>,
    /// They were too few.
    pub is_cut: Cell<bool>,
}

/// Blocks of deques that may be shown in one pass through an image of so many bytes.
pub fn most_blocks(image_bytes: u64, block_bytes: u64) -> u64 {
    (image_bytes / block_bytes).saturating_mul(BLOCKS_PER_PLACE)
}

impl Owned<'_> {
    /// Shows every table of an object.
    #[inline]
    pub fn visit(&self, kind: &TypeInfo, avma: u64, mut visit: impl FnMut(Table)) {
        let mut add = |avma: u64, asked_bytes: u64| {
            if avma != 0 && asked_bytes <= MAX_TABLE_BYTES {
                visit(Table { avma, asked_bytes });
            }
        };
        let _ = self.tables(kind, avma, &mut add);
        if kind.flags & (MANAGED_DICT | INLINE_VALUES) == MANAGED_DICT {
            let _ = self.values_of_instance(kind, avma, &mut add);
        }
    }

    /// `None` when memory says what cannot be; what was shown till then holds.
    fn tables(&self, kind: &TypeInfo, avma: u64, add: &mut impl FnMut(u64, u64)) -> Option<()> {
        let layout = self.reader.layout;
        let field = |offset: u64| self.reader.field(avma, offset);
        match kind.shape {
            Shape::Dict => {
                let (keys_avma, keys, _) = self.reader.dict_tables(avma)?;
                if !keys.is_shared {
                    let values = field(layout.dict.values)?;
                    // Up to 3.10 only its values tell that a dict shares its keys.
                    if values == 0 {
                        add(keys_avma, keys.length_bytes);
                        return Some(());
                    }
                }
                self.values(field(layout.dict.values)?, keys.room, add)?;
            }
            Shape::List => {
                add(field(layout.list_items)?, field(layout.list_allocated)?.checked_mul(8)?);
            }
            Shape::Set => {
                let table = field(layout.set.table)?;
                if table != avma + layout.set.small_table {
                    add(table, field(layout.set.mask)?.checked_add(1)?.checked_mul(16)?);
                }
            }
            Shape::Deque => self.blocks(avma, add)?,
            Shape::ByteArray => {
                add(field(layout.text.array_bytes)?, field(layout.text.array_allocated)?)
            }
            Shape::Text => self.characters(avma, add)?,
            Shape::Type if self.reader.field(avma, layout.kind.flags)? & HEAP_TYPE != 0 => {
                let keys_avma = field(layout.kind.cached_keys)?;
                if keys_avma != 0 {
                    let keys = self.reader.keys_table(keys_avma)?;
                    add(keys_avma, keys.length_bytes);
                }
            }
            Shape::NdArray if field(ARRAY_FLAGS)? & OWNS_DATA != 0 => add(field(ARRAY_DATA)?, 0),
            _ => {}
        }
        Some(())
    }

    /// The values of a dict that shares its keys, as `ma_values` points to them.
    fn values(&self, values: u64, room: u64, add: &mut impl FnMut(u64, u64)) -> Option<()> {
        let image = self.reader.image;
        match self.reader.layout.dict.instance {
            InstanceForm::DictOffset => add(values, 8 * room),
            InstanceForm::DictAndValues | InstanceForm::Tagged => {
                // The byte before says how much lies before.
                let before = u64::from(*image.bytes(values.checked_sub(1)?, 1)?.first()?);
                // As many values as there are bytes before, but for two, rounded up to a word.
                add(values.checked_sub(before)?, before + 8 * room.min(before.saturating_sub(2)));
            }
            InstanceForm::Inline => {
                let head = image.bytes(values, 4)?;
                let (capacity, is_embedded) = (u64::from(head[0]), head[2] != 0);
                if !is_embedded {
                    add(values, 8 + (9 * capacity).next_multiple_of(8));
                }
            }
        }
        Some(())
    }

    /// Values that an instance has instead of a dict (3.11, 3.12).
    fn values_of_instance(
        &self,
        kind: &TypeInfo,
        avma: u64,
        add: &mut impl FnMut(u64, u64),
    ) -> Option<()> {
        let values = match self.reader.layout.dict.instance {
            InstanceForm::DictAndValues => self.reader.image.word(avma.checked_sub(32)?)?,
            InstanceForm::Tagged => {
                let word = self.reader.image.word(avma.checked_sub(24)?)?;
                if word & 1 == 0 { 0 } else { word + 1 }
            }
            InstanceForm::DictOffset | InstanceForm::Inline => 0,
        };
        if values == 0 {
            return Some(());
        }
        let keys = self.reader.field(kind.avma, self.reader.layout.kind.cached_keys)?;
        let room = self.reader.keys_table(keys)?.room;
        self.values(values, room, add)
    }

    fn blocks(&self, avma: u64, add: &mut impl FnMut(u64, u64)) -> Option<()> {
        let deque = &self.reader.layout.deque;
        let items = self.reader.field(avma, self.reader.layout.header_bytes)?;
        let last = self.reader.field(avma, deque.right_block)?;
        let mut block = self.reader.field(avma, deque.left_block)?;
        // No more than its items need: blocks may lie about their neighbours.
        for _ in 0..items / deque.block_length + 2 {
            add(block, deque.block_bytes);
            if block == last {
                break;
            }
            let Some(blocks_left) = self.blocks_left.get().checked_sub(1) else {
                self.is_cut.set(true);
                break;
            };
            self.blocks_left.set(blocks_left);
            let next = self.reader.field(block, deque.block_right)?;
            // Its first word leads back.
            if self.reader.image.word(next)? != block {
                break;
            }
            block = next;
        }
        Some(())
    }

    /// Characters outside of a text, and its UTF-8 form.
    fn characters(&self, avma: u64, add: &mut impl FnMut(u64, u64)) -> Option<()> {
        let text = &self.reader.layout.text;
        let state = self.reader.image.half_word(avma.checked_add(text.state)?)?;
        let form = text.form(state);
        if form.is_compact && form.is_ascii {
            return Some(());
        }
        let field = |offset: u64| self.reader.field(avma, offset);
        let utf8 = field(text.utf8)?;
        if !form.is_compact {
            let data = field(text.data_pointer)?;
            add(data, field(text.length)?.checked_add(1)?.checked_mul(u64::from(form.width))?);
            if data == utf8 {
                return Some(());
            }
        }
        if utf8 != 0 {
            add(utf8, field(text.utf8_length)?.checked_add(1)?);
        }
        Some(())
    }

    /// What the allocator pays for a table.
    #[inline]
    pub fn paid(&self, table: Table) -> Paid {
        let image = self.reader.image;
        if table.asked_bytes <= MAX_POOLED_BYTES
            && let Some(pool_avma) = self.pools.pool_at(image, table.avma)
        {
            let pool = image.bytes(pool_avma, self.pools.pool_bytes() as usize);
            let block = pool.and_then(PoolHeader::read).map_or(0, |header| header.block_bytes);
            return Paid { bytes: block as u64, is_pooled: true };
        }
        let Some(region) = image.region_at(table.avma) else { return Paid::default() };
        if region.kind != RegionKind::Anonymous {
            return Paid::default();
        }
        let left = region.range().end - table.avma;
        let asked = table.asked_bytes.min(left);
        let offset = (table.avma - region.start_avma) as usize;
        let block =
            if self.prefix_bytes == 0 { offset } else { prefix::without(&region.bytes, offset) };
        let needed = asked.saturating_add((offset - block) as u64);
        let chunk = self.has_chunks.then(|| chunk_at(region, block, needed)).flatten();
        Paid {
            bytes: match (chunk, self.has_chunks) {
                (Some(chunk), _) => chunk.length_bytes,
                (None, true) => (asked + 8).next_multiple_of(16),
                (None, false) => asked.next_multiple_of(16),
            },
            is_pooled: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::python::layout_table::table_of;
    use crate::heap::{Image, Region};
    use crate::runtime::python::Version;

    const START: u64 = 0x10_0000;
    const BLOCKS: u64 = 10;
    const BLOCK_WORDS: usize = 528 / 8;

    /// Shows the blocks of a deque so often: how many there were each time, and whether there were
    /// too many. Its blocks are a ring; it says that `last` is the last of them.
    fn check(last: u64, times: usize) -> (Vec<usize>, bool) {
        let block = |index: u64| START + index % BLOCKS * 528;
        let mut words = vec![0_u64; BLOCKS as usize * BLOCK_WORDS];
        for index in 0..BLOCKS {
            let at = index as usize * BLOCK_WORDS;
            words[at] = block(index + BLOCKS - 1);
            words[at + BLOCK_WORDS - 1] = block(index + 1);
        }
        let deque = START + words.len() as u64 * 8;
        words.extend([1, 0, 1 << 30, block(0), last, 0, 0, 0]);
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let region = Region { start_avma: START, kind: RegionKind::Anonymous, bytes };
        let image = Image::new(vec![region]);
        let layout = table_of(Version { major: 3, minor: 11, micro: 2 }, false).unwrap();
        let owned = Owned {
            reader: Reader { image: &image, layout: &layout },
            pools: &Pools::find(&image, 0),
            has_chunks: false,
            prefix_bytes: 0,
            blocks_left: Cell::new(most_blocks(image.length_bytes(), layout.deque.block_bytes)),
            is_cut: Cell::new(false),
        };
        let kind = TypeInfo { shape: Shape::Deque, ..TypeInfo::default() };
        let counts = std::iter::repeat_with(|| {
            let mut count = 0;
            owned.visit(&kind, deque, |_| count += 1);
            count
        });
        (counts.take(times).collect(), owned.is_cut.get())
    }

    #[test]
    fn all_blocks_of_a_deque_are_its_own() {
        assert_eq!(check(START + (BLOCKS - 1) * 528, 2), (vec![10, 10], false));
    }

    #[test]
    fn deques_that_claim_the_same_blocks_share_what_may_be_looked_at() {
        let (counts, is_cut) = check(0, 4);
        // The first block of each is always shown.
        assert_eq!((counts, is_cut), (vec![21, 1, 1, 1], true));
    }
}
