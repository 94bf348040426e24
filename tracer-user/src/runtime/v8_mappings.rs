//! How large V8's heap is, told from outside by its mappings. An estimate.
//!
//! V8 asks for its pages at addresses of its own choice: random ones below 2^46, in multiples of
//! 256 KiB. The kernel chooses above, from the stack downwards, for everybody else (libc's arenas,
//! thread stacks, the memory of WebAssembly), and puts programs and their break below 4 GiB or
//! above 2^46. Code has mappings of its own: the only anonymous ones that can be executed.
//!
//! Measured on Node 18, 20, 22, 24 and 26 with heaps of 60 to 130 MB: resident bytes of these
//! mappings and V8's own `total_physical_size` differ by less than 3 %. From 24 on V8 keeps pages
//! that it does not use, without memory behind them, so the mappings' lengths say less.
//!
//! # Sources
//! `OS::GetRandomMmapAddr` in V8's src/base/platform/platform-posix.cc and `MemoryChunk` in
//! src/heap.

use super::pagemap;
use crate::target::mapping::{self, Mapping};
use std::fs::File;
use std::path::Path;

/// V8's pages lie below; the kernel's own choices above.
const HIGHEST_AVMA: u64 = 1 << 46;
/// Programs that are not relocated, their data and their break lie below.
const LOWEST_AVMA: u64 = 1 << 32;
/// V8's pages begin at multiples.
const ALIGNMENT: u64 = 256 << 10;
/// Pages that are looked at: 64 GiB, more than any heap of V8.
const MAX_PAGES: u64 = 16 << 20;

/// Resident (or swapped) bytes of what is V8's heap among the mappings of process `tgid`; `None`
/// where they cannot be read.
///
/// # Cost
/// Some 5 ms for a heap of 100 MB and 0.1 s for one of 2 GB (half a million pages; smaps takes as
/// long). The target goes on meanwhile: its address space is locked for 2 MiB at a time.
pub fn heap_bytes(tgid: u32) -> Option<u64> {
    let folder = Path::new("/proc").join(tgid.to_string());
    let mappings = mapping::parse(&std::fs::read(folder.join("maps")).ok()?);
    let pagemap = File::open(folder.join("pagemap")).ok()?;
    let mut pages_left = MAX_PAGES;
    let mut resident = 0;
    for heap in mappings.iter().filter(|mapping| is_heap(mapping)) {
        let range = heap.start_avma..heap.end_avma;
        resident += pagemap::held_bytes(&pagemap, range, &mut pages_left).ok()?;
    }
    Some(resident)
}

/// Whether a mapping of a process that runs V8 is part of its heap.
pub fn is_heap(mapping: &Mapping) -> bool {
    let name = mapping.path.as_os_str().as_encoded_bytes();
    let is_anonymous = mapping.file.is_none() && (name.is_empty() || name.starts_with(b"[anon:v8"));
    let is_chunk = mapping.start_avma.is_multiple_of(ALIGNMENT)
        && (LOWEST_AVMA..HIGHEST_AVMA).contains(&mapping.start_avma);
    is_anonymous && (mapping.executable || mapping.readable && is_chunk)
}

#[cfg(test)]
mod tests {
    use super::pagemap::page_bytes;
    use super::*;

    #[test]
    fn pages_of_v8_are_told_from_everybody_elses() {
        let text = b"\
00400000-00d80000 r-xp 00000000 fe:00 17 /usr/bin/node
05240000-05280000 rw-p 00000000 00:00 0
12e40000-13440000 rw-p 00000000 00:00 0                                  [heap]
105b69d80000-105b69dc0000 rw-p 00000000 00:00 0
342242d80000-342242dbe000 r--p 00000000 00:00 0
3aaa42d80000-3aaa42dc0000 ---p 00000000 00:00 0
3aba42d80000-3aba42dc0000 rw-p 00000000 fe:00 18 /tmp/data
3aca42d90000-3aca42dc0000 rw-p 00000000 00:00 0
3ada42d80000-3ada42dc0000 rw-p 00000000 00:00 0                          [anon:v8]
3aea42d80000-3aea42dc0000 rw-p 00000000 00:00 0                          [stack]
55c8c0040000-55c8c0080000 rw-p 00000000 00:00 0
7efc24003000-7efc2403f000 rwxp 00000000 00:00 0
7fa2dc000000-7fa2dc17b000 rw-p 00000000 00:00 0
7ffd1c000000-7ffd1c002000 r-xp 00000000 00:00 0                          [vdso]
";
        let found: Vec<u64> = mapping::parse(text)
            .iter()
            .filter(|mapping| is_heap(mapping))
            .map(|mapping| mapping.start_avma)
            .collect();
        let expected = [0x105b_69d8_0000, 0x3422_42d8_0000, 0x3ada_42d8_0000, 0x7efc_2400_3000];
        assert_eq!(found, expected);
    }

    #[test]
    fn pages_that_were_written_to_are_counted_and_others_not() {
        let length = 64 * page_bytes();
        let wanted = 0x2345_6784_0000_u64;
        // SAFETY: a fresh private mapping; the address is a wish only.
        let address = unsafe {
            libc::mmap(
                wanted as *mut libc::c_void,
                length as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_eq!(address as u64, wanted, "nobody else is there");
        let before = heap_bytes(std::process::id()).expect("read");
        for page in [0, 7, 63] {
            // SAFETY: inside the mapping.
            unsafe { address.cast::<u8>().add(page * page_bytes() as usize).write_volatile(1) };
        }
        let after = heap_bytes(std::process::id()).expect("read");
        // SAFETY: exactly what was mapped.
        unsafe { libc::munmap(address, length as usize) };
        assert_eq!(after - before, 3 * page_bytes());
        assert_eq!(heap_bytes(4_194_305), None);
    }
}
