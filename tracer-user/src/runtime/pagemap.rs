//! Which pages of the target are in memory, page by page: /proc/PID/pagemap.
//!
//! # Source
//! Documentation/admin-guide/mm/pagemap.rst of Linux.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes of an entry of pagemap.
const ENTRY_BYTES: usize = 8;
/// Entries that are read at a time. The kernel holds the address space's lock for 2 MiB (512
/// pages) at a time, whatever is asked for, so that the target never waits for long.
const ENTRIES_AT_ONCE: usize = 8192;
/// In a page's entry: it is in memory, it is swapped out, it is a file's or shared memory.
const IN_MEMORY: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
/// It is a guard (`MADV_GUARD_INSTALL`): it has no contents, though it is told as swapped out too.
/// glibc makes those of its threads' stacks from 2.42 on. Linux 6.13 and 6.14 have such guards, but
/// not this bit: there they still count as swapped out.
const GUARD: u64 = 1 << 58;

/// Bytes of the pages of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// In memory.
    pub resident_bytes: u64,
    /// Swapped out.
    pub swapped_bytes: u64,
    /// Of those in memory, those that are neither a file's nor shared.
    pub anonymous_bytes: u64,
}

/// Bytes of the pages of a range that are in memory or swapped out. At most `pages_left` pages are
/// looked at, and taken off it.
///
/// # Errors
/// When pagemap cannot be read.
pub fn held_bytes(pagemap: &File, range: Range<u64>, pages_left: &mut u64) -> io::Result<u64> {
    let pages = pages(pagemap, range, pages_left)?;
    Ok(pages.resident_bytes + pages.swapped_bytes)
}

/// As [`held_bytes`], by kind. Pages that were read and never written to count as resident, though
/// all of them are one page of zeros.
///
/// # Errors
/// As [`held_bytes`].
pub fn pages(pagemap: &File, range: Range<u64>, pages_left: &mut u64) -> io::Result<Pages> {
    let mut found = Pages::default();
    each_entry(pagemap, range, pages_left, |_, entry| {
        if entry & GUARD != 0 {
            return;
        }
        let is_resident = entry & IN_MEMORY != 0;
        found.resident_bytes += u64::from(is_resident);
        found.swapped_bytes += u64::from(entry & SWAPPED != 0);
        found.anonymous_bytes += u64::from(is_resident && entry & OF_FILE == 0);
    })?;
    Ok(Pages {
        resident_bytes: found.resident_bytes * page_bytes(),
        swapped_bytes: found.swapped_bytes * page_bytes(),
        anonymous_bytes: found.anonymous_bytes * page_bytes(),
    })
}

/// Stretches of pages of one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// In memory.
    pub resident: Vec<Range<u64>>,
    /// Swapped out.
    pub swapped: Vec<Range<u64>>,
}

impl Runs {
    /// Bytes of those in memory.
    pub fn resident_bytes(&self) -> u64 {
        bytes_of(&self.resident)
    }

    /// Bytes of those swapped out.
    pub fn swapped_bytes(&self) -> u64 {
        bytes_of(&self.swapped)
    }
}

fn bytes_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The stretches of pages of a range that are in memory or swapped out, by address. Of a file's
/// pages those count that the process has written to, unless `with_files`. At most `pages_left`
/// pages are looked at, and taken off it.
///
/// # Errors
/// As [`held_bytes`].
///
/// # Cost
/// About 5 ms for a gigabyte.
pub fn runs(
    pagemap: &File,
    range: Range<u64>,
    with_files: bool,
    pages_left: &mut u64,
) -> io::Result<Runs> {
    let page_bytes = page_bytes();
    let mut found = Runs::default();
    each_entry(pagemap, range, pages_left, |page, entry| {
        let runs = match entry {
            _ if entry & GUARD != 0 => return,
            _ if entry & SWAPPED != 0 => &mut found.swapped,
            _ if entry & IN_MEMORY == 0 => return,
            _ if entry & OF_FILE != 0 && !with_files => return,
            _ => &mut found.resident,
        };
        let start = page * page_bytes;
        match runs.last_mut() {
            Some(last) if last.end == start => last.end += page_bytes,
            _ => runs.push(start..start + page_bytes),
        }
    })?;
    Ok(found)
}

/// Where the last guard in a range ends; `None` where there is none, or the kernel does not tell.
///
/// # Errors
/// As [`held_bytes`].
pub fn last_guard_end(pagemap: &File, range: Range<u64>) -> io::Result<Option<u64>> {
    let (mut last, mut pages_left) = (None, u64::MAX);
    each_entry(pagemap, range, &mut pages_left, |page, entry| {
        if entry & GUARD != 0 {
            last = Some((page + 1) * page_bytes());
        }
    })?;
    Ok(last)
}

/// The entries of a range's pages, each with the page's number. At most `pages_left` pages are looked
/// at, and taken off it.
fn each_entry(
    pagemap: &File,
    range: Range<u64>,
    pages_left: &mut u64,
    mut visit: impl FnMut(u64, u64),
) -> io::Result<()> {
    let mut buffer = [0_u8; ENTRIES_AT_ONCE * ENTRY_BYTES];
    let end = range.end / page_bytes();
    let mut page = range.start / page_bytes();
    while page < end && *pages_left > 0 {
        let wanted = (end - page).min(ENTRIES_AT_ONCE as u64).min(*pages_left) as usize;
        let place = &mut buffer[..wanted * ENTRY_BYTES];
        let read = pagemap.read_at(place, page * ENTRY_BYTES as u64)? / ENTRY_BYTES;
        if read == 0 {
            // It has been unmapped since, or lies outside what user space can have.
            break;
        }
        let (entries, _) = place[..read * ENTRY_BYTES].as_chunks::<ENTRY_BYTES>();
        for (page, entry) in (page..).zip(entries) {
            visit(page, u64::from_ne_bytes(*entry));
        }
        page += read as u64;
        *pages_left -= read as u64;
    }
    Ok(())
}

/// Length of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and returns one.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn pages_that_were_touched_are_told_from_those_that_were_not() {
        let (length, page) = (64 * page_bytes() as usize, page_bytes() as usize);
        // SAFETY: new memory of its own, of which nothing else knows.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), length, protection, kind, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            libc::madvise(start, length, libc::MADV_NOHUGEPAGE);
            start.cast::<u8>()
        };
        for touched in [3, 4, 5, 40] {
            // SAFETY: inside of what was just mapped.
            unsafe { start.add(touched * page).write(1) };
        }
        let first = start as u64;
        let whole = first..first + length as u64;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let found = runs(&pagemap, whole.clone(), false, &mut 1000).unwrap();
        let at = |page_index: u64| first + page_index * page_bytes();
        assert_eq!(found.resident, [at(3)..at(6), at(40)..at(41)]);
        assert_eq!(found.resident_bytes(), 4 * page_bytes());
        let mut few = 5;
        let found = runs(&pagemap, whole, false, &mut few).unwrap();
        assert_eq!((found.resident, few), (vec![at(3)..at(5)], 0));
        // SAFETY: what was mapped above, and is used no more.
        unsafe { libc::munmap(start.cast(), length) };
    }

    #[test]
    fn guards_are_neither_in_memory_nor_swapped_out() {
        let mut file = tempfile::tempfile().unwrap();
        let swapped_guard = GUARD | SWAPPED;
        for entry in [IN_MEMORY, swapped_guard, SWAPPED, swapped_guard, IN_MEMORY | OF_FILE] {
            file.write_all(&entry.to_ne_bytes()).unwrap();
        }
        let page = page_bytes();
        let found = runs(&file, 0..5 * page, true, &mut 1000).unwrap();
        assert_eq!(found.resident, [0..page, 4 * page..5 * page]);
        assert_eq!(found.swapped, [2 * page..3 * page]);
        let found = pages(&file, 0..5 * page, &mut 1000).unwrap();
        assert_eq!((found.resident_bytes, found.swapped_bytes), (2 * page, page));
        assert_eq!(found.anonymous_bytes, page);
        assert_eq!(held_bytes(&file, 0..5 * page, &mut 1000).unwrap(), 3 * page);
        assert_eq!(last_guard_end(&file, 0..5 * page).unwrap(), Some(4 * page));
        assert_eq!(last_guard_end(&file, 0..page).unwrap(), None);
    }
}
