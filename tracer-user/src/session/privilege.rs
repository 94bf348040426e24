//! Whether this process may trace at all, asked before anything else is touched.

use anyhow::{Result, bail};

/// CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF (capability.h).
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
/// CAP_SYS_PTRACE: to read another user's process.
const PTRACE: u64 = 1 << 19;

/// # Errors
/// When the effective capabilities do not suffice.
pub fn require_privileges() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if suffices(&status) {
        return Ok(());
    }
    bail!(
        "tracing another process needs root, or CAP_SYS_ADMIN or CAP_BPF with CAP_PERFMON and CAP_SYS_PTRACE: run it with sudo"
    );
}

fn suffices(status: &str) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // A status without the line is of an odd kernel: let the kernel itself answer.
    effective.is_none_or(|mask| {
        mask & SYS_ADMIN != 0 || mask & (PERFMON | BPF | PTRACE) == PERFMON | BPF | PTRACE
    })
}

#[cfg(test)]
mod tests {
    use super::suffices;

    #[test]
    fn root_may_and_nobody_may_not() {
        assert!(suffices("CapEff:\t000001ffffffffff\n"));
        assert!(!suffices("CapEff:\t0000000000000000\n"));
        assert!(suffices("CapEff:\t000000c000080000\n"));
        assert!(!suffices("CapEff:\t0000008000000000\n"));
    }
}
