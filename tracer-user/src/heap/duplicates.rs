//! How much of some memory is the same content many times. Contents are neither kept nor told: they
//! are compared by keyed hashes, which are gone with the session.

use super::{Image, native::LiveBlock};
use crate::capture::BlocksOfStack;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

/// What is shorter may be the same by chance, and matters little; bytes.
pub const SHORTEST_BYTES: u64 = 64;
/// Of one stack (or type) so much is compared at most: a quarter of a second's work.
const MAX_BYTES: u64 = 256 << 20;
const MAX_BLOCKS: u64 = 1_000_000;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Blocks that were compared, and their bytes. Those that are all zero are not: their pages may
    /// never have been there.
    pub compared_blocks: u64,
    /// See the field above.
    pub compared_bytes: u64,
    /// Those whose content is that of another one which was counted, and their bytes.
    pub duplicate_blocks: u64,
    /// See the field above.
    pub duplicate_bytes: u64,
    /// Distinct contents that there are more than once.
    pub duplicated_contents: u64,
}

/// Compares pieces of memory (address and length, bytes) that are [`SHORTEST_BYTES`] or longer.
/// Where there are too many they are sampled evenly, so that what there is few times of may be
/// missed: what is found is never too much.
///
/// # Cost
/// About a second a gigabyte, and at most 100 MB.
pub fn duplicates(image: &Image, pieces: impl Iterator<Item = (u64, u64)> + Clone) -> Duplicates {
    let bytes_of = |(avma, length): (u64, u64)| {
        (length >= SHORTEST_BYTES).then(|| image.bytes(avma, usize::try_from(length).ok()?))?
    };
    let (mut blocks, mut bytes) = (0_u64, 0_u64);
    for found in pieces.clone().filter_map(bytes_of) {
        blocks += 1;
        bytes = bytes.saturating_add(found.len() as u64);
    }
    let stride = blocks.div_ceil(MAX_BLOCKS).max(bytes.div_ceil(MAX_BYTES)).max(1);
    let random = RandomState::new();
    let (key, other_key) = (random.hash_one(0), random.hash_one(1));
    let mut seen: HashMap<u128, bool> = HashMap::new();
    let mut found = Duplicates::default();
    for content in pieces.filter_map(bytes_of).step_by(stride as usize) {
        if content.iter().all(|byte| *byte == 0) {
            continue;
        }
        let length = content.len() as u64;
        if found.compared_bytes.saturating_add(length) > 2 * MAX_BYTES {
            continue;
        }
        found.compared_blocks += 1;
        found.compared_bytes += length;
        let mut hasher = SipHasher13::new_with_keys(key, other_key);
        hasher.write_u64(length);
        hasher.write(content);
        let is_repeated = seen.entry(hasher.finish128().as_u128());
        is_repeated
            .and_modify(|is_repeated| {
                found.duplicate_blocks += 1;
                found.duplicate_bytes += length;
                found.duplicated_contents += u64::from(!*is_repeated);
                *is_repeated = true;
            })
            .or_insert(false);
    }
    found
}

/// Compares the blocks of each stack among `answers` with each other, and says so there.
pub fn compare_blocks(image: &Image, blocks: &[LiveBlock], answers: &mut [BlocksOfStack]) {
    let mut pieces: HashMap<u64, Vec<(u64, u64)>> =
        answers.iter().map(|answer| (answer.stack, Vec::new())).collect();
    for block in blocks {
        if let Some(pieces) = pieces.get_mut(&block.stack) {
            pieces.push((block.avma, block.size_bytes));
        }
    }
    for answer in answers {
        let pieces = pieces.get(&answer.stack).map_or(&[][..], Vec::as_slice);
        let found = duplicates(image, pieces.iter().copied());
        answer.compared_blocks = found.compared_blocks;
        answer.compared_bytes = found.compared_bytes;
        answer.duplicate_blocks = found.duplicate_blocks;
        answer.duplicate_bytes = found.duplicate_bytes;
        answer.duplicated_contents = found.duplicated_contents;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{Region, RegionKind};

    const START: u64 = 0x10_0000;

    fn image(bytes: Vec<u8>) -> Image {
        Image::new(vec![Region { start_avma: START, kind: RegionKind::Anonymous, bytes }])
    }

    #[test]
    fn contents_that_there_are_more_than_once_are_counted() {
        let contents: [u8; 8] = [1, 2, 1, 3, 1, 2, 0, 0];
        let image = image(contents.iter().flat_map(|content| [*content; 128]).collect());
        let pieces = |length| (0..8).map(move |at| (START + 128 * at, length));
        let expected = Duplicates {
            compared_blocks: 6,
            compared_bytes: 600,
            duplicate_blocks: 3,
            duplicate_bytes: 300,
            duplicated_contents: 2,
        };
        assert_eq!(duplicates(&image, pieces(100)), expected);
        assert_eq!(duplicates(&image, pieces(63)), Duplicates::default());
        let one_differs = pieces(128).chain([(START + 1, 127), (START, 127)]);
        assert_eq!(duplicates(&image, one_differs).duplicate_blocks, 4);
    }

    #[test]
    fn equal_beginnings_are_not_equal_contents() {
        let mut bytes = vec![7; 4096];
        bytes[4095] = 8;
        let found = duplicates(&image(bytes), [(START, 2048), (START + 2048, 2048)].into_iter());
        assert_eq!((found.compared_blocks, found.duplicate_blocks), (2, 0));
        let found = duplicates(&image(vec![7; 4096]), [(START, 64), (START, 65)].into_iter());
        assert_eq!((found.compared_blocks, found.duplicate_blocks), (2, 0));
    }

    #[test]
    fn what_is_not_in_the_image_is_not_compared() {
        let image = image(vec![7; 4096]);
        let pieces = [(0, 64), (START + 4090, 64), (u64::MAX, u64::MAX), (START, u64::MAX)];
        assert_eq!(duplicates(&image, pieces.into_iter()), Duplicates::default());
    }

    #[test]
    fn of_too_much_a_sample_is_compared() {
        let image = image(vec![7; 1 << 20]);
        let count = 3 * MAX_BYTES / (1 << 20);
        let found = duplicates(&image, (0..count).map(|_| (START, 1 << 20)));
        assert_eq!(found.compared_bytes, MAX_BYTES);
        assert_eq!(found.duplicate_blocks, count / 3 - 1);
    }

    #[test]
    fn blocks_are_compared_with_those_of_their_stack() {
        let image = image(vec![7; 4096]);
        let block = |at: u64, stack| LiveBlock { avma: START + 128 * at, size_bytes: 100, stack };
        let blocks = [block(0, 1), block(1, 2), block(2, 1), block(3, 3)];
        let mut answers = [1, 2].map(|stack| BlocksOfStack { stack, ..Default::default() });
        compare_blocks(&image, &blocks, &mut answers);
        assert_eq!((answers[0].compared_blocks, answers[0].duplicate_blocks), (2, 1));
        assert_eq!((answers[1].compared_blocks, answers[1].duplicate_blocks), (1, 0));
    }
}
