//! The line tables of CPython 3.8 to 3.10: pairs of bytes, how far the code moves and how far the
//! line does.
//!
//! # Sources
//! CPython 3.9 Objects/lnotab_notes.txt, 3.10 Objects/lnotab_notes.txt.

/// A line delta that says "no line" (3.10).
const NO_LINE: i8 = -128;

/// `co_lnotab` (3.8, 3.9): the line of the instruction at byte `offset`.
pub fn line_by_deltas(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut address = 0;
    for pair in table.chunks_exact(2) {
        address += u64::from(pair[0]);
        if address > offset {
            break;
        }
        line += i64::from(pair[1].cast_signed());
    }
    u32::try_from(line).ok().filter(|line| *line > 0)
}

/// `co_linetable` of 3.10: the line of the instruction at byte `offset`; `None` also where the
/// table gives it none, or does not reach so far.
pub fn line_by_ranges(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0;
    for pair in table.chunks_exact(2) {
        end += u64::from(pair[0]);
        let delta = pair[1].cast_signed();
        if delta != NO_LINE {
            line += i64::from(delta);
        }
        if offset < end {
            return u32::try_from(line).ok().filter(|line| *line > 0 && delta != NO_LINE);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::line_samples::{DELTAS, RANGES, Sample};
    use super::*;

    fn check(samples: &[Sample], line_at: fn(&[u8], u32, u64) -> Option<u32>) {
        for (name, first_line, table, lines) in samples {
            for (offset, expected) in *lines {
                assert_eq!(line_at(table, *first_line, *offset), *expected, "{name} at {offset}");
                for length in 0..table.len() {
                    let _ = line_at(&table[..length], *first_line, *offset);
                }
            }
        }
    }

    #[test]
    fn every_instruction_has_the_line_the_interpreter_says() {
        check(DELTAS, line_by_deltas);
        check(RANGES, line_by_ranges);
    }

    #[test]
    fn garbage_yields_no_line_below_one() {
        assert_eq!(line_by_deltas(&[0, 0x80, 0, 0x80], 5, 0), None);
        assert_eq!(line_by_ranges(&[2, 0x81], 5, 0), None);
        assert_eq!(line_by_ranges(&[], 5, 0), None);
        assert_eq!(line_by_deltas(&[], 5, 0), Some(5));
    }
}
