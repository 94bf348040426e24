//! Tells blocks that nothing points to from those that only such blocks point to. Blocks that point
//! to each other in a circle, and that nothing else points to, are lost together.

use super::{
    LiveBlock,
    index::Index,
    words::{Places, visit_block, words},
};
use crate::heap::Image;

/// Blocks that were not reached.
pub struct Lost {
    direct: Places,
}

/// A block whose pointers are being followed.
struct Step {
    /// Its place among the lost ones.
    at: u32,
    /// Where in it the next word is.
    next_avma: u64,
}

/// What is not numbered yet.
const UNSEEN: u32 = u32::MAX;

struct Circles<'a> {
    image: &'a Image,
    blocks: &'a [LiveBlock],
    index: &'a Index<'a>,
    /// Places of blocks whose every pointer comes from another one in this list.
    members: &'a [u32],
}

impl Lost {
    /// Of blocks that are in the image and not in `reached`.
    ///
    /// # Cost
    /// One pass over them, up to four over those that point to others, and sixteen bytes for each
    /// that no other rule decides.
    pub fn new(image: &Image, blocks: &[LiveBlock], index: &Index<'_>, reached: &Places) -> Self {
        let lost = || {
            let all = (0..blocks.len() as u32).filter(|place| !reached.holds(*place));
            all.filter(|place| index.has(*place))
        };
        // Most blocks point to none, and are read once.
        let (mut pointing, mut pointed) = (Places::new(blocks.len()), Places::new(blocks.len()));
        for place in lost() {
            visit_block(image, blocks[place as usize], |word| {
                if let Some(to) = index.find(word).filter(|to| *to != place && !reached.holds(*to))
                {
                    pointing.put(place);
                    pointed.put(to);
                }
            });
        }
        let mut found = Self { direct: Places::new(blocks.len()) };
        let mut behind = Places::new(blocks.len());
        let mut waiting: Vec<u32> = lost().filter(|place| !pointed.holds(*place)).collect();
        for place in &waiting {
            found.direct.put(*place);
        }
        waiting.retain(|place| pointing.holds(*place));
        while let Some(place) = waiting.pop() {
            visit_block(image, blocks[place as usize], |word| {
                if let Some(to) = index.find(word)
                    && !reached.holds(to)
                    && !found.direct.holds(to)
                    && behind.put(to)
                    && pointing.holds(to)
                {
                    waiting.push(to);
                }
            });
        }
        let is_decided = |place: &u32| found.direct.holds(*place) || behind.holds(*place);
        let members: Vec<u32> = lost().filter(|place| !is_decided(place)).collect();
        for place in (Circles { image, blocks, index, members: &members }).outermost() {
            found.direct.put(place);
        }
        found
    }

    /// Whether nothing points to a block, save others of its circle.
    pub fn is_direct(&self, place: u32) -> bool {
        self.direct.holds(place)
    }
}

impl Circles<'_> {
    /// Blocks of circles that nothing outside of them points to: strongly connected components
    /// without a way in.
    ///
    /// # Sources
    /// Tarjan, Depth-first search and linear graph algorithms, 1972.
    fn outermost(&self) -> Vec<u32> {
        let count = self.members.len();
        let mut numbers = vec![UNSEEN; count];
        let mut lows = vec![UNSEEN; count];
        // Of a component: that of its first block; kept once it is complete.
        let mut components = vec![UNSEEN; count];
        let (mut open, mut steps, mut next_number) = (Vec::new(), Vec::<Step>::new(), 0);
        for first in 0..count as u32 {
            if numbers[first as usize] != UNSEEN {
                continue;
            }
            steps.push(Step { at: first, next_avma: self.block(first).avma });
            while let Some(step) = steps.last_mut() {
                let at = step.at as usize;
                if numbers[at] == UNSEEN {
                    (numbers[at], lows[at]) = (next_number, next_number);
                    next_number += 1;
                    open.push(step.at);
                }
                if let Some((avma, to)) = self.pointer_from(step.at, step.next_avma) {
                    step.next_avma = avma + 8;
                    if numbers[to as usize] == UNSEEN {
                        steps.push(Step { at: to, next_avma: self.block(to).avma });
                    } else if components[to as usize] == UNSEEN {
                        lows[at] = lows[at].min(numbers[to as usize]);
                    }
                    continue;
                }
                steps.pop();
                if let Some(before) = steps.last() {
                    lows[before.at as usize] = lows[before.at as usize].min(lows[at]);
                }
                if lows[at] == numbers[at] {
                    while let Some(member) = open.pop() {
                        components[member as usize] = at as u32;
                        if member as usize == at {
                            break;
                        }
                    }
                }
            }
        }
        let mut is_entered = Places::new(count);
        for from in 0..count as u32 {
            let mut next = self.block(from).avma;
            while let Some((avma, to)) = self.pointer_from(from, next) {
                next = avma + 8;
                if components[to as usize] != components[from as usize] {
                    is_entered.put(components[to as usize]);
                }
            }
        }
        let outermost = (0..count).filter(|at| !is_entered.holds(components[*at]));
        outermost.map(|at| self.members[at]).collect()
    }

    fn block(&self, member: u32) -> LiveBlock {
        self.blocks[self.members[member as usize] as usize]
    }

    /// The next pointer from one member to another, at an address or behind it.
    fn pointer_from(&self, member: u32, from_avma: u64) -> Option<(u64, u32)> {
        let block = self.block(member);
        let region = self.image.region_at(block.avma)?;
        words(region, from_avma..block.end_avma()).find_map(|(avma, word)| {
            let place = self.index.find(word)?;
            let to = self.members.binary_search(&place).ok()? as u32;
            Some((avma, to))
        })
    }
}
