//! Unwind tables: what .eh_frame says, in a form that a program can search.
//!
//! A file's code is cut into pages of 64 KiB. A row says which rule holds from an address of its
//! page on, until the next row; each page has a row at its first byte, so a search never leaves
//! it. Rows of all files lie in `OUTLIVE_ROWS`, two to an element; `OUTLIVE_PAGES` holds, for each
//! page of a table and one behind its last, the index of its first row; rules are shared by all
//! files (`OUTLIVE_RULES`).

/// Bytes of code that a page of a table covers, as a power of two.
pub const PAGE_SHIFT: u32 = 16;
/// Steps of a binary search over the rows of a page, which are 65,536 at most.
pub const ROW_SEARCH_STEPS: usize = 17;
/// Rules of all files together; a row has 16 bits for one.
pub const MAX_RULES: u32 = 16_384;
/// Entries of the unwind cache; a power of two.
pub const CACHE_ENTRIES: u32 = 65_536;
/// Bits of a cache entry that hold the tag; the rest holds the rule.
pub const CACHE_TAG_BITS: u32 = 48;

/// A row: the low 16 bits of the address (relative to the table's origin) where it begins, and its
/// rule. Rows of a page ascend as numbers.
#[inline(always)]
pub const fn pack_row(page_offset: u16, rule: u16) -> u32 {
    ((page_offset as u32) << 16) | rule as u32
}
/// Page offset and rule of a row.
#[inline(always)]
pub const fn unpack_row(row: u32) -> (u16, u16) {
    ((row >> 16) as u16, row as u16)
}

/// How the canonical frame address (the caller's stack pointer) is computed.
pub mod cfa {
    /// No rule: the unwind information is silent about this code.
    pub const NONE: u16 = 0;
    /// `rsp + cfa_offset`.
    pub const RSP: u16 = 1;
    /// `rbp + cfa_offset`.
    pub const RBP: u16 = 2;
    /// In a procedure linkage table: `rsp + 8 + (((rip & 15) >= cfa_offset) << 3)`.
    pub const PLT: u16 = 3;
    /// `*(rsp + cfa_offset) + cfa_add`.
    pub const DEREF_RSP: u16 = 4;
    /// `*(rbp + cfa_offset) + cfa_add`.
    pub const DEREF_RBP: u16 = 5;
    /// A signal handler returns here: the interrupted registers are in the `sigcontext` at
    /// `rsp + cfa_offset` (rbp 80 bytes into it, rsp 120, rip 128). The interrupted instruction
    /// has not made a call: its own address is looked up, not the byte before it.
    pub const SIGNAL: u16 = 6;
    /// The outermost frame: its return address is undefined.
    pub const OUTERMOST: u16 = 7;
    /// By frame pointer, checked: code without unwind information in a file that keeps them, and
    /// code of a JIT.
    pub const FRAME_POINTER: u16 = 8;
    /// A rule that is not walked (other registers, other expressions).
    pub const UNSUPPORTED: u16 = 9;
}

/// How the caller's frame pointer is found.
pub mod rbp {
    /// It was not changed.
    pub const SAME: u16 = 0;
    /// `*(CFA + rbp_offset)`.
    pub const AT_CFA: u16 = 1;
    /// It is lost.
    pub const UNDEFINED: u16 = 2;
    /// `*(rbp + rbp_offset)`: frames that are realigned, whose CFA is not at a fixed distance.
    pub const AT_RBP: u16 = 3;
}

/// What to do at an instruction to get to the caller. The return address is at CFA - 8.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// One of [`cfa`].
    pub cfa: u16,
    /// One of [`rbp`].
    pub rbp: u16,
    /// See [`cfa`]; bytes.
    pub cfa_offset: i32,
    /// See [`cfa`]; bytes.
    pub cfa_add: i32,
    /// See [`rbp`]; bytes.
    pub rbp_offset: i32,
}
const _: () = assert!(size_of::<Rule>() == 16);
