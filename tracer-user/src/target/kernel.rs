//! The running kernel's release, for people to read. What a kernel can do is not told by it:
//! distributions carry features and mends to older ones.

use super::status::read_bounded;

/// A kernel's version; the patch level is left out, since distributions number it their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The 6 of 6.12.
    pub major: u32,
    /// The 12 of 6.12.
    pub minor: u32,
}

impl Release {
    /// Of the running kernel, with the whole text.
    pub fn running() -> Option<(Self, String)> {
        let text = String::from_utf8_lossy(&read_bounded("/proc/sys/kernel/osrelease", 256).ok()?)
            .trim()
            .to_owned();
        Some((Self::parse(&text)?, text))
    }

    /// From the text of `uname -r`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|character: char| !character.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_name_their_releases_in_many_ways() {
        for (text, major, minor) in [
            ("6.10.14", 6, 10),
            ("6.11.0-9-generic", 6, 11),
            ("6.12.117+deb13", 6, 12),
            ("6.13-rc1", 6, 13),
            ("5.12.1", 5, 12),
        ] {
            assert_eq!(Release::parse(text), Some(Release { major, minor }), "{text}");
        }
        assert_eq!(Release::parse(""), None);
        assert_eq!(Release::parse("six"), None);
    }
}
