//! Where the functions of a file begin and end, by its unwind table. That holds for stripped
//! files too, and tells a function's cold part from its neighbours.

use super::elf::Elf;
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use std::ops::Range;

/// Most functions that are believed: node has 130,000.
const MAX_FUNCTIONS: usize = 2_000_000;

/// The functions of a file, sorted; addresses in the file's own numbering.
#[derive(Clone, Debug, Default)]
pub struct FunctionTable(Vec<(u64, u64)>);

impl FunctionTable {
    /// Reads the table; empty where there is none. A damaged one yields what comes before.
    ///
    /// # Cost
    /// Reads .eh_frame whole; about 20 ms for the largest files seen.
    pub fn read(elf: &Elf) -> Self {
        let Some(section) = elf.section(".eh_frame") else { return Self::default() };
        let Some(bytes) = elf.section_bytes(section) else { return Self::default() };
        let eh_frame = EhFrame::new(&bytes, LittleEndian);
        let mut bases = BaseAddresses::default().set_eh_frame(section.svma);
        if let Some(text) = elf.section(".text") {
            bases = bases.set_text(text.svma);
        }
        let mut ranges = Vec::new();
        let mut entries = eh_frame.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
            let start = fde.initial_address();
            if fde.len() > 0 && ranges.len() < MAX_FUNCTIONS {
                ranges.push((start, start.saturating_add(fde.len())));
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        Self(ranges)
    }

    /// The function that holds `svma`: its first address, and the first one behind it.
    pub fn holding(&self, svma: u64) -> Option<(u64, u64)> {
        let behind = self.0.partition_point(|(start, _)| *start <= svma);
        self.0[..behind].last().copied().filter(|(_, end)| svma < *end)
    }

    /// The longest piece of `svmas` that no function holds, between two functions: its first
    /// address, and its length in bytes.
    pub fn longest_gap(&self, svmas: Range<u64>) -> Option<(u64, u64)> {
        let mut longest = None;
        let mut end = None;
        for (start, behind) in self.0.iter().filter(|(start, _)| svmas.contains(start)) {
            if let Some(gap) = end.and_then(|end| start.checked_sub(end)) {
                longest = longest.max(end.map(|end| (gap, end)));
            }
            end = end.max(Some(*behind));
        }
        longest.map(|(length, start)| (start, length))
    }

    /// The functions that hold the given addresses, each with how many of them it holds.
    pub fn holding_any(&self, svmas: &[u64]) -> Vec<((u64, u64), usize)> {
        let mut sorted = svmas.to_vec();
        sorted.sort_unstable();
        let below = |limit: u64| sorted.partition_point(|svma| *svma < limit);
        let counted = self.0.iter().map(|range| (*range, below(range.1) - below(range.0)));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn this_programs_main_is_a_function_and_nothing_holds_address_zero() {
        let elf = Elf::read(File::open("/proc/self/exe").unwrap()).unwrap();
        let table = FunctionTable::read(&elf);
        let main = elf.find_symbols(&["main"])[0].unwrap();
        let (start, end) = table.holding(main.svma + 1).unwrap();
        assert_eq!(start, main.svma);
        assert!(end > start + 1);
        assert_eq!(table.holding(0), None);
        assert_eq!(table.holding_any(&[main.svma, 0, start]), [((start, end), 2)]);
    }

    #[test]
    fn the_longest_gap_lies_between_functions() {
        let table = FunctionTable(vec![(10, 20), (15, 18), (25, 30), (90, 95), (99, 200)]);
        assert_eq!(table.longest_gap(0..100), Some((30, 60)));
        assert_eq!(table.longest_gap(0..30), Some((20, 5)));
        assert_eq!(table.longest_gap(0..11), None);
        assert_eq!(FunctionTable::default().longest_gap(0..100), None);
    }
}
