//! Live blocks of an allocator: whether anything still points to them, and from where. A block to
//! which nothing points any more is lost: nobody can free it.
//!
//! Any word that looks like a pointer counts as one, from wherever it is in use. So what is said to
//! be lost is lost, while a stale word may keep a lost block looking reachable. Pointers that are
//! kept nowhere in memory that can be read (packed at odd addresses, compressed, encrypted, in the
//! kernel) are not seen.

pub(super) mod glibc;
mod index;
mod lost;
mod naming;
mod reach;
mod words;

pub use naming::Naming;

use super::{Image, ThreadRegisters};
use crate::capture::BlocksOfStack;
use index::Index;
use lost::Lost;
use reach::Reach;
use std::{borrow::Cow, collections::HashMap};

/// Places that point to the blocks of one stack that are told apart.
const MAX_FROM: usize = 16;

/// A block that is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBlock {
    /// Its address.
    pub avma: u64,
    /// What was asked for.
    pub size_bytes: u64,
    /// Number of the stack that allocated it.
    pub stack: u64,
}

impl LiveBlock {
    /// The address behind it; even an empty one has an address of its own.
    pub fn end_avma(&self) -> u64 {
        self.avma.saturating_add(self.size_bytes.max(1))
    }
}

/// Those of `before` that are in `after` too; both by address. What is about to be looked at in an
/// image must have lived before it was taken and after.
pub fn in_both(mut before: Vec<LiveBlock>, after: &[LiveBlock]) -> Vec<LiveBlock> {
    let mut at = 0;
    before.retain(|block| {
        while after.get(at).is_some_and(|other| other.avma < block.avma) {
            at += 1;
        }
        after.get(at) == Some(block)
    });
    before
}

/// What becomes of the blocks of the stacks `of`: one answer for each, in their order.
///
/// `blocks` are all that are known to be alive in the image, of whatever stack, by address (others
/// are put in order first); `threads` are empty where the process was not stopped, and then what
/// moved while it was read may look lost.
///
/// # Cost
/// One pass over the image and, for what is lost, up to three over that. Memory: an eighth of a
/// byte a block, eight bytes for a page that holds some, four for a block that is waiting.
pub fn look(
    image: &Image,
    threads: &[ThreadRegisters],
    blocks: &[LiveBlock],
    of: &[u64],
    naming: &Naming<'_>,
) -> Vec<BlocksOfStack> {
    let blocks = &blocks[..blocks.len().min(u32::MAX as usize)];
    let blocks: Cow<'_, [LiveBlock]> = if blocks.is_sorted_by_key(|block| block.avma) {
        Cow::Borrowed(blocks)
    } else {
        let mut sorted = blocks.to_vec();
        sorted.sort_unstable_by_key(|block| block.avma);
        Cow::Owned(sorted)
    };
    let index = Index::new(image, &blocks);
    let wanted: HashMap<u64, usize> =
        of.iter().enumerate().map(|(place, stack)| (*stack, place)).rev().collect();
    let reach = Reach::new(image, &blocks, &index, &wanted, naming).follow(threads);
    let lost = Lost::new(image, &blocks, &index, &reach.reached);
    let mut answers: Vec<BlocksOfStack> = of
        .iter()
        .map(|stack| BlocksOfStack { stack: *stack, ..BlocksOfStack::default() })
        .collect();
    for (place, block) in blocks.iter().enumerate() {
        let Some(answer) = wanted.get(&block.stack).and_then(|at| answers.get_mut(*at)) else {
            continue;
        };
        if !index.has(place as u32) {
            continue;
        }
        answer.blocks += 1;
        answer.bytes = answer.bytes.saturating_add(block.size_bytes);
        if lost.is_direct(place as u32) {
            answer.lost_blocks += 1;
            answer.lost_bytes = answer.lost_bytes.saturating_add(block.size_bytes);
        } else if !reach.reached.holds(place as u32) {
            answer.lost_indirectly_blocks += 1;
            answer.lost_indirectly_bytes =
                answer.lost_indirectly_bytes.saturating_add(block.size_bytes);
        }
    }
    for (answer, mut from) in answers.iter_mut().zip(reach.from()) {
        from.sort_by(|a, b| b.blocks.cmp(&a.blocks).then_with(|| a.what.cmp(&b.what)));
        from.truncate(MAX_FROM);
        answer.from = from;
    }
    answers
}

#[cfg(test)]
mod tests;
