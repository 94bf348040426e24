//! Code mappings that went away while the target ran: recorded stacks may still point into them.

use crate::target::mapping::{FileId, Mapping};
use std::collections::{BTreeMap, HashMap};

/// Mappings that are kept: the latest ones. A program may map and unmap code for ever.
const MAX_FORMER: usize = 16_384;

/// What tells one from another: addresses, file offset and file.
type Key = (u64, u64, u64, Option<FileId>);

/// The latest of them, each once.
#[derive(Debug, Default)]
pub(super) struct Former {
    by_age: BTreeMap<u64, Mapping>,
    ages: HashMap<Key, u64>,
    next_age: u64,
}

impl Former {
    /// This one has gone.
    pub(super) fn add(&mut self, mapping: Mapping) {
        if let Some(age) = self.ages.insert(key(&mapping), self.next_age) {
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.next_age, mapping);
        self.next_age += 1;
        if self.by_age.len() > MAX_FORMER
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.ages.remove(&key(&oldest));
        }
    }

    /// The one that was at `avma` last.
    pub(super) fn at(&self, avma: u64) -> Option<&Mapping> {
        self.by_age.values().rev().find(|mapping| mapping.contains(avma))
    }
}

fn key(mapping: &Mapping) -> Key {
    (mapping.start_avma, mapping.end_avma, mapping.file_offset, mapping.file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mapping::parse;

    fn mapping(start: u64, inode: u64) -> Mapping {
        let line = format!("{start:x}-{:x} r-xp 00000000 08:02 {inode} /lib/some.so\n", start + 16);
        parse(line.as_bytes()).remove(0)
    }

    #[test]
    fn the_last_one_at_an_address_is_found() {
        let mut former = Former::default();
        former.add(mapping(0x1000, 1));
        former.add(mapping(0x1000, 2));
        assert_eq!(former.at(0x1008), Some(&mapping(0x1000, 2)));
        former.add(mapping(0x1000, 1));
        assert_eq!(former.at(0x1008), Some(&mapping(0x1000, 1)));
        assert_eq!(former.at(0x1010), None);
    }

    #[test]
    fn one_that_comes_and_goes_takes_no_more_room_and_the_oldest_yield() {
        let mut former = Former::default();
        former.add(mapping(0x10, 1));
        for _ in 0..100 {
            former.add(mapping(0x20, 1));
        }
        assert_eq!((former.by_age.len(), former.ages.len()), (2, 2));
        for number in 0..MAX_FORMER as u64 {
            former.add(mapping(0x1000 + number * 16, 1));
        }
        assert_eq!((former.by_age.len(), former.ages.len()), (MAX_FORMER, MAX_FORMER));
        assert_eq!(former.at(0x10), None);
        assert!(former.at(0x1000).is_some());
    }
}
