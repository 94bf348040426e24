//! The children of a process that run already.

use super::status::read_bounded;
use std::collections::BTreeSet;

/// Largest list of children that is read, in bytes.
const MAX_LIST_BYTES: u64 = 1 << 20;
/// Threads whose children are looked for.
const MAX_THREADS: usize = 16_384;
/// `KCMP_VM` of kcmp(2).
const KCMP_VM: libc::c_long = 1;

/// The children of process `tgid` that have memory of their own, in the order of their numbers.
pub fn children(tgid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{tgid}/task")).into_iter().flatten().flatten();
    let lists = threads.take(MAX_THREADS).filter_map(|thread| {
        let path = thread.path().join("children");
        read_bounded(path.to_str()?, MAX_LIST_BYTES).ok()
    });
    let mut found = BTreeSet::new();
    for list in lists {
        let list = String::from_utf8_lossy(&list);
        found.extend(list.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    found.into_iter().filter(|child| !shares_memory(tgid, *child)).collect()
}

/// Whether two processes have one address space (between vfork and exec); a kernel that cannot
/// tell says no.
fn shares_memory(one: u32, other: u32) -> bool {
    // SAFETY: takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    order == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_running_child_is_found() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let found = children(std::process::id());
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(found.contains(&child.id()), "{found:?}");
    }
}
