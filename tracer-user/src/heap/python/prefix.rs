//! What CPython puts before each block when its allocators are to find errors
//! (`PYTHONMALLOC=debug`, `-X dev`, debug builds): what was asked for, and bytes that nobody may
//! change.
//!
//! # Sources
//! `_PyMem_DebugRawAlloc` in Objects/obmalloc.c of CPython 3.8 to 3.15.

use crate::runtime::memory::u64_in;

/// Bytes before a block, and at least so many behind it.
pub const PREFIX_BYTES: u64 = 16;
pub const SUFFIX_BYTES: u64 = 8;
/// `PYMEM_FORBIDDENBYTE`, seven times, behind the letter of the family of allocators: raw, memory,
/// objects.
const FORBIDDEN: u64 = 0xfd_fdfd_fdfd_fdfd;
const FAMILIES: [u8; 3] = *b"rmo";

/// Whether a block begins with one.
#[inline]
pub fn is_prefixed(block: &[u8]) -> bool {
    u64_in(block, 8).is_some_and(|word| word >> 8 == FORBIDDEN && FAMILIES.contains(&(word as u8)))
}

/// Where what malloc returned begins, of a block at an offset: one that is too large for pools has
/// passed two allocators, and has two prefixes.
#[inline]
pub fn without(bytes: &[u8], block: usize) -> usize {
    (0..2).fold(block, |block, _| {
        let before = block.checked_sub(PREFIX_BYTES as usize);
        before.filter(|at| bytes.get(*at..).is_some_and(is_prefixed)).unwrap_or(block)
    })
}

/// Where what was asked for begins, of a block that malloc returned at an offset.
#[inline]
pub fn behind(bytes: &[u8], block: usize) -> usize {
    (0..2).fold(block, |block, _| match bytes.get(block..).is_some_and(is_prefixed) {
        true => block.saturating_add(PREFIX_BYTES as usize),
        false => block,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_told_by_its_letter_and_its_bytes() {
        let block = |letter: u8, byte: u8| {
            let mut block = vec![0, 0, 0, 0, 0, 0, 0, 40, letter];
            block.extend([byte; 7]);
            block
        };
        assert!(is_prefixed(&block(b'o', 0xfd)) && is_prefixed(&block(b'm', 0xfd)));
        assert!(!is_prefixed(&block(b'x', 0xfd)) && !is_prefixed(&block(b'o', 0xfb)));
        assert!(!is_prefixed(&[]));
        let two = [block(b'r', 0xfd), block(b'o', 0xfd), vec![0; 16]].concat();
        assert_eq!(without(&two, 32), 0);
        assert_eq!(without(&two[16..], 16), 0);
        assert_eq!(without(&two, 48), 48);
        assert_eq!(without(&two, 1 << 20), 1 << 20);
        assert_eq!(behind(&two, 0), 32);
        assert_eq!(behind(&two, 16), 32);
        assert_eq!(behind(&two, 32), 32);
        assert_eq!(behind(&two, 1 << 20), 1 << 20);
    }
}
