//! Tables that V8's compilers write: which place in the source a place in bytecode or machine code
//! stands for, and which bytecode a place in baseline code.

use super::objects::PositionForm;

/// A place in the source, as V8 packs it: bit 0 for code outside of scripts, 30 bits of offset in
/// the script (one more, so that 0 is none), 16 bits of the call it was inlined at (likewise).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// Offset in the script, in characters.
    pub(super) fn script_offset(self) -> Option<u32> {
        let is_external = self.0 & 1 != 0;
        ((self.0 >> 1) as u32 & 0x3fff_ffff).checked_sub(1).filter(|_| !is_external)
    }

    /// Index of the inlined call that it belongs to; `None` in the outermost function.
    pub(super) fn inlining(self) -> Option<usize> {
        usize::from((self.0 >> 31) as u16).checked_sub(1)
    }
}

/// The position that a table of source positions has for `offset`: that of the last entry that is
/// not behind it. Entries are pairs of distances, from the offset and from the position of the
/// entry before.
pub(super) fn position_at(table: &[u8], form: PositionForm, offset: u32) -> Option<Position> {
    let mut bytes = table.iter();
    let mut at = -1_i64;
    let mut position = 0_i64;
    let mut found = None;
    while let Some(distance) = distance(&mut bytes, form) {
        at = at.checked_add(distance)?;
        if at > i64::from(offset) {
            break;
        }
        position = position.wrapping_add(signed(&mut bytes)?);
        found = Some(Position(position as u64));
    }
    found
}

/// Distance in code from the entry before.
fn distance<'a>(bytes: &mut impl Iterator<Item = &'a u8>, form: PositionForm) -> Option<i64> {
    match form {
        PositionForm::Signed => {
            let distance = signed(bytes)?;
            Some(if distance >= 0 { distance } else { -(distance + 1) })
        }
        PositionForm::Flagged => i64::try_from(unsigned(bytes)? >> 2).ok(),
    }
}

/// The offset of the bytecode that baseline code at `offset` stands for. The table has the length
/// of the prologue, then that of the code of each bytecode. `None` for the prologue, or where the
/// table does not reach.
pub(super) fn bytecode_at(
    table: &[u8],
    bytecodes: &[u8],
    sizes: &BytecodeSizes,
    offset: u32,
) -> Option<u32> {
    let mut bytes = table.iter();
    let mut end = unsigned(&mut bytes)?;
    if u64::from(offset) < end {
        return None;
    }
    let mut bytecode = 0;
    loop {
        end = end.checked_add(unsigned(&mut bytes)?)?;
        if u64::from(offset) < end {
            return u32::try_from(bytecode).ok();
        }
        bytecode += sizes.length_at(bytecodes, bytecode)?;
    }
}

/// How many bytes each bytecode takes, with operands of single, double and fourfold width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytecodeSizes(Vec<u8>);

/// Bytecodes that are looked at for recognising a table: prefixes and breakpoints, then loads of
/// constants.
const FIRST_SIZES: [u8; 16] = [1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 2, 1, 2, 1, 1];
/// The same with operands of double width.
const FIRST_DOUBLE_SIZES: [u8; 16] = [1, 1, 1, 1, 1, 3, 5, 7, 9, 7, 9, 3, 1, 3, 1, 1];
/// How many bytecodes there may be.
const COUNTS: std::ops::RangeInclusive<usize> = 150..=256;
/// Longest bytecode that is believed, in bytes: those seen have 17.
const MAX_SIZE: u8 = 32;

impl BytecodeSizes {
    /// From V8's own table.
    pub(super) fn of(table: Vec<u8>) -> Option<Self> {
        let is_sound = table.len().is_multiple_of(3)
            && COUNTS.contains(&(table.len() / 3))
            && table.starts_with(&FIRST_SIZES)
            && table[table.len() / 3..].starts_with(&FIRST_DOUBLE_SIZES)
            && table.iter().all(|size| (1..=MAX_SIZE).contains(size));
        is_sound.then_some(Self(table))
    }

    /// The table somewhere in `data`.
    pub(super) fn search(data: &[u8]) -> Option<Self> {
        let starts = data.windows(FIRST_SIZES.len()).enumerate();
        starts.filter(|(_, window)| *window == FIRST_SIZES).find_map(|(start, _)| {
            COUNTS.clone().find_map(|count| {
                let double = data.get(start + count..)?.starts_with(&FIRST_DOUBLE_SIZES);
                let table = data.get(start..start + 3 * count).filter(|_| double)?;
                Self::of(table.to_vec())
            })
        })
    }

    /// Length of the bytecode at `at`, with its prefix. The first four are prefixes: for double
    /// and fourfold width, and the same while debugging.
    fn length_at(&self, bytecodes: &[u8], at: usize) -> Option<usize> {
        let first = *bytecodes.get(at)?;
        let count = self.0.len() / 3;
        let (prefix, width) = match first {
            0 | 2 => (1, 1),
            1 | 3 => (1, 2),
            _ => (0, 0),
        };
        let bytecode = usize::from(*bytecodes.get(at + prefix)?);
        let size = self.0.get(width * count + bytecode).filter(|_| bytecode < count)?;
        Some(prefix + usize::from(*size))
    }
}

/// A number in groups of seven bits, the lowest first.
fn unsigned<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The same with a sign, in the lowest bit.
fn signed<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<i64> {
    let value = unsigned(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table of places in code and in the script.
    fn encode(pairs: &[(i64, i64)], form: PositionForm) -> Vec<u8> {
        let mut bytes = Vec::new();
        let zigzag = |value: i64| ((value << 1) ^ (value >> 63)) as u64;
        let mut put = |mut rest: u64| {
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        };
        let (mut at, mut position) = (-1, 0);
        for (index, (next, place)) in pairs.iter().enumerate() {
            // Every other one begins a statement.
            let distance = next - at;
            put(match form {
                PositionForm::Signed if index % 2 == 0 => zigzag(distance),
                PositionForm::Signed => zigzag(-distance - 1),
                PositionForm::Flagged => (distance as u64) << 2 | 2 | (index % 2) as u64,
            });
            put(zigzag(place - position));
            (at, position) = (*next, *place);
        }
        bytes
    }

    /// A table of V8 12.4 to 14.6, first bytes only: what begins as theirs do.
    pub(in super::super) fn sizes() -> BytecodeSizes {
        let wide = |width: u8| {
            let mut sizes: Vec<u8> =
                FIRST_SIZES.iter().map(|size| 1 + (size - 1) * width).collect();
            sizes.resize(160, 1 + width);
            sizes
        };
        let mut table = [wide(1), wide(2), wide(4)].concat();
        table[160..176].copy_from_slice(&FIRST_DOUBLE_SIZES);
        BytecodeSizes::of(table).unwrap()
    }

    #[test]
    fn positions_are_those_of_the_last_entry_before() {
        let packed = |offset: i64, inlined: i64| (offset + 1) << 1 | (inlined + 1) << 31;
        for form in [PositionForm::Signed, PositionForm::Flagged] {
            let pairs = [(0, packed(409, -1)), (5, packed(100_000, 3)), (9, packed(7, -1))];
            let table = encode(&pairs, form);
            let check = |offset: u32, expected: Option<(Option<u32>, Option<usize>)>| {
                let found = position_at(&table, form, offset);
                let found = found.map(|place| (place.script_offset(), place.inlining()));
                assert_eq!(found, expected, "{form:?} {offset}");
            };
            check(0, Some((Some(409), None)));
            check(4, Some((Some(409), None)));
            check(5, Some((Some(100_000), Some(3))));
            check(8, Some((Some(100_000), Some(3))));
            check(9, Some((Some(7), None)));
            check(u32::MAX, Some((Some(7), None)));
            assert_eq!(position_at(&[], form, 0), None);
            assert_eq!(position_at(&encode(&[(3, packed(1, -1))], form), form, 2), None);
        }
        assert_eq!(Position(0).script_offset(), None);
        assert_eq!(Position(0x11).script_offset(), None);
    }

    /// `block` of the chain in the tests of names, as V8 14.6 has it: the call in its second
    /// line stands at 9 in the bytecode, and at 305 in the script.
    #[test]
    fn tables_that_v8_wrote_are_understood() {
        let flagged = [2, 0xac, 8, 7, 0x5c, 0xa, 8, 0x13, 0x1c, 0xe, 0x1c, 0x12, 0x34, 0xf, 0x10];
        for (offset, expected) in [(0, 289), (2, 291), (8, 298), (9, 305), (13, 318), (16, 322)] {
            let found = position_at(&flagged, PositionForm::Flagged, offset);
            assert_eq!(found.and_then(Position::script_offset), Some(expected), "{offset}");
        }
    }

    #[test]
    fn places_in_baseline_code_lead_to_bytecodes() {
        let sizes = sizes();
        // LdaZero; a load of two bytes; the same twice as wide; Return.
        let bytecodes = [12, 11, 1, 0, 11, 1, 0, 12];
        let table = [10, 4, 6, 8, 2];
        for (offset, expected) in [
            (0, None),
            (9, None),
            (10, Some(0)),
            (14, Some(1)),
            (20, Some(3)),
            (28, Some(7)),
            (30, None),
        ] {
            assert_eq!(bytecode_at(&table, &bytecodes, &sizes, offset), expected, "{offset}");
        }
    }

    #[test]
    fn the_sizes_of_bytecodes_are_found_among_other_data() {
        let sizes = sizes();
        let data = [&[1; 100][..], &FIRST_SIZES, &[9; 300], &sizes.0, &[1; 50]].concat();
        assert_eq!(BytecodeSizes::search(&data), Some(sizes.clone()));
        assert_eq!(BytecodeSizes::search(&data[..416 + 300]), None);
        assert_eq!(BytecodeSizes::of(sizes.0[..300].to_vec()), None);
    }
}
