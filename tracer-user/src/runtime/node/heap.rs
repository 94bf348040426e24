//! Words and objects of V8's heap, read from outside. What is read may be garbage, or in the
//! middle of being moved: every pointer is checked for its form before it is followed, and every
//! length is bounded by the caller.

use crate::runtime::memory::{read_exact, read_vec};

/// Bit in a pointer that makes it a pointer.
const POINTER: u64 = 1;
/// The bits that say what a word is: a pointer, or a weak one.
const TAG: u64 = 3;
/// Addresses of user space, without the first page.
const ADDRESSES: std::ops::Range<u64> = 4096..1 << 47;
/// `Map.instance_type`, in bytes.
const INSTANCE_TYPE: u64 = 12;
/// `FixedArray.length`, `ByteArray.length`, in bytes.
const ARRAY_LENGTH: u64 = 8;
/// The first element of an array, in bytes.
pub(super) const ARRAY_DATA: u64 = 16;

/// The memory of one process, taken as V8's heap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heap {
    tgid: u32,
}

/// The address that a strong pointer stands for.
pub(super) fn pointer(word: u64) -> Option<u64> {
    let address = word & !TAG;
    (word & TAG == POINTER && ADDRESSES.contains(&address)).then_some(address)
}

/// The same, of a weak pointer too; `None` when what it pointed to has been collected.
pub(super) fn weak_pointer(word: u64) -> Option<u64> {
    pointer(word & !(TAG & !POINTER))
}

/// The small integer that a word stands for.
pub(super) fn small_integer(word: u64) -> Option<i32> {
    (word as u32 == 0).then_some((word >> 32) as i32)
}

impl Heap {
    pub(super) fn new(tgid: u32) -> Self {
        Self { tgid }
    }

    pub(super) fn words<const COUNT: usize>(&self, avma: u64) -> Option<[u64; COUNT]> {
        let mut bytes = [[0; 8]; COUNT];
        read_exact(self.tgid, avma, bytes.as_flattened_mut())?;
        Some(bytes.map(u64::from_le_bytes))
    }

    pub(super) fn word(&self, avma: u64) -> Option<u64> {
        self.words(avma).map(|[word]| word)
    }

    pub(super) fn bytes(&self, avma: u64, length_bytes: usize) -> Option<Vec<u8>> {
        read_vec(self.tgid, avma, length_bytes)
    }

    /// `count` words at `avma`.
    pub(super) fn word_list(&self, avma: u64, count: usize) -> Option<Vec<u64>> {
        let bytes = self.bytes(avma, count.checked_mul(8)?)?;
        let (words, _) = bytes.as_chunks::<8>();
        Some(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Number of the type of the object at `address`.
    pub(super) fn type_of(&self, address: u64) -> Option<u16> {
        self.type_of_map(self.word(address)?)
    }

    /// Number of the type that objects with this map (as their first word has it) are of.
    pub(super) fn type_of_map(&self, map: u64) -> Option<u16> {
        let mut bytes = [0; 2];
        read_exact(self.tgid, pointer(map)?.checked_add(INSTANCE_TYPE)?, &mut bytes)?;
        Some(u16::from_le_bytes(bytes))
    }

    /// The address of the object that `word` points to, if it is of that type.
    pub(super) fn object(&self, word: u64, type_number: u16) -> Option<u64> {
        pointer(word).filter(|address| self.type_of(*address) == Some(type_number))
    }

    /// Number of elements of the array at `address`.
    pub(super) fn array_length(&self, address: u64) -> Option<usize> {
        small_integer(self.word(address.checked_add(ARRAY_LENGTH)?)?)
            .and_then(|length| usize::try_from(length).ok())
    }

    /// The contents of the byte array that `word` points to, when it is of one of `types` and
    /// holds no more than `max_bytes`.
    pub(super) fn byte_array(&self, word: u64, types: &[u16], max_bytes: usize) -> Option<Vec<u8>> {
        let address = pointer(word)?;
        let type_number = self.type_of(address)?;
        let length = self.array_length(address)?;
        (types.contains(&type_number) && type_number != 0 && length <= max_bytes)
            .then(|| self.bytes(address + ARRAY_DATA, length))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert_eq!(pointer(0x1234_5679), Some(0x1234_5678));
        assert_eq!(pointer(0x1234_5678), None);
        assert_eq!(pointer(0x1234_567b), None);
        assert_eq!(pointer(1), None);
        assert_eq!(pointer(u64::MAX - 2), None);
        assert_eq!(weak_pointer(0x1234_567b), Some(0x1234_5678));
        assert_eq!(weak_pointer(0x1234_5679), Some(0x1234_5678));
        assert_eq!(weak_pointer(3), None);
        assert_eq!(small_integer(0xffff_fffe_0000_0000), Some(-2));
        assert_eq!(small_integer(7 << 32), Some(7));
        assert_eq!(small_integer(7), None);
    }

    #[test]
    fn objects_of_this_process_are_read_like_any() {
        let map = [0u64, 205 << 32, 0, 0];
        let object = [map.as_ptr() as u64 | 1, 5 << 32, u64::from_le_bytes(*b"12345678")];
        let heap = Heap::new(std::process::id());
        let word = object.as_ptr() as u64 | 1;
        assert_eq!(heap.object(word, 205), Some(word & !1));
        assert_eq!(heap.object(word, 206), None);
        assert_eq!(heap.byte_array(word, &[205], 5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(heap.byte_array(word, &[205], 4), None);
        assert_eq!(heap.word(8), None);
    }
}
