//! Reads /proc/PID/smaps: mappings, and how much of each is in memory. Line by line, since the text
//! takes a kilobyte a mapping; of a process that may have as many as it likes.
//!
//! # Source
//! Documentation/filesystems/proc.rst of Linux.

use crate::target::mapping::{Mapping, parse_line};
use std::io::{self, BufRead};

/// Mappings that are taken; the kernel's own default limit is 65,530.
const MAX_REGIONS: usize = 262_144;
/// Bytes of text that are read: more than so many mappings take.
const MAX_TEXT_BYTES: u64 = 512 << 20;

/// A mapping and what is resident of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The mapping.
    pub mapping: Mapping,
    /// In memory, bytes.
    pub resident_bytes: u64,
    /// Swapped out, bytes.
    pub swapped_bytes: u64,
    /// Of `resident_bytes`, those that are no file's (any more).
    pub anonymous_bytes: u64,
}

impl Region {
    /// In memory or swapped out, bytes.
    pub fn held_bytes(&self) -> u64 {
        self.resident_bytes.saturating_add(self.swapped_bytes)
    }
}

/// All regions in a text of smaps, in its order. Lines that make no sense are left out.
///
/// # Errors
/// When reading fails, or when the text is longer than any process should have it.
pub fn read(text: impl BufRead) -> io::Result<Vec<Region>> {
    let mut text = text.take(MAX_TEXT_BYTES);
    let mut regions: Vec<Region> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if text.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        // Addresses are in lower case, names of fields begin with a capital.
        if line.first().is_some_and(u8::is_ascii_uppercase) {
            if let Some(region) = regions.last_mut() {
                take_field(line, region);
            }
        } else if let Some(mapping) = parse_line(line) {
            if regions.len() >= MAX_REGIONS {
                break;
            }
            regions.push(Region {
                mapping,
                resident_bytes: 0,
                swapped_bytes: 0,
                anonymous_bytes: 0,
            });
        }
    }
    if text.limit() == 0 || regions.len() >= MAX_REGIONS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many mappings"));
    }
    Ok(regions)
}

fn take_field(line: &[u8], region: &mut Region) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    let place = match &line[..colon] {
        b"Rss" => &mut region.resident_bytes,
        b"Swap" => &mut region.swapped_bytes,
        b"Anonymous" => &mut region.anonymous_bytes,
        _ => return,
    };
    let kib = std::str::from_utf8(&line[colon + 1..]).ok().and_then(|rest| {
        let mut words = rest.split_ascii_whitespace();
        let value: u64 = words.next()?.parse().ok()?;
        (words.next() == Some("kB")).then_some(value)
    });
    // No mapping holds more than it is long.
    let most = region.mapping.length_bytes();
    *place = kib.map_or(0, |kib| kib.saturating_mul(1024).min(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
Rss:                  64 kB
Pss:                  64 kB
Anonymous:            64 kB
Swap:                  8 kB
VmFlags: rd wr mr mw me ac sd
7f0000000000-7f0000004000 r--p 00000000 fe:00 17                         /tmp/Rss: 9 kB
Rss:                  16 kB
Anonymous:             4 kB
Swap:                  0 kB
";

    #[test]
    fn regions_are_read_with_what_is_resident_of_them() {
        let regions = read(SAMPLE.as_bytes()).unwrap();
        assert_eq!(regions.len(), 2);
        assert_eq!(regions[0].mapping.path.to_str(), Some("[heap]"));
        assert_eq!((regions[0].resident_bytes, regions[0].swapped_bytes), (65_536, 8192));
        assert_eq!(regions[0].held_bytes(), 73_728);
        assert_eq!((regions[1].resident_bytes, regions[1].anonymous_bytes), (16_384, 4096));
    }

    #[test]
    fn nonsense_and_cut_texts_yield_no_nonsense() {
        for length in 0..SAMPLE.len() {
            let regions = read(&SAMPLE.as_bytes()[..length]).unwrap();
            assert!(regions.iter().all(|region| region.resident_bytes <= 65_536));
        }
        let hostile = "Rss: 5 kB\n1000-2000 rw-p 0 0:0 0\nRss: 99999999999999999999 kB\nRss: -1 kB\n\
            Rss:\nRss\nSwap: 18446744073709551615 kB\nAnonymous: 3\n\u{0}\n";
        let regions = read(hostile.as_bytes()).unwrap();
        assert_eq!(regions.len(), 1);
        assert_eq!(regions[0].held_bytes(), 4096);
        assert_eq!(regions[0].anonymous_bytes, 0);
        assert_eq!(read(&b"\xff\xfe\n\n\n"[..]).unwrap(), []);
    }
}
