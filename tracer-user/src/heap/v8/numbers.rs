//! A list of numbers in a JSON text that comes in pieces.

use super::reader::SnapshotError;

/// Digits of a number at most.
const MAX_DIGITS: u32 = 19;

/// What is known of a number whose end has not come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    value: u64,
    digits: u32,
}

impl Numbers {
    /// Reads on, and hands each number to `take`; how many bytes were read, and whether that was
    /// the list's end.
    pub(super) fn read(
        &mut self,
        text: &[u8],
        mut take: impl FnMut(u64) -> Result<(), SnapshotError>,
    ) -> Result<(usize, bool), SnapshotError> {
        let Self { mut value, mut digits } = *self;
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    if digits > MAX_DIGITS {
                        return Err(SnapshotError::Nonsense("a number"));
                    }
                    value = value * 10 + u64::from(byte - b'0');
                }
                b',' | b']' => {
                    if digits > 0 {
                        take(value)?;
                    } else if *byte == b',' {
                        return Err(SnapshotError::Nonsense("a list of numbers"));
                    }
                    (value, digits) = (0, 0);
                    if *byte == b']' {
                        *self = Self::default();
                        return Ok((at + 1, true));
                    }
                }
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => return Err(SnapshotError::Nonsense("a list of numbers")),
            }
        }
        *self = Self { value, digits };
        Ok((text.len(), false))
    }
}
