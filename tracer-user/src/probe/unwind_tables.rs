//! Unwind tables on the kernel side: one copy of each file's, for all processes and mappings.
//! Places are handed out once and never change, since a program may be reading them.

use super::mapped::MappedArray;
use crate::target::{PlannedRange, TableKey};
use crate::unwind::UnwindTable;
use std::collections::HashMap;
use tracer_common::limits::{DEFAULT_MAX_PAGES, DEFAULT_MAX_ROWS};
use tracer_common::slot::{CodeRange, walk};
use tracer_common::unwind::{MAX_RULES, Rule, pack_row, unpack_row};

/// Number of the rule for code without one.
const NO_RULE: u16 = 0;

/// How many rows and pages the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Rows; even.
    pub rows: u32,
    /// First rows of pages; even.
    pub pages: u32,
}

impl TableSizes {
    /// Room for `tables`, and half of the usual size for files that are mapped later; at most
    /// `max_rows` rows.
    pub fn for_tables(tables: &[(TableKey, UnwindTable)], max_rows: u32) -> Self {
        let sum = |count: fn(&UnwindTable) -> usize| {
            tables.iter().map(|(_, table)| count(table) as u64).sum::<u64>()
        };
        // Half of the usual size is kept free at least.
        let room = |needed: u64, usual: u32| (needed + u64::from(usual / 2)).max(u64::from(usual));
        let rows = room(sum(|table| table.rows.len()), DEFAULT_MAX_ROWS).min(u64::from(max_rows));
        let pages = room(sum(|table| table.pages.len()), DEFAULT_MAX_PAGES);
        let even = |count: u64| u32::try_from(count.next_multiple_of(2)).unwrap_or(u32::MAX - 1);
        Self { rows: even(rows.max(2)), pages: even(pages) }
    }
}

/// Where a table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    origin_svma: u64,
    first_page: u32,
    page_count: u32,
}

/// The kernel side's tables.
pub struct UnwindTables {
    rows: Pairs,
    pages: Pairs,
    rules: MappedArray<Rule>,
    numbers: HashMap<Rule, u16>,
    /// `None` for tables that did not fit, or are empty.
    places: HashMap<TableKey, Option<Place>>,
}

/// Words in a mapped array whose elements hold two, the even one in the low half.
struct Pairs {
    elements: MappedArray<u64>,
    used: usize,
}

impl Pairs {
    fn left(&self) -> usize {
        (2 * self.elements.len()).saturating_sub(self.used)
    }

    /// Appends `words`, for which there is room; the index of the first.
    fn append(&mut self, words: impl Iterator<Item = u32>) -> u32 {
        let first = self.used;
        for word in words {
            let half = 32 * (self.used % 2);
            // SAFETY: one aligned element, of which only the half in use is read by programs.
            self.elements.update(self.used / 2, |element| unsafe {
                let kept = element.read_volatile() & !(u64::from(u32::MAX) << half);
                element.write_volatile(kept | u64::from(word) << half);
            });
            self.used += 1;
        }
        first as u32
    }
}

impl UnwindTables {
    /// No tables yet.
    pub fn new(rows: MappedArray<u64>, pages: MappedArray<u64>, rules: MappedArray<Rule>) -> Self {
        // The arrays come zeroed, so rule 0 is there.
        Self {
            rows: Pairs { elements: rows, used: 0 },
            pages: Pairs { elements: pages, used: 0 },
            rules,
            numbers: HashMap::from([(Rule::default(), NO_RULE)]),
            places: HashMap::new(),
        }
    }

    /// Those of the tables that `ranges` need which were not added yet, each once.
    pub fn missing(&self, ranges: &[PlannedRange]) -> Vec<TableKey> {
        let mut keys: Vec<TableKey> = ranges.iter().filter_map(|range| range.table).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !self.places.contains_key(key));
        keys
    }

    /// Adds tables; how many of them did not fit. Their code is not walked.
    ///
    /// # Cost
    /// About a nanosecond a row, no system call.
    pub fn add(&mut self, tables: &[(TableKey, UnwindTable)]) -> usize {
        let mut refused = 0;
        for (key, table) in tables {
            if self.places.contains_key(key) {
                continue;
            }
            let place = if table.rows.is_empty() { None } else { self.place(table) };
            refused += usize::from(place.is_none() && !table.rows.is_empty());
            self.places.insert(*key, place);
        }
        refused
    }

    /// A range as the kernel side wants it.
    pub fn code_range(&self, range: &PlannedRange) -> CodeRange {
        let plain = CodeRange {
            start_avma: range.start_avma,
            end_avma: range.end_avma,
            walk: range.walk,
            ..CodeRange::default()
        };
        let Some(key) = range.table.filter(|_| range.walk == walk::TABLE) else { return plain };
        match self.places.get(&key).copied().flatten() {
            Some(place) => CodeRange {
                origin_avma: place.origin_svma.wrapping_add(range.bias),
                first_page: place.first_page,
                page_count: place.page_count,
                ..plain
            },
            None => CodeRange { walk: walk::NONE, ..plain },
        }
    }

    fn place(&mut self, table: &UnwindTable) -> Option<Place> {
        if table.rows.len() > self.rows.left() || table.pages.len() > self.pages.left() {
            return None;
        }
        let numbers: Vec<u16> = table.rules.iter().map(|rule| self.number(*rule)).collect();
        // Rules first, then rows, then pages: what is pointed to is there already.
        let rows = table.rows.iter().map(|row| {
            let (offset, rule) = unpack_row(*row);
            pack_row(offset, numbers.get(usize::from(rule)).copied().unwrap_or(NO_RULE))
        });
        let first_row = self.rows.append(rows);
        let first_page = self.pages.append(table.pages.iter().map(|page| page + first_row));
        Some(Place {
            origin_svma: table.origin_svma,
            first_page,
            page_count: table.page_count() as u32,
        })
    }

    /// The number of a rule; [`NO_RULE`] when all are taken.
    fn number(&mut self, rule: Rule) -> u16 {
        if let Some(number) = self.numbers.get(&rule) {
            return *number;
        }
        let next = self.numbers.len();
        if next >= (MAX_RULES as usize).min(self.rules.len()) {
            return NO_RULE;
        }
        // SAFETY: element `next`, which no row names yet.
        self.rules.update(next, |place| unsafe { place.write_volatile(rule) });
        self.numbers.insert(rule, next as u16);
        next as u16
    }
}
