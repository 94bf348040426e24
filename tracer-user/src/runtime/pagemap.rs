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
    let mut buffer = [0_u8; ENTRIES_AT_ONCE * ENTRY_BYTES];
    let end = range.end / page_bytes();
    let mut page = range.start / page_bytes();
    let mut found = Pages::default();
    while page < end && *pages_left > 0 {
        let wanted = (end - page).min(ENTRIES_AT_ONCE as u64).min(*pages_left) as usize;
        let place = &mut buffer[..wanted * ENTRY_BYTES];
        let read = pagemap.read_at(place, page * ENTRY_BYTES as u64)? / ENTRY_BYTES;
        if read == 0 {
            // It has been unmapped since, or lies outside what user space can have.
            break;
        }
        let (entries, _) = place[..read * ENTRY_BYTES].as_chunks::<ENTRY_BYTES>();
        for entry in entries.iter().map(|entry| u64::from_ne_bytes(*entry)) {
            let is_resident = entry & IN_MEMORY != 0;
            found.resident_bytes += u64::from(is_resident);
            found.swapped_bytes += u64::from(entry & SWAPPED != 0);
            found.anonymous_bytes += u64::from(is_resident && entry & OF_FILE == 0);
        }
        page += read as u64;
        *pages_left -= read as u64;
    }
    Ok(Pages {
        resident_bytes: found.resident_bytes * page_bytes(),
        swapped_bytes: found.swapped_bytes * page_bytes(),
        anonymous_bytes: found.anonymous_bytes * page_bytes(),
    })
}

/// Length of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and returns one.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
