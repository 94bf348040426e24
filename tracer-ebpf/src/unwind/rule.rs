//! Which rule holds at an instruction: from the cache, else by searching the code ranges of the
//! process and the rows of the table that covers it.

use crate::{
    maps::{CODE_RANGES, PAGES, ROWS, UNWIND_CACHE},
    process,
};
use tracer_common::{
    limits::{CODE_RANGE_SEARCH_STEPS, MAX_CODE_RANGES},
    process::ProcessEntry,
    slot::{CodeRange, walk},
    unwind::{CACHE_ENTRIES, CACHE_TAG_BITS, MAX_RULES, PAGE_SHIFT, ROW_SEARCH_STEPS, unpack_row},
};

/// Number of a rule in [`RULES`](crate::maps::RULES), or one of the numbers below. It fits into
/// 16 bits but for [`UNKNOWN`].
pub type Number = u32;
/// Rules from here on are none of the map's.
pub const FIRST_OF_RANGE: Number = 0xfff0;
/// Code without a table that keeps frame pointers.
pub const FRAME_POINTER: Number = 0xfff0;
/// Known code that cannot be walked.
pub const NO_WAY: Number = 0xfff1;
/// Code of a table's file that the table does not cover.
pub const NOT_COVERED: Number = 0xfff2;
/// V8's own code, left as [`FRAME_POINTER`].
pub const V8: Number = 0xfff3;
/// Numbers from here on stand for an address that is not the program's own: a pending return
/// probe may hide the true one.
pub const HIDDEN: Number = TRAMPOLINE;
/// The kernel's page for return probes.
pub const TRAMPOLINE: Number = 0xfff8;
/// No code that is known. Never in the cache: what is unknown now may be known at once.
pub const UNKNOWN: Number = 0x1_0000;
const _: () = assert!(MAX_RULES <= FIRST_OF_RANGE);

const TAG_MASK: u64 = (1 << CACHE_TAG_BITS) - 1;

/// The rule at `pc` in a process, by its index in the process table; `salt` is its `cache_salt`.
#[inline(always)]
pub fn number(process: u32, salt: u64, pc: u64) -> Number {
    let tag = tag_of(pc, salt);
    if let Some(entry) = UNWIND_CACHE.get_ptr(place_of(tag)) {
        // SAFETY: an aligned u64 of the map, written as one word.
        let entry = unsafe { entry.read_volatile() };
        // A blank entry is no rule for the address whose tag is 0.
        if entry & TAG_MASK == tag && entry != 0 {
            return (entry >> CACHE_TAG_BITS) as u32;
        }
    }
    find_rule(process, pc)
}

#[inline(always)]
fn tag_of(pc: u64, salt: u64) -> u64 {
    (pc ^ salt) & TAG_MASK
}

/// Where in the cache a tag has its place: the high bits of a product, to which all bits add.
#[inline(always)]
fn place_of(tag: u64) -> u32 {
    let product = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product >> (64 - CACHE_ENTRIES.trailing_zeros())) as u32
}

/// Searches for the rule at `pc`, and keeps it in the cache.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_rule(process: u32, pc: u64) -> u32 {
    let Some(entry) = process::entry(process) else { return UNKNOWN };
    // The salt before the ranges: what is found in ranges that have just been replaced must not be
    // kept under the new ones' salt.
    // SAFETY: an aligned field of an entry of the map.
    let salt = unsafe { (&raw const entry.cache_salt).read_volatile() };
    let number = search(entry, pc);
    if number != UNKNOWN {
        let tag = tag_of(pc, salt);
        if let Some(place) = UNWIND_CACHE.get_ptr_mut(place_of(tag)) {
            // SAFETY: an aligned u64 of the map; one word, whole at any time.
            unsafe { place.write_volatile(tag | (u64::from(number) << CACHE_TAG_BITS)) };
        }
    }
    number
}

#[inline(always)]
fn search(process: &ProcessEntry, pc: u64) -> Number {
    // A trampoline's address is the first of its page, and `pc` the byte before a return address.
    if let Some(range) = range_of(process, pc.wrapping_add(1))
        && range.walk == walk::TRAMPOLINE
    {
        return TRAMPOLINE;
    }
    let Some(range) = range_of(process, pc) else { return UNKNOWN };
    match range.walk {
        walk::TABLE => in_table(range, pc).unwrap_or(NOT_COVERED),
        walk::FRAME_POINTER => FRAME_POINTER,
        walk::V8 => V8,
        walk::TRAMPOLINE => TRAMPOLINE,
        _ => NO_WAY,
    }
}

/// The executable range that `pc` lies in: binary search over the ranges of the process.
#[inline(always)]
pub fn range_of(process: &ProcessEntry, pc: u64) -> Option<&'static CodeRange> {
    let (first, count) = (process.code_ranges_first, process.code_ranges_count);
    if count > MAX_CODE_RANGES as u32 {
        return None;
    }
    let (mut low, mut high) = (0_u32, count);
    for _ in 0..CODE_RANGE_SEARCH_STEPS {
        if low >= high {
            return None;
        }
        let middle = (low + high) / 2;
        let range = CODE_RANGES.get(first.wrapping_add(middle))?;
        if pc < range.start_avma {
            high = middle;
        } else if pc >= range.end_avma {
            low = middle + 1;
        } else {
            return Some(range);
        }
    }
    None
}

/// The rule of the last row at or below `pc` in its page.
#[inline(always)]
fn in_table(range: &CodeRange, pc: u64) -> Option<Number> {
    let offset = pc.checked_sub(range.origin_avma)?;
    let page = offset >> PAGE_SHIFT;
    if page >= u64::from(range.page_count) {
        return None;
    }
    let page = range.first_page.wrapping_add(page as u32);
    let (mut low, mut high) = (half(&PAGES, page)?, half(&PAGES, page.wrapping_add(1))?);
    if low >= high {
        return None;
    }
    let page_offset = offset as u16;
    // The row sought lies in [low, high), and the row `low` is not above the address.
    for _ in 0..ROW_SEARCH_STEPS {
        if high.wrapping_sub(low) <= 1 {
            break;
        }
        let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
        let (begins, _) = unpack_row(half(&ROWS, middle)?);
        if begins <= page_offset {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (_, rule) = unpack_row(half(&ROWS, low)?);
    Some(u32::from(rule))
}

/// Number `index` of a map that holds two to an element.
#[inline(always)]
fn half(map: &aya_ebpf::maps::Array<u64>, index: u32) -> Option<u32> {
    let pair = *map.get(index / 2)?;
    Some((pair >> (32 * (index & 1))) as u32)
}
