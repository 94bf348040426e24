//! Objects by type: how many, and what they cost.

use super::heap::PythonHeap;
use super::moment::Moment;
use super::table_map::TableMap;
use crate::capture::{Census, TypeCount};
use std::collections::BTreeMap;

/// Types that are told: those with the most bytes, and those that grew most.
const MAX_LARGEST: usize = 250;
const MAX_GROWN: usize = 50;
/// Of so many objects one may be doubtful without a word.
const MAX_DOUBTFUL_PART: usize = 200;

/// Objects of a type and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub count: u64,
    pub bytes: u64,
}

/// Sums of all types, by their place, bytes of tables in pools, and where tables are.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub kinds: Vec<Sum>,
    pooled_table_bytes: u64,
    /// Deques claim more blocks than there is memory for; some were left out.
    is_cut: bool,
    pub tables: TableMap,
}

impl PythonHeap<'_> {
    /// Objects by type: the largest types, to be kept.
    pub fn census(&self) -> Census {
        self.census_of(MAX_LARGEST, &BTreeMap::new())
    }

    /// The same with what changed since a moment; types that grew are among those told.
    pub fn census_since(&self, before: &Moment) -> Census {
        self.census_of(MAX_LARGEST, &before.by_name())
    }

    /// Objects of every type, with what changed since a moment, if there is one.
    pub fn whole_census(&self, before: Option<&Moment>) -> Census {
        self.census_of(usize::MAX, &before.map(Moment::by_name).unwrap_or_default())
    }

    /// What the numbers may be wrong by; a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.layout.free_threaded {
            notes.push(
                "Of a build without the GIL objects are counted by what their memory looks like: \
                 read while it replaces objects there may be fewer (what was freed looks alive), or \
                 more (what is replaced lies elsewhere); a stop leaves the first alone."
                    .to_owned(),
            );
        } else if !self.has_chunks && self.has_loose_objects() {
            notes.push(
                "Memory outside of Python's own pools is not glibc's: blocks there that were freed \
                 may count as objects, and bytes are what was asked for."
                    .to_owned(),
            );
        }
        if self.sums().is_cut {
            notes.push(
                "The memory contradicts itself: deques claim more blocks than it has room for, so \
                 their bytes are told in part."
                    .to_owned(),
            );
        }
        let doubtful = self.found.doubtful;
        if self.has_chunks && doubtful > (self.objects.all().len() / MAX_DOUBTFUL_PART) as u64 {
            notes.push(format!(
                "{doubtful} objects are told by their looks alone, since malloc's memory could not \
                 be gone through there: some may have been freed."
            ));
        }
        notes
    }

    /// Whether any object lies in memory that nobody is known to manage.
    fn has_loose_objects(&self) -> bool {
        let pools = &self.pools;
        self.objects.all().iter().any(|object| {
            object.block_bytes != 0 && pools.pool_at(self.image, object.avma).is_none()
        })
    }

    /// Bytes of pools' blocks that are objects or tables of objects.
    pub fn attributed_pool_bytes(&self) -> u64 {
        self.found.pooled_bytes.saturating_add(self.sums().pooled_table_bytes)
    }

    pub(super) fn sums(&self) -> &Sums {
        self.sums.get_or_init(|| self.add_up())
    }

    fn add_up(&self) -> Sums {
        let all = self.objects.all();
        // Two halves at once: most of the time goes into waiting for memory.
        let (left, right) = all.split_at(all.len() / 2);
        let part = |objects: &[super::Object]| {
            let mut sums = Sums {
                kinds: vec![Sum::default(); self.types.len()],
                pooled_table_bytes: 0,
                is_cut: false,
                tables: TableMap::new(self.image),
            };
            let owned = self.owned();
            for object in objects {
                let index = object.kind.0 as usize;
                let (Some(kind), Some(sum)) = (self.types.get(index), sums.kinds.get_mut(index))
                else {
                    continue;
                };
                sum.count += 1;
                sum.bytes = sum.bytes.saturating_add(u64::from(object.block_bytes));
                owned.visit(kind, object.avma, |table| {
                    let paid = owned.paid(table);
                    sum.bytes = sum.bytes.saturating_add(paid.bytes);
                    if paid.is_pooled {
                        sums.pooled_table_bytes =
                            sums.pooled_table_bytes.saturating_add(paid.bytes);
                    }
                    sums.tables.add(self.image, table.avma, paid.bytes.max(table.asked_bytes));
                });
            }
            sums.is_cut = owned.is_cut.get();
            sums
        };
        let (mut sums, more) = std::thread::scope(|scope| {
            let left = scope.spawn(|| part(left));
            let right = part(right);
            // A thread that panicked has told why; its half is lost.
            (left.join().unwrap_or_default(), right)
        });
        sums.kinds.resize(self.types.len(), Sum::default());
        for (sum, more) in sums.kinds.iter_mut().zip(&more.kinds) {
            sum.count += more.count;
            sum.bytes = sum.bytes.saturating_add(more.bytes);
        }
        sums.pooled_table_bytes = sums.pooled_table_bytes.saturating_add(more.pooled_table_bytes);
        sums.is_cut |= more.is_cut;
        sums.tables.add_all(more.tables);
        sums
    }

    /// Sums by the names of types: several types may have one.
    pub(super) fn named(&self, sums: &Sums) -> BTreeMap<&str, Sum> {
        let mut named: BTreeMap<&str, Sum> = BTreeMap::new();
        for (kind, sum) in self.types.iter().zip(&sums.kinds) {
            if sum.count != 0 {
                let entry = named.entry(&kind.name).or_default();
                entry.count += sum.count;
                entry.bytes = entry.bytes.saturating_add(sum.bytes);
            }
        }
        named
    }

    fn census_of(&self, largest: usize, before: &BTreeMap<String, (u64, u64)>) -> Census {
        let sums = self.sums();
        let mut types = changes(&self.named(sums), before);
        let objects = types.iter().map(|kind| kind.count).sum();
        let bytes = types.iter().fold(0_u64, |sum, kind| sum.saturating_add(kind.bytes));
        types.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.name.cmp(&other.name)));
        let mut others = types.split_off(types.len().min(largest));
        others.sort_by_key(|kind| std::cmp::Reverse(kind.bytes_change));
        let grown = others.iter().take_while(|kind| kind.bytes_change > 0).count();
        let rest = others.split_off(grown.min(MAX_GROWN));
        types.extend(others);
        types.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.name.cmp(&other.name)));
        let used = self.found.used_bytes;
        let attributed = self.found.pooled_bytes.saturating_add(sums.pooled_table_bytes);
        Census {
            types,
            other_types: TypeCount {
                name: String::new(),
                count: rest.iter().map(|kind| kind.count).sum(),
                bytes: rest.iter().fold(0, |sum, kind| sum.saturating_add(kind.bytes)),
                count_change: rest
                    .iter()
                    .fold(0, |sum, kind| sum.saturating_add(kind.count_change)),
                bytes_change: rest
                    .iter()
                    .fold(0, |sum, kind| sum.saturating_add(kind.bytes_change)),
            },
            objects,
            bytes,
            unattributed_bytes: used.saturating_sub(attributed),
            pools: self.pools.count,
            inconsistent_pools: self.found.inconsistent_pools,
        }
    }
}

/// What there is and what was, by name; without a moment before nothing has changed.
pub(super) fn changes(
    now: &BTreeMap<&str, Sum>,
    before: &BTreeMap<String, (u64, u64)>,
) -> Vec<TypeCount> {
    let change = |now: u64, before: u64| {
        i64::try_from(i128::from(now) - i128::from(before)).unwrap_or(i64::MAX)
    };
    let gone = before.keys().filter(|name| !now.contains_key(name.as_str()));
    let names = now.keys().copied().chain(gone.map(String::as_str));
    names
        .map(|name| {
            let sum = now.get(name).copied().unwrap_or_default();
            let (count, bytes) = match before.get(name) {
                Some(before) => *before,
                None if before.is_empty() => (sum.count, sum.bytes),
                None => (0, 0),
            };
            TypeCount {
                name: name.to_owned(),
                count: sum.count,
                bytes: sum.bytes,
                count_change: change(sum.count, count),
                bytes_change: change(sum.bytes, bytes),
            }
        })
        .collect()
}
