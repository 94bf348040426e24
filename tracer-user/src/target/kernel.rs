//! The running kernel: its release, and what that release is known to do.

use super::status::read_bounded;

/// First and last minor version of Linux 6 whose return probes are a system call that strict
/// seccomp filters kill.
///
/// # Sources
/// Linux commits ff474a78cef5 (6.11: the system call) and cf6cb56ef244 (6.14: seccomp lets it
/// pass); systemd issue 34615.
const SECCOMP_KILLS: (Release, Release) =
    (Release { major: 6, minor: 11 }, Release { major: 6, minor: 13 });

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

    /// Whether a seccomp filter may kill a thread that returns through a return probe.
    pub fn seccomp_kills_return_probes(self) -> bool {
        (SECCOMP_KILLS.0..=SECCOMP_KILLS.1).contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dangerous_releases_are_told_apart() {
        for (text, dangerous) in [
            ("6.10.14", false),
            ("6.11.0-9-generic", true),
            ("6.12.117+deb13", true),
            ("6.13-rc1", true),
            ("6.14.0", false),
            ("5.12.1", false),
        ] {
            assert_eq!(
                Release::parse(text).unwrap().seccomp_kills_return_probes(),
                dangerous,
                "{text}"
            );
        }
        assert_eq!(Release::parse(""), None);
        assert_eq!(Release::parse("six"), None);
    }
}
