//! Places for the parts of memory that are copied, and the pages that go there. A part that is
//! mostly reserved gets several, so that what was never touched takes neither memory nor time.

use super::image::{Region, RegionKind};
use super::region::Part;
use super::transfer::Piece;
use crate::runtime::pagemap::{self, Runs};
use crate::target::mapping::FileId;
use std::fs::File;
use std::ops::Range;

/// Untouched stretches that a place may hold: a table that a program allocated and has not filled
/// yet is not cut in two by them.
const LONG_GAP_BYTES: u64 = 64 << 20;
/// The same where so much is reserved that looking at it would take long.
const SHORT_GAP_BYTES: u64 = 256 << 10;
/// Reserved memory that is looked at in any case, beside twice of what is touched.
const RESERVED_BYTES: u64 = 1 << 30;

/// A place.
#[derive(Debug)]
pub struct Buffer {
    start_avma: u64,
    kind: RegionKind,
    file: Option<(FileId, u64)>,
    with_file_pages: bool,
    bytes: Vec<u8>,
    /// Pages that go, or went, there.
    runs: Runs,
}

impl Buffer {
    /// The addresses that it is for.
    pub fn range(&self) -> Range<u64> {
        self.start_avma..self.start_avma + self.bytes.len() as u64
    }

    /// What it is, to be said better.
    pub fn kind_mut(&mut self) -> &mut RegionKind {
        &mut self.kind
    }

    /// Its pages.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Looks anew which of its pages are in memory. Those that were and are no more are returned;
    /// what their places hold is old.
    ///
    /// # Errors
    /// When pagemap cannot be read; nothing has changed then.
    pub fn look(&mut self, pagemap: &File) -> std::io::Result<Runs> {
        let mut all = u64::MAX;
        let runs = pagemap::runs(pagemap, self.range(), self.with_file_pages, &mut all)?;
        Ok(std::mem::replace(&mut self.runs, runs))
    }

    /// Its pages, each stretch with its place.
    pub fn pieces(&mut self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::with_capacity(self.runs.resident.len());
        let (mut rest, mut at) = (self.bytes.as_mut_slice(), self.start_avma);
        for run in &self.runs.resident {
            let (_, behind) = rest.split_at_mut((run.start - at) as usize);
            let (place, behind) = behind.split_at_mut((run.end - run.start) as usize);
            pieces.push(Piece { avma: run.start, place });
            (rest, at) = (behind, run.end);
        }
        pieces
    }

    /// Makes zero what `before` went here, and is not in memory any more.
    pub fn forget(&mut self, before: &Runs) {
        for old in &before.resident {
            let mut at = old.start;
            let behind = self.runs.resident.partition_point(|run| run.end <= old.start);
            for run in &self.runs.resident[behind..] {
                if run.start >= old.end {
                    break;
                }
                zero(&mut self.bytes, self.start_avma, at..run.start);
                at = at.max(run.end);
            }
            zero(&mut self.bytes, self.start_avma, at..old.end);
        }
    }

    /// Reads pages of variables that nobody has touched yet from their file, which `open` finds;
    /// those that are swapped out are not. Returns the bytes of the latter.
    pub fn complete<'f>(&mut self, open: impl Fn(FileId) -> Option<&'f File>) -> u64 {
        let swapped = self.runs.swapped_bytes();
        let Some((id, offset)) = self.file else { return swapped };
        let Some(file) = open(id) else { return swapped };
        let mut held: Vec<&Range<u64>> =
            self.runs.resident.iter().chain(&self.runs.swapped).collect();
        held.sort_unstable_by_key(|run| run.start);
        let mut at = self.start_avma;
        let end = self.range().end;
        let ends = end..end;
        for run in held.into_iter().chain([&ends]) {
            let (from, to) =
                ((at - self.start_avma) as usize, (run.start - self.start_avma) as usize);
            if let Some(place) = self.bytes.get_mut(from..to) {
                read_file(file, offset + from as u64, place);
            }
            at = run.end;
        }
        swapped
    }

    /// Its pages within a range, which is of another kind, as a place of their own, with what is left
    /// below and above.
    pub fn cut_out(mut self, range: &Range<u64>, kind: RegionKind) -> Vec<Self> {
        let whole = self.range();
        let (start, end) = (range.start.max(whole.start), range.end.min(whole.end));
        if start >= end {
            return vec![self];
        }
        let (from, to) = ((start - whole.start) as usize, (end - whole.start) as usize);
        let own = self.bytes[from..to].to_vec();
        // What is larger stays where it is: it may be most of a heap.
        let (below, above) = if from < self.bytes.len() - to {
            let below = self.bytes[..from].to_vec();
            self.bytes.drain(..to);
            (below, std::mem::take(&mut self.bytes))
        } else {
            let above = self.bytes.split_off(to);
            self.bytes.truncate(from);
            (std::mem::take(&mut self.bytes), above)
        };
        let piece = |start_avma: u64, bytes: Vec<u8>, kind: &RegionKind| {
            let range = start_avma..start_avma + bytes.len() as u64;
            let within = |runs: &[Range<u64>]| -> Vec<Range<u64>> {
                let clip = |run: &Range<u64>| run.start.max(range.start)..run.end.min(range.end);
                runs.iter().map(clip).filter(|run| run.start < run.end).collect()
            };
            Self {
                start_avma,
                kind: kind.clone(),
                file: self.file.map(|(id, at)| (id, at.saturating_add(start_avma - whole.start))),
                with_file_pages: self.with_file_pages,
                bytes,
                runs: Runs {
                    resident: within(&self.runs.resident),
                    swapped: within(&self.runs.swapped),
                },
            }
        };
        let all = [
            piece(whole.start, below, &self.kind),
            piece(start, own, &kind),
            piece(end, above, &self.kind),
        ];
        all.into_iter().filter(|place| !place.bytes.is_empty()).collect()
    }

    /// What it has become.
    pub fn into_region(self) -> Region {
        Region { start_avma: self.start_avma, kind: self.kind, bytes: self.bytes }
    }
}

/// Zeroes the places of a range.
fn zero(bytes: &mut [u8], start_avma: u64, range: Range<u64>) {
    let (Some(from), Some(to)) =
        (range.start.checked_sub(start_avma), range.end.checked_sub(start_avma))
    else {
        return;
    };
    if let Some(place) = bytes.get_mut(from as usize..to as usize) {
        place.fill(0);
    }
}

/// Fills a place from a file; what is behind its end stays zero.
fn read_file(file: &File, mut offset: u64, mut place: &mut [u8]) {
    use std::os::unix::fs::FileExt as _;
    while !place.is_empty() {
        let Ok(count @ 1..) = file.read_at(place, offset) else { return };
        place = &mut place[count..];
        offset += count as u64;
    }
}

/// What has no place; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Address space that was not looked at.
    pub unseen_bytes: u64,
    /// Swapped out where nothing around is in memory; of places [`Buffer::complete`] tells it.
    pub swapped_bytes: u64,
}

/// Places for all that is in memory of these parts, and what has none: not all is looked at where
/// `pages_left`, which is taken off, does not suffice.
///
/// # Errors
/// When pagemap cannot be read.
pub fn buffers(
    parts: &[Part],
    pagemap: &File,
    pages_left: &mut u64,
) -> std::io::Result<(Vec<Buffer>, LeftOut)> {
    let mut left_out = LeftOut::default();
    let mut found = Vec::new();
    for part in parts {
        if part.length_bytes() / pagemap::page_bytes() > *pages_left {
            left_out.unseen_bytes += part.length_bytes();
            continue;
        }
        let runs = pagemap::runs(pagemap, part.range.clone(), part.with_file_pages, pages_left)?;
        found.push((part, runs));
    }
    let touched: u64 = found.iter().map(|(_, runs)| runs.resident_bytes()).sum();
    let reserved: u64 = found.iter().map(|(part, _)| part.length_bytes()).sum();
    let gap = match reserved > touched.saturating_mul(2).saturating_add(RESERVED_BYTES) {
        true => SHORT_GAP_BYTES,
        false => LONG_GAP_BYTES,
    };
    let swapped: u64 = found.iter().map(|(_, runs)| runs.swapped_bytes()).sum();
    let places: Vec<Buffer> =
        found.into_iter().flat_map(|(part, runs)| cut(part, runs, gap)).collect();
    let in_places: u64 = places.iter().map(|place| place.runs.swapped_bytes()).sum();
    left_out.swapped_bytes = swapped - in_places;
    Ok((places, left_out))
}

/// Places for a part: one, unless longer gaps than `gap` are in it.
fn cut(part: &Part, runs: Runs, gap: u64) -> Vec<Buffer> {
    // Variables that nobody has touched have a value: that of the file.
    if part.file.is_some() {
        return vec![buffer(part, part.range.clone(), runs)];
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for run in &runs.resident {
        match ranges.last_mut() {
            Some(last) if run.start - last.end <= gap => last.end = run.end,
            _ => ranges.push(run.clone()),
        }
    }
    let (Some(first), bounds) = (ranges.first_mut(), &part.range) else { return Vec::new() };
    if first.start - bounds.start <= gap {
        first.start = bounds.start;
    }
    for index in 0..ranges.len() {
        let limit = ranges.get(index + 1).map_or(bounds.end, |next| next.start);
        let end = ranges[index].end;
        // What is allocated behind the last touched page belongs to what begins before it.
        ranges[index].end = if limit - end <= gap { limit } else { end };
    }
    let within = |runs: &[Range<u64>], range: &Range<u64>| -> Vec<Range<u64>> {
        runs.iter()
            .filter(|run| range.start <= run.start && run.end <= range.end)
            .cloned()
            .collect()
    };
    let place = |range: Range<u64>| {
        let runs = Runs {
            resident: within(&runs.resident, &range),
            swapped: within(&runs.swapped, &range),
        };
        buffer(part, range, runs)
    };
    ranges.into_iter().map(place).collect()
}

fn buffer(part: &Part, range: Range<u64>, runs: Runs) -> Buffer {
    let into = range.start - part.range.start;
    Buffer {
        start_avma: range.start,
        kind: part.kind.clone(),
        file: part.file.map(|(id, offset)| (id, offset.saturating_add(into))),
        with_file_pages: part.with_file_pages,
        bytes: vec![0; (range.end - range.start) as usize],
        runs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn part(range: Range<u64>) -> Part {
        Part { range, kind: RegionKind::Anonymous, file: None, with_file_pages: true }
    }

    fn runs(resident: &[Range<u64>]) -> Runs {
        Runs { resident: resident.to_vec(), swapped: Vec::new() }
    }

    #[test]
    fn long_stretches_that_were_never_touched_get_no_place() {
        let touched = [2 * MIB..3 * MIB, 4 * MIB..5 * MIB, 90 * MIB..91 * MIB];
        let ranges = |gap| -> Vec<Range<u64>> {
            cut(&part(MIB..100 * MIB), runs(&touched), gap).iter().map(Buffer::range).collect()
        };
        assert_eq!(ranges(64 * MIB), [MIB..5 * MIB, 90 * MIB..100 * MIB]);
        assert_eq!(ranges(MIB), [MIB..5 * MIB, 90 * MIB..91 * MIB]);
        assert_eq!(ranges(100 * MIB), [MIB..100 * MIB]);
        assert!(cut(&part(MIB..100 * MIB), Runs::default(), MIB).is_empty());
    }

    #[test]
    fn what_is_swapped_out_is_told_wherever_it_lies() {
        use std::io::Write as _;
        // A gap of 2 GiB between two parts that are in memory; in front of the second one, in the
        // middle, and in a part of its own there are pages that are swapped out.
        let page = pagemap::page_bytes();
        let (gap, last) = (RESERVED_BYTES * 2 / page, RESERVED_BYTES * 2 / page + 8);
        let (resident, swapped) = (1_u64 << 63, 1_u64 << 62);
        let mut entries = vec![0; last as usize + 4];
        entries[0] = resident;
        entries[1] = swapped;
        entries[gap as usize / 2] = swapped;
        entries[gap as usize] = resident;
        entries[last as usize..].fill(swapped);
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
        file.write_all(&bytes).unwrap();
        let parts = [part(0..last * page), part(last * page..(last + 4) * page)];
        let (mut places, left_out) = buffers(&parts, &file, &mut (1 << 30)).unwrap();
        let swapped: u64 = places.iter_mut().map(|place| place.complete(|_| None)).sum();
        assert_eq!((places.len(), swapped + left_out.swapped_bytes), (2, 6 * page));
        assert_eq!(left_out.unseen_bytes, 0);
        let few = buffers(&parts, &file, &mut 2).unwrap().1;
        assert_eq!(few, LeftOut { unseen_bytes: (last + 4) * page, swapped_bytes: 0 });
    }

    #[test]
    fn a_stack_is_cut_out_of_what_it_was_merged_with() {
        let page = pagemap::page_bytes();
        let at = |index: u64| MIB + index * page;
        let stack = RegionKind::Stack { tid: 7, stack_pointer_avma: at(2) };
        let told = |range: Range<u64>| -> Vec<(u64, usize, u8, bool, u64)> {
            let mut place = buffer(&part(MIB..at(8)), MIB..at(8), runs(&[at(1)..at(6)]));
            for (index, byte) in place.bytes.iter_mut().enumerate() {
                *byte = (index as u64 / page) as u8;
            }
            place
                .cut_out(&range, stack.clone())
                .iter()
                .map(|cut| {
                    let is_stack = cut.kind == stack;
                    (
                        cut.start_avma,
                        cut.bytes.len(),
                        cut.bytes[0],
                        is_stack,
                        cut.runs.resident_bytes() / page,
                    )
                })
                .collect()
        };
        let pages = |count: u64| (count * page) as usize;
        let upper = [
            (at(0), pages(5), 0, false, 4),
            (at(5), pages(1), 5, true, 1),
            (at(6), pages(2), 6, false, 0),
        ];
        assert_eq!(told(at(5)..at(6)), upper);
        let lower = [
            (at(0), pages(1), 0, false, 0),
            (at(1), pages(2), 1, true, 2),
            (at(3), pages(5), 3, false, 3),
        ];
        assert_eq!(told(at(1)..at(3)), lower);
        assert_eq!(told(0..at(8)), [(at(0), pages(8), 0, true, 5)]);
        assert_eq!(told(at(9)..at(10)), [(at(0), pages(8), 0, false, 5)]);
    }

    #[test]
    fn what_left_memory_is_forgotten() {
        let page = pagemap::page_bytes();
        let at = |index: u64| MIB + index * page;
        let before = runs(&[at(0)..at(4), at(6)..at(8)]);
        let mut place = buffer(&part(MIB..at(8)), MIB..at(8), runs(&[at(1)..at(2), at(3)..at(7)]));
        place.bytes.fill(1);
        place.forget(&before);
        let kept: Vec<u8> = (0..8).map(|index| place.bytes[(index * page) as usize]).collect();
        assert_eq!(kept, [0, 1, 0, 1, 1, 1, 1, 0]);
        let pieces = place.pieces();
        let avmas: Vec<(u64, u64)> =
            pieces.iter().map(|piece| (piece.avma, piece.place.len() as u64)).collect();
        assert_eq!(avmas, [(at(1), page), (at(3), 4 * page)]);
    }
}
