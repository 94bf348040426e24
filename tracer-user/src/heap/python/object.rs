//! Where objects are: an index by address.

use super::kind::TypeIndex;
use crate::heap::page_index::{PAGE_BYTES, PageIndex};

/// Place of an object in the list of objects, which is by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectIndex(pub u32);

/// An object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its address (`PyObject *`), behind the collector's header.
    pub avma: u64,
    /// Its type.
    pub kind: TypeIndex,
    /// What the allocator pays for its block, without tables that it owns; bytes. Capped.
    pub block_bytes: u32,
}
const _: () = assert!(size_of::<Object>() == 16);

/// All objects, by address.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    all: Vec<Object>,
    /// For each page that has objects its place in `pages`, and one more.
    index: PageIndex,
    pages: Vec<Page>,
}

/// Words of bits of a page: one for every eight bytes.
const WORDS: usize = (PAGE_BYTES / 8 / 64) as usize;

/// Where objects begin in a page.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    bits: [u64; WORDS],
    /// Objects of the page before each word.
    before: [u16; WORDS],
    /// Place of its first object.
    first: u32,
}

impl Objects {
    /// Of objects in any order; of two at one address the first is kept. Addresses are multiples
    /// of eight.
    pub fn new(mut all: Vec<Object>) -> Self {
        if !all.is_sorted_by_key(|object| object.avma) {
            all.sort_by_key(|object| object.avma);
        }
        all.dedup_by_key(|object| object.avma);
        all.truncate(u32::MAX as usize);
        all.shrink_to_fit();
        let mut objects = Self { all, ..Self::default() };
        objects.make_index();
        objects
    }

    fn make_index(&mut self) {
        let page_of = |avma: u64| avma / PAGE_BYTES;
        let mut last = None;
        for (place, object) in self.all.iter().enumerate() {
            if !PageIndex::covers(object.avma) {
                break;
            }
            if last != Some(page_of(object.avma)) {
                last = Some(page_of(object.avma));
                self.pages.push(Page { first: place as u32, ..Page::default() });
                self.index.set(object.avma, self.pages.len() as u32);
            }
            if let Some(page) = self.pages.last_mut() {
                let bit = (object.avma % PAGE_BYTES / 8) as usize;
                page.bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        for page in &mut self.pages {
            for word in 1..WORDS {
                page.before[word] = page.before[word - 1] + page.bits[word - 1].count_ones() as u16;
            }
        }
        self.pages.shrink_to_fit();
    }

    /// All of them.
    pub fn all(&self) -> &[Object] {
        &self.all
    }

    /// One of them.
    #[inline]
    pub fn get(&self, index: ObjectIndex) -> Option<&Object> {
        self.all.get(index.0 as usize)
    }

    /// The object at exactly this address.
    #[inline]
    pub fn find(&self, avma: u64) -> Option<ObjectIndex> {
        if !avma.is_multiple_of(8) {
            return None;
        }
        let number = self.index.get(avma) as usize;
        let page = self.pages.get(number.checked_sub(1)?)?;
        let bit = (avma % PAGE_BYTES / 8) as usize;
        let word = page.bits[bit / 64];
        if word >> (bit % 64) & 1 == 0 {
            return None;
        }
        let below = (word & ((1 << (bit % 64)) - 1)).count_ones();
        Some(ObjectIndex(page.first + u32::from(page.before[bit / 64]) + below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_found_at_its_address_and_nothing_beside_it() {
        let mut random = fastrand::Rng::with_seed(7);
        let object = |avma| Object { avma, ..Object::default() };
        let all = (0..20_000).map(|_| object(0x7f00_0000_0000 + 8 * random.u64(..200_000)));
        let objects = Objects::new(all.collect());
        let mut at = 0x7f00_0000_0000 - 64;
        while at < 0x7f00_0000_0000 + 8 * 200_000 + 64 {
            let slow = objects.all().binary_search_by_key(&at, |object| object.avma).ok();
            assert_eq!(objects.find(at), slow.map(|index| ObjectIndex(index as u32)), "{at:x}");
            at += 4;
        }
        assert_eq!(objects.find(u64::MAX - 7), None);
        assert_eq!(Objects::default().find(8), None);
    }
}
