//! A number for each page of an address space: three look-ups in small tables, where a search
//! among sorted addresses would wait for memory at every step.

/// Bits of an address that count: user space of x86-64 has as many.
const ADDRESS_BITS: u32 = 47;
/// An address is divided into these parts: table of tables, table, leaf, place in a page.
const TOP_SHIFT: u32 = 30;
const MIDDLE_SHIFT: u32 = 20;
const PAGE_SHIFT: u32 = 12;
const MIDDLE_LENGTH: usize = 1 << (TOP_SHIFT - MIDDLE_SHIFT);
const LEAF_LENGTH: usize = 1 << (MIDDLE_SHIFT - PAGE_SHIFT);

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// Pages that have a number; others have none. Takes 4 bytes for each page of a MiB that has one.
#[derive(Clone, Debug, Default)]
pub struct PageIndex {
    /// Places of tables and of leaves, from 1 on; 0 is none. Empty until there is a page.
    top: Vec<u32>,
    middles: Vec<u32>,
    leaves: Vec<u32>,
}

impl PageIndex {
    /// Whether an address is one that can have a number.
    #[inline]
    pub fn covers(avma: u64) -> bool {
        avma >> ADDRESS_BITS == 0
    }

    /// The number of the page of an address; 0 where there is none.
    #[inline]
    pub fn get(&self, avma: u64) -> u32 {
        let place = |table: &[u32], chunk: u32, length: usize, at: u64| {
            let start = (chunk as usize).checked_sub(1)? * length;
            table.get(start + (at as usize & (length - 1))).copied()
        };
        let top = self.top.get((avma >> TOP_SHIFT) as usize).copied().unwrap_or(0);
        place(&self.middles, top, MIDDLE_LENGTH, avma >> MIDDLE_SHIFT)
            .and_then(|leaf| place(&self.leaves, leaf, LEAF_LENGTH, avma >> PAGE_SHIFT))
            .unwrap_or(0)
    }

    /// Gives the page of an address a number; nothing happens where it cannot have one.
    pub fn set(&mut self, avma: u64, number: u32) {
        if !Self::covers(avma) {
            return;
        }
        if self.top.is_empty() {
            self.top = vec![0; 1 << (ADDRESS_BITS - TOP_SHIFT)];
        }
        let top = &mut self.top[(avma >> TOP_SHIFT) as usize];
        let middle = chunk(top, &mut self.middles, MIDDLE_LENGTH);
        let leaf = &mut self.middles[middle + ((avma >> MIDDLE_SHIFT) as usize % MIDDLE_LENGTH)];
        let leaf = chunk(leaf, &mut self.leaves, LEAF_LENGTH);
        self.leaves[leaf + ((avma >> PAGE_SHIFT) as usize % LEAF_LENGTH)] = number;
    }
}

/// Where the chunk of a slot begins, which is added if it is new.
fn chunk(slot: &mut u32, table: &mut Vec<u32>, length: usize) -> usize {
    if *slot == 0 {
        table.resize(table.len() + length, 0);
        *slot = (table.len() / length) as u32;
    }
    (*slot as usize - 1) * length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_number_and_its_neighbours_have_none() {
        let mut index = PageIndex::default();
        assert_eq!(index.get(0x7fff_1234_5678), 0);
        let pages = [0, 0x1000, 0x5555_5540_0000, 0x7fff_ffff_f000, 0x7f00_0000_0000];
        for (number, avma) in pages.into_iter().enumerate() {
            index.set(avma, number as u32 + 1);
        }
        for (number, avma) in pages.into_iter().enumerate() {
            assert_eq!(index.get(avma), number as u32 + 1);
            assert_eq!(index.get(avma + PAGE_BYTES - 1), number as u32 + 1);
        }
        for avma in [0x2000, 0x5555_5540_1000, 0x7f00_4000_0000, 1 << 47, u64::MAX] {
            assert_eq!(index.get(avma), 0, "{avma:x}");
            assert!(avma < 1 << 47 || !PageIndex::covers(avma));
        }
        index.set(u64::MAX, 7);
        assert_eq!(index.get(u64::MAX), 0);
    }
}
