//! Which V8 a file holds.

use super::metadata::Metadata;

/// A version of V8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V8Version {
    /// The 13 of 13.6.233.17.
    pub major: u32,
    /// The 6 of 13.6.233.17.
    pub minor: u32,
    /// The 233 of 13.6.233.17.
    pub build: u32,
    /// The 17 of 13.6.233.17.
    pub patch: u32,
}

impl std::fmt::Display for V8Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.build, self.patch)
    }
}

/// Symbols of the four numbers.
pub(super) const SYMBOLS: [&str; 4] = [
    "_ZN2v88internal7Version6major_E",
    "_ZN2v88internal7Version6minor_E",
    "_ZN2v88internal7Version6build_E",
    "_ZN2v88internal7Version6patch_E",
];

/// The version, from V8's own variables; 0 for each number that cannot be read.
pub(super) fn of(metadata: &Metadata) -> V8Version {
    let number = |name: &str| metadata.value(name).and_then(|value| u32::try_from(value).ok());
    let [major, minor, build, patch] = SYMBOLS.map(|name| number(name).unwrap_or(0));
    V8Version { major, minor, build, patch }
}
