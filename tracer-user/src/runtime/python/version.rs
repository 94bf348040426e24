//! Which version of CPython a file holds.

use crate::runtime::memory::u32_in;
use crate::target::elf::Symbol;
use crate::target::{MappedFile, Target};

/// Read-only data that is searched for the version's own text, in bytes: the largest seen has 3 MB.
const MAX_DATA_BYTES: u64 = 16 << 20;

/// A version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 3 of 3.11.7.
    pub major: u8,
    /// The 11 of 3.11.7.
    pub minor: u8,
    /// The 7 of 3.11.7; 0 where only a name told the version.
    pub micro: u8,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// `Py_Version` is `0xMMmmppLS` since 3.11; older ones are told by the name of their file, or of
/// the library that the target has open, and the micro version by its text in the file.
pub fn of(target: &Target, file: &MappedFile, symbol: Option<Symbol>) -> Version {
    let word = symbol
        .and_then(|symbol| file.elf.bytes_at_svma(symbol.svma, 4))
        .and_then(|bytes| u32_in(&bytes, 0));
    if let Some(word) = word.filter(|word| *word != 0) {
        let [major, minor, micro, _] = word.to_be_bytes();
        return Version { major, minor, micro };
    }
    // Extension modules lie in lib/python3.9/lib-dynload.
    let folders = || {
        target.mappings.iter().find_map(|mapping| {
            mapping.path.iter().find_map(|part| in_name(part.to_str().unwrap_or("")))
        })
    };
    let Some(named) = in_name(&file.name()).or_else(folders) else {
        return Version { major: 3, minor: 0, micro: 0 };
    };
    let data = file
        .elf
        .section(".rodata")
        .filter(|section| section.length_bytes <= MAX_DATA_BYTES)
        .and_then(|section| file.elf.section_bytes(section))
        .unwrap_or_default();
    Version { micro: micro_in(&data, named).unwrap_or(0), ..named }
}

/// The version in `python3.9` or `libpython3.9.so.1.0`.
pub(super) fn in_name(name: &str) -> Option<Version> {
    let (_, rest) = name.split_once("python")?;
    let mut numbers = rest.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some(Version { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()?, micro: 0 })
}

/// The micro version in a text of its own, `3.9.18`, among a file's data.
fn micro_in(data: &[u8], version: Version) -> Option<u8> {
    let prefix = format!("\0{}.{}.", version.major, version.minor);
    data.windows(prefix.len() + 4).find_map(|window| {
        let digits = window.strip_prefix(prefix.as_bytes())?;
        let length = digits.iter().position(|byte| *byte == 0 || *byte == b'+')?;
        std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_a_file_name_is_understood() {
        for (name, expected) in [
            ("libpython3.9.so.1.0", Some((3, 9))),
            ("python3.10", Some((3, 10))),
            ("python", None),
            ("libc.so.6", None),
        ] {
            assert_eq!(
                in_name(name).map(|version| (version.major, version.minor)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn the_micro_version_is_a_text_of_its_own() {
        let version = Version { major: 3, minor: 9, micro: 0 };
        let find = |data: &[u8]| micro_in(data, version);
        assert_eq!(find(b"x3.9.1\0\0\x003.9.18\0more data"), Some(18));
        assert_eq!(find(b"\x003.9.7+\0more"), Some(7));
        assert_eq!(find(b"\x003.9.x\0more"), None);
        assert_eq!(find(b"\x003.10.1\0more"), None);
        assert_eq!(find(b""), None);
    }
}
