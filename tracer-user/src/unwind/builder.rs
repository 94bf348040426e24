//! Puts rows into pages as they come: merges equal neighbours, numbers rules, and keeps the bounds.

use super::{Flaws, MAX_FILE_RULES, MAX_TABLE_PAGES, MAX_TABLE_ROWS, UnwindTable};
use std::collections::HashMap;
use std::ops::Range;
use tracer_common::unwind::{PAGE_SHIFT, Rule, cfa, pack_row};

/// Where nothing is known; its kind is decided at the end.
pub const GAP: u16 = 0;
/// What is not walked; also stands for rules beyond the bound.
const UNSUPPORTED: u16 = 1;
/// What was not read.
const UNREAD: u16 = 2;

/// A table under construction. Rows come in ascending order.
pub struct Builder {
    table: UnwindTable,
    numbers: HashMap<Rule, u16>,
    /// The run that may still grow: where it began, and its rule.
    run: (u64, u16),
    end_svma: u64,
    is_full: bool,
}

impl Builder {
    /// A table of the addresses in `code`; what exceeds the bound of pages is left out.
    pub fn new(code: Range<u64>) -> Self {
        let longest = (MAX_TABLE_PAGES as u64) << PAGE_SHIFT;
        let end_svma = code.end.min(code.start.saturating_add(longest));
        let reserved =
            [Rule::default(), Rule { cfa: cfa::UNSUPPORTED, ..Rule::default() }, Rule::default()];
        let table = UnwindTable {
            origin_svma: code.start,
            rules: reserved.to_vec(),
            flaws: Flaws { damaged: false, cut: end_svma < code.end },
            ..UnwindTable::default()
        };
        let numbers = HashMap::from([(reserved[1], UNSUPPORTED)]);
        Self { table, numbers, run: (code.start, GAP), end_svma, is_full: false }
    }

    /// `rule` holds from `svma` on.
    pub fn rule_from(&mut self, svma: u64, rule: Rule) {
        let number = self.number(rule);
        self.number_from(svma, number);
    }

    /// Nothing is known from `svma` on.
    pub fn gap_from(&mut self, svma: u64) {
        self.number_from(svma, GAP);
    }

    /// What follows `svma` cannot be read.
    pub fn damage_from(&mut self, svma: u64) {
        self.table.flaws.damaged = true;
        self.number_from(svma, UNSUPPORTED);
    }

    /// What follows `svma` is not read, since a bound is reached.
    pub fn unread_from(&mut self, svma: u64) {
        self.table.flaws.cut = true;
        self.number_from(svma, UNREAD);
    }

    /// Whether no more rows fit.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The unwind information breaks off.
    pub fn note_damage(&mut self) {
        self.table.flaws.damaged = true;
    }

    /// The table; `gap` is the rule for code about which nothing is known.
    pub fn finish(mut self, gap: Rule) -> UnwindTable {
        self.write_run(self.end_svma);
        if !self.table.pages.is_empty() {
            self.table.pages.push(self.table.rows.len() as u32);
        }
        self.table.rules[usize::from(GAP)] = gap;
        self.table.rows.shrink_to_fit();
        self.table
    }

    fn number(&mut self, rule: Rule) -> u16 {
        if let Some(number) = self.numbers.get(&rule) {
            return *number;
        }
        if self.table.rules.len() >= MAX_FILE_RULES {
            self.table.flaws.cut = true;
            return UNSUPPORTED;
        }
        let number = self.table.rules.len() as u16;
        self.table.rules.push(rule);
        self.numbers.insert(rule, number);
        number
    }

    fn number_from(&mut self, svma: u64, number: u16) {
        let svma = svma.max(self.run.0).min(self.end_svma);
        if number == self.run.1 {
            return;
        }
        if self.table.rows.len() >= MAX_TABLE_ROWS {
            if !self.is_full {
                self.is_full = true;
                self.write_run(svma);
                self.run = (svma, UNREAD);
                self.table.flaws.cut = true;
            }
            return;
        }
        self.write_run(svma);
        self.run = (svma, number);
    }

    /// Writes the run, which ends at `end_svma`: a row where it begins and one at each page border
    /// inside of it.
    fn write_run(&mut self, end_svma: u64) {
        let (mut svma, number) = self.run;
        while svma < end_svma {
            let offset = svma - self.table.origin_svma;
            let page = offset >> PAGE_SHIFT;
            if page as usize >= self.table.pages.len() {
                self.table.pages.push(self.table.rows.len() as u32);
            }
            self.table.rows.push(pack_row(offset as u16, number));
            svma = self.table.origin_svma.saturating_add((page + 1) << PAGE_SHIFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(cfa_offset: i32) -> Rule {
        Rule { cfa: cfa::RSP, cfa_offset, ..Rule::default() }
    }

    #[test]
    fn each_page_begins_with_the_rule_in_force() {
        let mut builder = Builder::new(0x1234..0x41234);
        builder.rule_from(0x2000, rule(8));
        builder.rule_from(0x2001, rule(8));
        builder.rule_from(0x31233, rule(16));
        builder.rule_from(0x31234, rule(24));
        builder.gap_from(0x31240);
        let table = builder.finish(Rule::default());
        assert!(table.is_sound());
        assert_eq!(table.page_count(), 4);
        for (svma, expected) in [
            (0x1233, None),
            (0x1234, Some(Rule::default())),
            (0x1fff, Some(Rule::default())),
            (0x2000, Some(rule(8))),
            (0x11233, Some(rule(8))),
            (0x11234, Some(rule(8))),
            (0x31232, Some(rule(8))),
            (0x31233, Some(rule(16))),
            (0x31234, Some(rule(24))),
            (0x31240, Some(Rule::default())),
            (0x41233, Some(Rule::default())),
            (0x41234, None),
            (u64::MAX, None),
        ] {
            assert_eq!(table.rule_at(svma), expected, "{svma:#x}");
        }
        // The rule that went on at 0x2001 has no row of its own.
        assert_eq!(table.rows.len(), 2 + 1 + 2 + 2);
    }

    #[test]
    fn the_bound_of_rules_and_of_pages_hold() {
        let mut builder = Builder::new(0..u64::MAX);
        for index in 0..2 * MAX_FILE_RULES {
            builder.rule_from(index as u64, rule(index as i32));
        }
        let table = builder.finish(Rule::default());
        assert!(table.is_sound() && table.flaws.cut);
        assert_eq!(table.rules.len(), MAX_FILE_RULES);
        assert_eq!(table.page_count(), MAX_TABLE_PAGES);
        let last = table.rule_at(2 * MAX_FILE_RULES as u64 - 1).unwrap();
        assert_eq!(last.cfa, cfa::UNSUPPORTED);
    }

    #[test]
    fn what_goes_back_or_beyond_stays_inside() {
        let mut builder = Builder::new(0x1000..0x2000);
        builder.rule_from(0x1800, rule(8));
        builder.rule_from(0x1000, rule(16));
        builder.rule_from(0x9000, rule(24));
        let table = builder.finish(Rule::default());
        assert!(table.is_sound());
        assert_eq!(table.rule_at(0x1800), Some(rule(16)));
        assert_eq!(table.rule_at(0x1fff), Some(rule(16)));
        assert!(Builder::new(7..7).finish(Rule::default()).is_sound());
    }
}
