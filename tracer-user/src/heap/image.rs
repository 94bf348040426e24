//! A copy of the memory that a process can write to, and that pointers to its heap lie in.

use super::page_index::{PAGE_BYTES, PageIndex};
use crate::runtime::memory::u64_in;
use std::ops::Range;

/// What a part of memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Anonymous: heaps, arenas, mapped blocks.
    Anonymous,
    /// Variables of a program or library, those that begin as zero included.
    Static {
        /// Its path, as the process sees it.
        module: String,
    },
    /// A stack that a thread runs on.
    Stack {
        /// Thread ID, as outlive sees it.
        tid: u32,
        /// Below this address nothing is in use.
        stack_pointer_avma: u64,
    },
}

/// A part of memory, as it was.
#[derive(Clone, Debug)]
pub struct Region {
    /// Where it is in the process.
    pub start_avma: u64,
    /// What it is.
    pub kind: RegionKind,
    /// What it held; a multiple of eight bytes. Pages that were not in memory, or could not be
    /// read, are zero.
    pub bytes: Vec<u8>,
}

impl Region {
    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.start_avma..self.start_avma.saturating_add(self.bytes.len() as u64)
    }
}

/// A copy of the memory of a process.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// By address; they do not overlap.
    regions: Vec<Region>,
    /// For each page the place of its region and one more, or `SEVERAL`.
    pages: PageIndex,
}

/// More than one region has a part of the page.
const SEVERAL: u32 = u32::MAX;

impl Image {
    /// Of these regions; where two overlap the later one is left out, and so is one that does not
    /// end within the address space.
    pub fn new(mut regions: Vec<Region>) -> Self {
        regions.retain(|region| region.start_avma.checked_add(region.bytes.len() as u64).is_some());
        regions.sort_by_key(|region| region.start_avma);
        let mut end = 0;
        regions.retain(|region| {
            let is_behind = region.start_avma >= end;
            end = if is_behind { region.range().end } else { end };
            is_behind
        });
        let pages = pages_of(&regions);
        Self { regions, pages }
    }

    /// All regions, by address.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region that holds an address.
    #[inline]
    pub fn region_at(&self, avma: u64) -> Option<&Region> {
        self.regions.get(self.region_index_at(avma)?)
    }

    /// The place in [`Image::regions`] of the region that holds an address.
    #[inline]
    pub fn region_index_at(&self, avma: u64) -> Option<usize> {
        let index = match self.pages.get(avma) {
            0 if PageIndex::covers(avma) => return None,
            0 | SEVERAL => {
                let behind = self.regions.partition_point(|region| region.start_avma <= avma);
                behind.checked_sub(1)?
            }
            number => number as usize - 1,
        };
        self.regions.get(index)?.range().contains(&avma).then_some(index)
    }

    /// Whether an address is in it.
    #[inline]
    pub fn contains(&self, avma: u64) -> bool {
        self.region_at(avma).is_some()
    }

    /// As many bytes; `None` unless one region holds them all.
    #[inline]
    pub fn bytes(&self, avma: u64, length: usize) -> Option<&[u8]> {
        let region = self.region_at(avma)?;
        let at = (avma - region.start_avma) as usize;
        region.bytes.get(at..at.checked_add(length)?)
    }

    /// A word.
    #[inline]
    pub fn word(&self, avma: u64) -> Option<u64> {
        u64_in(self.bytes(avma, 8)?, 0)
    }

    /// Half a word.
    #[inline]
    pub fn half_word(&self, avma: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(avma, 4)?.try_into().ok()?))
    }

    /// Bytes that it holds.
    pub fn length_bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes.len() as u64).sum()
    }
}

fn pages_of(regions: &[Region]) -> PageIndex {
    let mut pages = PageIndex::default();
    for (index, region) in regions.iter().enumerate() {
        let range = region.range();
        let mut avma = range.start / PAGE_BYTES * PAGE_BYTES;
        while avma < range.end && PageIndex::covers(avma) {
            let number = if pages.get(avma) == 0 { index as u32 + 1 } else { SEVERAL };
            pages.set(avma, number);
            avma += PAGE_BYTES;
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start_avma: u64, bytes: &[u8]) -> Region {
        Region { start_avma, kind: RegionKind::Anonymous, bytes: bytes.to_vec() }
    }

    #[test]
    fn words_are_found_and_nothing_reaches_across_a_gap() {
        let words: Vec<u8> = (0..32).collect();
        let image = Image::new(vec![region(0x2000, &words), region(0x1000, &words)]);
        assert_eq!(image.word(0x1008), Some(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(image.half_word(0x2004), Some(0x0706_0504));
        assert_eq!(image.bytes(0x1018, 8), Some(&words[24..]));
        assert_eq!(image.bytes(0x1018, 9), None);
        assert_eq!(image.word(0xfff), None);
        assert_eq!(image.word(u64::MAX), None);
        assert_eq!(image.bytes(0x1000, usize::MAX), None);
        assert_eq!(image.length_bytes(), 64);
    }

    #[test]
    fn overlapping_regions_are_not_believed() {
        let words = [1_u8; 32];
        let image = Image::new(vec![region(0x1010, &words), region(0x1000, &words)]);
        assert_eq!(image.regions().len(), 1);
        assert!(!image.contains(0x1020));
        let end = Image::new(vec![region(u64::MAX - 8, &words)]);
        assert_eq!(end.bytes(u64::MAX - 2, 8), None);
    }
}
