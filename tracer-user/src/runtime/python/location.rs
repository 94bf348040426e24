//! CPython's location table (3.11 and later): which line an instruction belongs to.
//!
//! # Sources
//! CPython 3.11 Objects/locations.md: entries begin with a byte whose bit 7 is set; bits 3-6 are
//! the kind, bits 0-2 the length in code units minus one.

/// Bytes of a code unit.
const UNIT_BYTES: u64 = 2;

/// The line of the instruction at byte `offset` of the bytecode, or `None` where the table gives
/// it none, does not reach so far or is garbage.
pub fn line_at(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut start = 0u64;
    let mut rest = table;
    while let Some((&head, mut entry)) = rest.split_first() {
        if head & 0x80 == 0 {
            return None;
        }
        let end = start + (u64::from(head & 7) + 1) * UNIT_BYTES;
        let kind = (head >> 3) & 15;
        let delta = match kind {
            13 | 14 => signed(&mut entry)?,
            10..=12 => i64::from(kind) - 10,
            _ => 0,
        };
        line = line.checked_add(delta)?;
        if (start..end).contains(&offset) {
            return if kind == 15 {
                None
            } else {
                u32::try_from(line).ok().filter(|line| *line > 0)
            };
        }
        start = end;
        // No other byte of an entry has bit 7 set: the next one that has begins the next entry.
        let next = entry.iter().position(|byte| byte & 0x80 != 0).unwrap_or(entry.len());
        rest = &entry[next..];
    }
    None
}

/// A number in groups of six bits, lowest first; bit 6 says that more follow.
fn unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..60).step_by(6) {
        let (&byte, rest) = bytes.split_first()?;
        if byte & 0x80 != 0 {
            return None;
        }
        *bytes = rest;
        value |= u64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
    None
}

/// The same with the sign in the lowest bit.
fn signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = unsigned(bytes)?;
    let magnitude = (value >> 1) as i64;
    Some(if value & 1 == 1 { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::runtime::python::location_samples::SAMPLES;

    #[test]
    fn every_instruction_has_the_line_the_interpreter_says() {
        for (name, first_line, table, lines) in SAMPLES {
            for (offset, expected) in *lines {
                assert_eq!(line_at(table, *first_line, *offset), *expected, "{name} at {offset}");
            }
        }
    }

    #[test]
    fn behind_the_last_entry_there_is_no_line() {
        let (_, first_line, table, lines) = SAMPLES[0];
        let behind = lines.last().unwrap().0 + 2;
        assert_eq!(line_at(table, first_line, behind), None);
    }

    #[test]
    fn a_cut_or_garbled_table_does_not_panic() {
        for (_, first_line, table, lines) in SAMPLES {
            for length in 0..table.len() {
                for (offset, _) in *lines {
                    let _ = line_at(&table[..length], *first_line, *offset);
                }
            }
        }
        let endless: Vec<u8> =
            std::iter::once(0xf0).chain(std::iter::repeat_n(0x7f, 100)).collect();
        assert_eq!(line_at(&endless, 1, 0), None);
        assert_eq!(line_at(&[0x00, 0x01], 1, 0), None);
        assert_eq!(line_at(&[], 1, 0), None);
    }
}
