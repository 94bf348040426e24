//! Reads memory figures from /proc: the target's and our own.

use crate::tick::MemorySplit;

/// Resident memory of a process by kind; `None` when it is gone.
pub fn target_memory(pid: u32) -> Option<MemorySplit> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| field_kib(&status, name);
    Some(MemorySplit {
        resident_bytes: kib("VmRSS:")? * 1024,
        anonymous_bytes: kib("RssAnon:")? * 1024,
        file_bytes: kib("RssFile:")? * 1024,
        shared_bytes: kib("RssShmem:")? * 1024,
    })
}

/// Our own resident memory at its highest, in bytes.
pub fn own_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field_kib(&status, "VmHWM:").unwrap_or(0) * 1024
}

/// Time since boot without sleep (CLOCK_MONOTONIC), as the kernel side gives it; nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn field_kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_nobody_has_none() {
        assert!(target_memory(std::process::id()).is_some_and(|m| m.resident_bytes > 0));
        assert_eq!(target_memory(4_194_305), None);
        assert!(own_peak_bytes() > 0);
    }
}
