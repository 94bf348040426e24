//! Unwind tables: from the .eh_frame of a mapped file to the compact rows that the kernel side
//! searches, kept on disk between runs. Knows files and bytes; uploads nothing.

mod builder;
mod cache;
mod eh_frame;
mod rule;

pub use eh_frame::UnwindSource;

use crate::target::Target;
use crate::target::code_range::TableKey;
use crate::target::elf::Elf;
use crate::warning::Warning;
use cache::Cache;
use tracer_common::unwind::{PAGE_SHIFT, Rule, unpack_row};

/// Rows of one table; the largest files known have four million.
pub const MAX_TABLE_ROWS: usize = 1 << 23;
/// Pages of one table: 1 GiB of code.
pub const MAX_TABLE_PAGES: usize = 1 << 14;
/// Distinct rules of one file; 422 is the most that was seen.
pub const MAX_FILE_RULES: usize = 4096;

/// The unwind table of one file, in its own numbering of addresses, rows and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnwindTable {
    /// Address of the first byte that it covers.
    pub origin_svma: u64,
    /// For each page (see `tracer_common::unwind`) the index of its first row, and one entry
    /// behind the last page. Empty, or at least two.
    pub pages: Vec<u32>,
    /// Rows, packed; the rule is an index in `rules`.
    pub rows: Vec<u32>,
    /// The distinct rules.
    pub rules: Vec<Rule>,
    /// What it lacks.
    pub flaws: Flaws,
}

/// What of a file's unwind information is not in its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// It breaks off or contradicts itself; what was read before that is used.
    pub damaged: bool,
    /// It exceeds a bound: rows, pages, rules or work.
    pub cut: bool,
}

impl UnwindTable {
    /// The rule for the instruction at `svma`; `None` outside of the table. This is the search
    /// that the kernel side makes.
    pub fn rule_at(&self, svma: u64) -> Option<Rule> {
        let offset = svma.checked_sub(self.origin_svma)?;
        let page = usize::try_from(offset >> PAGE_SHIFT).ok()?;
        let (first, behind) = (*self.pages.get(page)?, *self.pages.get(page + 1)?);
        let rows = self.rows.get(first as usize..behind as usize)?;
        let behind = rows.partition_point(|row| unpack_row(*row).0 <= offset as u16);
        let (_, rule) = unpack_row(*rows.get(behind.checked_sub(1)?)?);
        self.rules.get(usize::from(rule)).copied()
    }

    /// Pages that it covers.
    pub fn page_count(&self) -> usize {
        self.pages.len().saturating_sub(1)
    }

    /// Whether every search in it stays inside: pages and rows ascend, each page has a row at its
    /// first byte, every rule exists.
    fn is_sound(&self) -> bool {
        let bounded = self.rows.len() <= MAX_TABLE_ROWS + MAX_TABLE_PAGES
            && self.page_count() <= MAX_TABLE_PAGES
            && self.rules.len() <= MAX_FILE_RULES;
        let ends_meet = match (self.pages.first(), self.pages.last()) {
            (Some(first), Some(last)) => *first == 0 && *last as usize == self.rows.len(),
            _ => self.rows.is_empty(),
        };
        let pages_are_sound = || {
            self.pages.windows(2).all(|pair| {
                let rows = self.rows.get(pair[0] as usize..pair[1] as usize).unwrap_or_default();
                rows.first().is_some_and(|row| unpack_row(*row).0 == 0)
                    && rows.windows(2).all(|pair| unpack_row(pair[0]).0 < unpack_row(pair[1]).0)
            })
        };
        let has_rule = |row: &u32| usize::from(unpack_row(*row).1) < self.rules.len();
        bounded && ends_meet && pages_are_sound() && self.rows.iter().all(has_rule)
    }
}

/// The tables of the files behind `keys`, from disk where they were kept, else built. A file that
/// has gone, or describes no code, gets an empty one.
///
/// # Cost
/// 5-20 ms for libc and Python, 0.2-0.4 s for node where they are built; a tenth where kept.
pub fn tables_of(
    target: &Target,
    keys: &[TableKey],
) -> (Vec<(TableKey, UnwindTable)>, Vec<Warning>) {
    let cache = if keys.is_empty() { None } else { Cache::open_default() };
    let mut warnings = Vec::new();
    let mut tables = Vec::new();
    for key in keys {
        let (name, elf) = match key {
            TableKey::Vdso => ("[vdso]".to_owned(), target.vdso.as_deref()),
            TableKey::File(id) => match target.files.get(id) {
                Some(file) => (file.display_path.display().to_string(), Some(&file.elf)),
                None => (String::new(), None),
            },
        };
        let table = elf.map(|elf| kept_or_built(cache.as_ref(), elf)).unwrap_or_default();
        warnings.extend(flaw_warning(&name, table.flaws));
        tables.push((*key, table));
    }
    (tables, warnings)
}

fn kept_or_built(cache: Option<&Cache>, elf: &Elf) -> UnwindTable {
    let place = cache.and_then(|cache| Some((cache, cache::Identity::of(elf)?)));
    if let Some((cache, identity)) = &place
        && let Some(table) = cache.read(identity)
    {
        return table;
    }
    let table = build(elf);
    if let Some((cache, identity)) = &place
        && table.rows.len() >= cache::MIN_ROWS
    {
        cache.write(identity, &table);
    }
    table
}

/// The table of one file.
///
/// # Cost
/// About 0.3 microseconds a row.
pub fn build(elf: &Elf) -> UnwindTable {
    let bytes = elf
        .section(".eh_frame")
        .filter(|section| section.length_bytes <= eh_frame::MAX_SECTION_BYTES)
        .and_then(|section| elf.section_bytes(section));
    match (&bytes, elf.section(".eh_frame")) {
        (Some(bytes), Some(section)) => UnwindSource::of(elf, bytes, section.svma).build(),
        (_, section) => UnwindTable {
            flaws: Flaws { damaged: section.is_some(), cut: false },
            ..UnwindTable::default()
        },
    }
}

fn flaw_warning(name: &str, flaws: Flaws) -> Option<Warning> {
    let what = match (flaws.damaged, flaws.cut) {
        (true, _) => "is damaged: what could be read of it is used",
        (_, true) => "exceeds a bound of outlive: its first part is used",
        _ => return None,
    };
    Some(Warning::new(
        "unwind-table-incomplete",
        format!(
            "The unwind information of {name} {what}, and stacks through the rest of its code may end early."
        ),
        "",
    ))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
