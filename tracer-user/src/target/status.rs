//! Small files of /proc/PID: status, stat, cgroup, ns, cmdline. Every read has a bound.

use std::fs::File;
use std::io::{self, Read};

/// Largest small file that is read, in bytes.
const MAX_SMALL_BYTES: u64 = 64 << 10;
/// `PF_KTHREAD` of the kernel's include/linux/sched.h.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A namespace of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `pid`, `mnt`, `user`, `net`, ...
    pub kind: &'static str,
    /// As the kernel names it: `mnt:[4026531841]`.
    pub identity: String,
    /// Whether outlive is in the same one.
    pub shared_with_us: bool,
}

/// Reads at most `limit` bytes of a file.
pub fn read_bounded(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What /proc/PID/status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Name of the process.
    pub name: String,
    /// Process that the thread belongs to.
    pub tgid: u32,
    /// Number of threads.
    pub threads: u32,
    /// Real user ID.
    pub uid: u32,
    /// Seccomp mode.
    pub seccomp: u32,
    /// Effective capabilities, one bit each.
    pub capabilities: u64,
    /// Signals that it handles itself, one bit each: bit 0 is signal 1.
    pub caught_signals: u64,
}

impl Status {
    /// Whether it has a handler for `signal` (1 to 64).
    pub fn handles(&self, signal: u32) -> bool {
        signal.checked_sub(1).and_then(|bit| self.caught_signals.checked_shr(bit)).unwrap_or(0) & 1
            != 0
    }

    /// Of process or thread `pid`.
    pub fn read(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&String::from_utf8_lossy(&read_bounded(
            &format!("/proc/{pid}/status"),
            MAX_SMALL_BYTES,
        )?)))
    }

    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let number =
                || value.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match key {
                "Name" => status.name = value.to_owned(),
                "Tgid" => status.tgid = number(),
                "Threads" => status.threads = number(),
                "Uid" => status.uid = number(),
                "Seccomp" => status.seccomp = number(),
                "CapEff" => status.capabilities = u64::from_str_radix(value, 16).unwrap_or(0),
                "SigCgt" => status.caught_signals = u64::from_str_radix(value, 16).unwrap_or(0),
                _ => {}
            }
        }
        status
    }
}

/// What /proc/PID/stat says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    state: char,
    /// Process ID of the parent; 0 where it has none here.
    pub parent_pid: u32,
    flags: u64,
    /// Start time in clock ticks since boot.
    pub start_time_ticks: u64,
}

impl Stat {
    /// Of process `pid`.
    pub fn read(pid: u32) -> io::Result<Self> {
        Self::read_at(&format!("/proc/{pid}/stat"))
    }

    /// At this path: of a thread, /proc/PID/task/TID/stat.
    pub fn read_at(path: &str) -> io::Result<Self> {
        let text = read_bounded(path, MAX_SMALL_BYTES)?;
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat makes no sense"))
    }

    /// The name may hold blanks and parentheses: fields are counted from the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent_pid: fields.get(1)?.parse().ok()?,
            flags: fields.get(6)?.parse().ok()?,
            start_time_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    /// Ended, not reaped.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// A thread of the kernel.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// The arguments of process `pid`; empty when they cannot be read.
pub fn command_line(pid: u32) -> Vec<String> {
    let bytes = read_bounded(&format!("/proc/{pid}/cmdline"), MAX_SMALL_BYTES).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The control group of process `pid`, and the container ID in its name.
pub fn control_group(pid: u32) -> (Option<String>, Option<String>) {
    let bytes = read_bounded(&format!("/proc/{pid}/cgroup"), MAX_SMALL_BYTES).unwrap_or_default();
    parse_control_group(&String::from_utf8_lossy(&bytes))
}

/// systemd's own hierarchy (v1) and the unified one (v2) are asked first: they name the unit.
fn parse_control_group(text: &str) -> (Option<String>, Option<String>) {
    let mut groups: Vec<(u8, &str)> = text
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let rank = if path == "/" {
                3
            } else {
                u8::from(!(controllers.is_empty() || controllers == "name=systemd"))
            };
            Some((rank, path))
        })
        .collect();
    groups.sort_by_key(|(rank, _)| *rank);
    let container = groups.iter().find_map(|(_, path)| {
        path.split(|character: char| !character.is_ascii_hexdigit())
            .find(|word| word.len() == 64)
            .map(str::to_owned)
    });
    (groups.first().map(|(_, path)| (*path).to_owned()), container)
}

/// The namespaces of process `pid`.
pub fn namespaces(pid: u32) -> Vec<Namespace> {
    let read = |pid: &str, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    ["pid", "mnt", "user", "net", "cgroup"]
        .into_iter()
        .filter_map(|kind| {
            let theirs = read(&pid.to_string(), kind)?;
            let shared_with_us = read("self", kind).as_ref() == Some(&theirs);
            Some(Namespace {
                kind,
                identity: theirs.to_string_lossy().into_owned(),
                shared_with_us,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) Z (b) c) S 1 7 7 0 -1 2097152 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0";
        let stat = Stat::parse(text).unwrap();
        assert!(stat.is_kernel_thread() && !stat.is_zombie());
        assert_eq!(stat.start_time_ticks, 4711);
        for length in 0..40 {
            assert_eq!(Stat::parse(&text[..length]), None);
        }
    }

    #[test]
    fn a_container_is_recognised_in_both_hierarchies() {
        let id = "0123456789abcdef".repeat(4);
        let v2 = parse_control_group(&format!("0::/system.slice/docker-{id}.scope\n"));
        assert_eq!(v2.1.as_deref(), Some(id.as_str()));
        let v1 = parse_control_group(&format!("5:memory:/docker/{id}\n1:name=systemd:/\n"));
        assert_eq!(v1, (Some(format!("/docker/{id}")), Some(id)));
        assert_eq!(parse_control_group("garbage"), (None, None));
    }

    #[test]
    fn status_keeps_what_it_knows() {
        let status = Status::parse(
            "Name:\ta: b\nTgid:\t12\nUid:\t1000\t0\t0\t0\nSeccomp:\t2\nCapEff:\t00000000a80425fb\nSigCgt:\t8000000000000201\nx\n",
        );
        assert_eq!(
            (status.name.as_str(), status.tgid, status.uid, status.seccomp),
            ("a: b", 12, 1000, 2)
        );
        assert_eq!(status.capabilities, 0xa804_25fb);
        let handled: Vec<u32> = (0..70).filter(|signal| status.handles(*signal)).collect();
        assert_eq!(handled, [1, 10, 64]);
    }
}
