//! What a process has used: time on CPUs, memory of its own, and memory of the kernel's on its
//! behalf.

use std::fs;

use anyhow::{Context, Result};

use super::machine::{field, kibibytes};

/// Seconds that all threads of a process were on a CPU so far.
///
/// # Errors
/// When it has gone.
///
/// # Sources
/// proc_pid_stat(5)
pub(super) fn cpu_s(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} reads {stat}"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes that a process has resident.
///
/// # Errors
/// When it has gone.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    field(&status, "VmRSS").and_then(kibibytes).with_context(|| format!("no VmRSS in {path}"))
}

/// Bytes of the kernel's memory in BPF maps and programs that a process has open.
///
/// # Errors
/// When it has gone.
///
/// # Kernel
/// What a hash map that is not pre-allocated really holds is told since Linux 6.4.
pub(super) fn kernel_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fdinfo");
    let files = fs::read_dir(&path).with_context(|| format!("listing {path}"))?;
    let mut seen = std::collections::BTreeSet::new();
    let mut sum = 0;
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let Some(bytes) = field(&text, "memlock").and_then(|bytes| bytes.parse::<u64>().ok())
        else {
            continue;
        };
        let kind = ["map_id", "prog_id"].map(|name| field(&text, name).map(str::to_owned));
        // One map may be open twice.
        if seen.insert(kind) {
            sum += bytes;
        }
    }
    Ok(sum)
}

/// Clock ticks in user and in kernel code; the name before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // Fields 14 and 15, and the first behind the name is the third.
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{cpu_s, cpu_ticks, resident_bytes};

    #[test]
    fn time_is_found_behind_any_name() {
        let stat = "7 (a ) 1 (b) S 1 7 7 0 -1 4194560 9 0 0 0 120 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("7 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_uses_memory_and_one_that_is_none_does_not() {
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        assert!(cpu_s(std::process::id()).is_ok());
        assert!(cpu_s(u32::MAX).is_err());
    }
}
