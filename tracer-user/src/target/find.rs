//! From what a person types (a pattern, a systemd unit) to one process.

use super::TargetError;
use super::status::{Stat, Status, command_line, read_bounded};
use crate::printable::printable;
use std::path::{Path, PathBuf};

/// Control groups that are looked at in search of a unit.
const MAX_GROUPS: usize = 65_536;
/// Depth of nesting that is looked at.
const MAX_DEPTH: usize = 32;

/// The one process whose command line (arguments joined by blanks; the name where there are
/// none) matches the regular expression `pattern`, as `pgrep -f` does. Outlive itself, its
/// parents (a `sudo` with the pattern in its arguments) and kernel threads never match.
///
/// # Errors
/// None or several match, or the pattern is none; several are listed.
pub fn find_by_name(pattern: &str) -> Result<u32, TargetError> {
    let regex = regex::Regex::new(pattern)
        .map_err(|error| TargetError::Pattern { pattern: pattern.to_owned(), error })?;
    let ourselves = lineage();
    let mut candidates: Vec<(u32, String)> = processes()
        .filter(|pid| !ourselves.contains(pid))
        .filter_map(|pid| {
            let stat = Stat::read(pid).ok()?;
            if stat.is_zombie() || stat.is_kernel_thread() {
                return None;
            }
            let mut line = command_line(pid).join(" ");
            if line.is_empty() {
                line = Status::read(pid).ok()?.name;
            }
            regex.is_match(&line).then_some((pid, line))
        })
        .collect();
    candidates.sort();
    match candidates.as_slice() {
        [] => Err(TargetError::NoMatch(pattern.to_owned())),
        [(pid, _)] => Ok(*pid),
        _ => Err(TargetError::ManyMatches { pattern: pattern.to_owned(), candidates }),
    }
}

/// The oldest process of a systemd unit (`nginx` means `nginx.service`), found through the
/// control groups, so that no message bus is needed.
///
/// # Errors
/// No control group of that name has a process.
pub fn find_by_unit(unit: &str) -> Result<u32, TargetError> {
    find_in(Path::new("/sys/fs/cgroup"), unit)
}

fn find_in(root: &Path, unit: &str) -> Result<u32, TargetError> {
    let name = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
    // v1 keeps systemd's own hierarchy apart, and a hybrid machine has both.
    let roots = [root.join("systemd"), root.join("unified"), root.to_path_buf()];
    let mut left = MAX_GROUPS;
    for root in roots {
        let Some(group) = group_named(&root, &name, &mut left, 0) else { continue };
        if let Some(pid) = oldest_in(&group, &mut left) {
            return Ok(pid);
        }
    }
    Err(TargetError::NoUnit(unit.to_owned()))
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(group) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn group_named(group: &Path, name: &str, left: &mut usize, depth: usize) -> Option<PathBuf> {
    for sub in subgroups(group) {
        *left = left.checked_sub(1)?;
        if sub.file_name().is_some_and(|own| own == name) && oldest_in(&sub, left).is_some() {
            return Some(sub);
        }
        if depth < MAX_DEPTH
            && let Some(found) = group_named(&sub, name, left, depth + 1)
        {
            return Some(found);
        }
    }
    None
}

fn oldest_in(group: &Path, left: &mut usize) -> Option<u32> {
    let mut groups = vec![group.to_path_buf()];
    let mut members = Vec::new();
    while let Some(group) = groups.pop() {
        *left = left.checked_sub(1)?;
        let text = read_bounded(&group.join("cgroup.procs").to_string_lossy(), 1 << 20)
            .unwrap_or_default();
        members.extend(
            String::from_utf8_lossy(&text)
                .lines()
                .filter_map(|line| line.trim().parse::<u32>().ok()),
        );
        groups.extend(subgroups(&group));
    }
    let age = |pid: &u32| Stat::read(*pid).map_or(u64::MAX, |stat| stat.start_time_ticks);
    members.into_iter().filter(|pid| *pid != 0).min_by_key(|pid| (age(pid), *pid))
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// This process and its parents.
fn lineage() -> Vec<u32> {
    let mut pids = vec![std::process::id()];
    for _ in 0..MAX_DEPTH {
        let Some(last) = pids.last() else { break };
        match Stat::read(*last).map(|stat| stat.parent_pid) {
            Ok(parent) if parent > 1 => pids.push(parent),
            _ => break,
        }
    }
    pids
}

/// Candidates, one a line, for an error message.
pub(super) fn list(candidates: &[(u32, String)]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = candidates
        .iter()
        .take(SHOWN)
        .map(|(pid, line)| {
            let line: String = line.chars().take(120).collect();
            format!("  {pid:>8}  {}", printable(&line))
        })
        .collect();
    if candidates.len() > SHOWN {
        lines.push(format!("  ... and {} more", candidates.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn one_match_is_found_and_two_are_listed() {
        let mut first = Command::new("sleep").arg("61.0625").spawn().unwrap();
        let found = wait_for(|| find_by_name(r"^sleep 61\.0625$").ok());
        assert_eq!(found, first.id());
        let mut second = Command::new("sleep").arg("61.0625").spawn().unwrap();
        let error = wait_for(|| find_by_name(r"^sleep 61\.0625$").err()).to_string();
        assert!(
            error.contains(&first.id().to_string()) && error.contains(&second.id().to_string()),
            "{error}"
        );
        for child in [&mut first, &mut second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(matches!(find_by_name(r"^sleep 61\.0625$"), Err(TargetError::NoMatch(_))));
        assert!(matches!(find_by_name("("), Err(TargetError::Pattern { .. })));
    }

    #[test]
    fn a_command_line_cannot_steer_the_terminal_it_is_listed_on() {
        use std::os::unix::process::CommandExt as _;
        let spawn = || {
            Command::new("sleep")
                .arg0("x\u{1b}]0;mine\u{7}\n  1  root")
                .arg("61.03125")
                .spawn()
                .unwrap()
        };
        let mut children = [spawn(), spawn()];
        let is_listed = |error: &TargetError| error.to_string().starts_with("2 processes");
        let error = wait_for(|| find_by_name(r" 61\.03125$").err().filter(is_listed)).to_string();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (_, list) = error.split_once('\n').unwrap();
        assert_eq!(list.lines().count(), 2, "{list:?}");
        assert!(
            list.lines().all(|line| line.ends_with("  x?]0;mine??  1  root 61.03125")),
            "{list:?}"
        );
    }

    /// A child appears under its own name only after exec.
    fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(value) = probe() {
                return value;
            }
            assert!(start.elapsed().as_secs() < 10, "waited in vain");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_unit_is_found_in_either_hierarchy_by_its_oldest_process() {
        let root = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        for hierarchy in ["systemd/system.slice", "system.slice"] {
            let group = root.path().join(hierarchy).join("demo.service/worker");
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join("cgroup.procs"), format!("{pid}\n1\n")).unwrap();
            assert_eq!(find_in(root.path(), "demo").unwrap(), 1);
            assert_eq!(find_in(root.path(), "demo.service").unwrap(), 1);
            std::fs::remove_dir_all(root.path().join("systemd")).ok();
        }
        assert!(matches!(find_in(root.path(), "absent"), Err(TargetError::NoUnit(_))));
    }
}
