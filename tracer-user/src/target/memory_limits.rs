//! What bounds the target's memory: the control groups that it is in, up to the root, and the
//! machine. Of a control group everything that others in it use counts too; page cache that the
//! kernel could take back does not.
//!
//! # Sources
//! Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.

use super::{mapping::through_root, status::read_bounded};
use std::path::{Component, Path, PathBuf};

/// Bytes of a small file that are read.
const MAX_BYTES: u64 = 1 << 20;
/// Groups above one another.
const MAX_DEPTH: usize = 64;
/// Limits from here on are none: v1 says "no limit" by the largest number of whole pages.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// What bounds memory, and how near it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Path of the control group; `None` for the machine.
    pub group: Option<String>,
    /// The bound, bytes.
    pub limit_bytes: u64,
    /// What is used of it by whoever shares it, bytes.
    pub used_bytes: u64,
}

impl MemoryLimit {
    /// What is left, bytes.
    pub fn room_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// Where a hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    is_v2: bool,
    /// The part of the hierarchy that is there.
    root: PathBuf,
    point: PathBuf,
}

/// All limits of process `tgid`, the nearest group's first, the machine's last.
pub fn read(tgid: u32) -> Vec<MemoryLimit> {
    let groups = text(Path::new(&format!("/proc/{tgid}/cgroup")));
    let mounts = text(Path::new("/proc/self/mountinfo"));
    let mut limits: Vec<MemoryLimit> = memory_groups(&groups)
        .into_iter()
        .flat_map(|(is_v2, group)| limits_of(is_v2, Path::new(&group), &mounts_in(&mounts)))
        .collect();
    // Where our own mounts do not show its groups, its own may.
    if limits.is_empty() {
        let theirs = mounts_in(&text(Path::new(&format!("/proc/{tgid}/mountinfo"))));
        let through = |mount: Mount| {
            let point = through_root(tgid, &mount.point);
            Mount { point, ..mount }
        };
        let theirs: Vec<Mount> = theirs.into_iter().map(through).collect();
        let found = memory_groups(&groups);
        limits.extend(
            found.into_iter().flat_map(|(v2, group)| limits_of(v2, Path::new(&group), &theirs)),
        );
    }
    limits.extend(machine(&text(Path::new("/proc/meminfo"))));
    limits
}

fn text(path: &Path) -> String {
    let bytes = path.to_str().and_then(|path| read_bounded(path, MAX_BYTES).ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The groups in a text of /proc/PID/cgroup that can bound memory, and whether each is of v2.
fn memory_groups(text: &str) -> Vec<(bool, String)> {
    let group = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_v2 = number == "0" && controllers.is_empty();
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        (is_v2 || is_memory).then(|| (is_v2, path.to_owned()))
    };
    text.lines().filter_map(group).collect()
}

/// Mounts of hierarchies that can bound memory, in a text of mountinfo.
fn mounts_in(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split_ascii_whitespace();
        let is_v2 = match kind.next()? {
            "cgroup2" => true,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        let mut place = place.split_ascii_whitespace().skip(3);
        let (root, point) = (place.next()?.into(), place.next()?.into());
        Some(Mount { is_v2, root, point })
    };
    text.lines().filter_map(mount).collect()
}

/// The limits of a group and of those above it.
fn limits_of(is_v2: bool, group: &Path, mounts: &[Mount]) -> Vec<MemoryLimit> {
    let climbs = group.components().any(|part| part == Component::ParentDir);
    let mut limits = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.is_v2 == is_v2) {
        // One of another namespace's may lie outside what is mounted; what is mounted is then the
        // container's own.
        let inside = group.strip_prefix(&mount.root).ok().filter(|_| !climbs);
        let mut inside = inside.unwrap_or(Path::new("")).to_owned();
        let mut name = if climbs { PathBuf::from("/") } else { group.to_owned() };
        for depth in 0..MAX_DEPTH {
            let folder = mount.point.join(&inside);
            if is_v2 {
                limits.extend(limit_v2(&folder, &name));
            } else {
                limits.extend(limit_v1(&folder, &name, depth == 0));
            }
            if !inside.pop() {
                break;
            }
            name.pop();
            let is_apart = !is_v2
                && text(&mount.point.join(&inside).join("memory.use_hierarchy")).trim() == "0";
            if is_apart {
                break;
            }
        }
        if !limits.is_empty() {
            break;
        }
    }
    limits
}

fn limit_v2(folder: &Path, name: &Path) -> Option<MemoryLimit> {
    let limit_bytes: u64 = text(&folder.join("memory.max")).trim().parse().ok()?;
    let used: u64 = text(&folder.join("memory.current")).trim().parse().ok()?;
    let cache = field(&text(&folder.join("memory.stat")), "inactive_file").unwrap_or(0);
    limit(name, limit_bytes, used.saturating_sub(cache))
}

/// `is_own`: the target itself is in this group, and not in one below it.
fn limit_v1(folder: &Path, name: &Path, is_own: bool) -> Option<MemoryLimit> {
    let own: u64 = text(&folder.join("memory.limit_in_bytes")).trim().parse().ok()?;
    let used: u64 = text(&folder.join("memory.usage_in_bytes")).trim().parse().ok()?;
    let stat = text(&folder.join("memory.stat"));
    let cache = field(&stat, "total_inactive_file").unwrap_or(0);
    // That of a group above, which may not be mounted here.
    let above = field(&stat, "hierarchical_memory_limit").filter(|_| is_own);
    limit(name, above.map_or(own, |above| above.min(own)), used.saturating_sub(cache))
}

fn limit(name: &Path, limit_bytes: u64, used_bytes: u64) -> Option<MemoryLimit> {
    let group = Some(name.display().to_string());
    (limit_bytes < UNLIMITED_BYTES).then_some(MemoryLimit { group, limit_bytes, used_bytes })
}

/// What the machine has, from a text of /proc/meminfo.
fn machine(text: &str) -> Option<MemoryLimit> {
    let kib = |name| field(text, name).map(|kib| kib.saturating_mul(1024));
    let (limit_bytes, free) = (kib("MemTotal:")?, kib("MemAvailable:")?);
    let used_bytes = limit_bytes.saturating_sub(free);
    Some(MemoryLimit { group: None, limit_bytes, used_bytes })
}

/// The number behind a name, of lines of both.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    fn found(limits: &[MemoryLimit]) -> Vec<(&str, u64, u64)> {
        limits
            .iter()
            .filter_map(|l| Some((l.group.as_deref()?, l.limit_bytes, l.used_bytes)))
            .collect()
    }

    #[test]
    fn groups_of_v2_are_read_up_to_the_root() {
        let scratch = tempfile::tempdir().unwrap();
        let point = scratch.path().to_owned();
        let stat = ("memory.stat", "anon 5\ninactive_file 100\nactive_file 7\n");
        put(&point.join("a/b"), &[("memory.max", "max\n"), ("memory.current", "900\n"), stat]);
        put(&point.join("a"), &[("memory.max", "5000\n"), ("memory.current", "2000\n"), stat]);
        let mounts = [Mount { is_v2: true, root: "/".into(), point: point.clone() }];
        assert_eq!(found(&limits_of(true, Path::new("/a/b"), &mounts)), [("/a", 5000, 1900)]);
        assert_eq!(limits_of(false, Path::new("/a/b"), &mounts), []);
        // A container's view: its own group is what is mounted.
        let mounts = [Mount { is_v2: true, root: "/x".into(), point: point.join("a") }];
        assert_eq!(found(&limits_of(true, Path::new("/../y"), &mounts)), [("/", 5000, 1900)]);
        assert_eq!(found(&limits_of(true, Path::new("/x"), &mounts)), [("/x", 5000, 1900)]);
    }

    #[test]
    fn groups_of_v1_know_limits_above_them() {
        let scratch = tempfile::tempdir().unwrap();
        let point = scratch.path().to_owned();
        let files = |limit: &'static str, above: &'static str| {
            [
                ("memory.limit_in_bytes", limit),
                ("memory.usage_in_bytes", "700\n"),
                ("memory.stat", above),
                ("memory.use_hierarchy", "1\n"),
            ]
        };
        let none = "9223372036854771712\n";
        put(
            &point.join("a/b"),
            &files(none, "total_inactive_file 50\nhierarchical_memory_limit 4000\n"),
        );
        put(&point.join("a"), &files("4000\n", "total_inactive_file 0\n"));
        put(&point, &files(none, ""));
        let mounts = [Mount { is_v2: false, root: "/".into(), point: point.clone() }];
        let limits = limits_of(false, Path::new("/a/b"), &mounts);
        assert_eq!(found(&limits), [("/a/b", 4000, 650), ("/a", 4000, 700)]);
        std::fs::write(point.join("a/memory.use_hierarchy"), "0\n").unwrap();
        assert_eq!(limits_of(false, Path::new("/a/b"), &mounts).len(), 1);
    }

    #[test]
    fn texts_of_proc_are_taken_apart() {
        let groups = "12:pids:/x\n5:cpu,memory:/docker/1\n0::/system.slice\nnonsense\n1:\n";
        let expected = [(false, "/docker/1".to_owned()), (true, "/system.slice".to_owned())];
        assert_eq!(memory_groups(groups), expected);
        let mounts = mounts_in(
            "30 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
             31 25 0:27 /a /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
             32 25 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n - cgroup2\nx - cgroup\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!((mounts[1].is_v2, mounts[1].root.as_path()), (true, Path::new("/a")));
        let machine = machine("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n").unwrap();
        assert_eq!((machine.limit_bytes, machine.used_bytes), (1_024_000, 614_400));
        assert_eq!(super::machine("MemTotal: x\n"), None);
    }

    #[test]
    fn this_machine_has_a_limit() {
        let limits = read(std::process::id());
        assert_eq!(limits.last().map(|limit| limit.group.is_none()), Some(true));
    }
}
