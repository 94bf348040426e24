//! `outlive doctor`: what works here, what does not, and what to do about it. Looks, attaches
//! nothing, changes nothing.

mod programs;
mod render;

pub use render::{CheckView, HealthView, render_text, view};

use crate::target::kernel::Release;
use crate::target::status::{Status, read_bounded};
use crate::target::{Target, TargetError, discover};
use std::path::Path;

/// Oldest kernel the probes are tested on.
const OLDEST_TESTED: Release = Release { major: 6, minor: 1 };
/// What outlive takes at most by default, in bytes.
const OWN_MEMORY_BYTES: u64 = 150 << 20;
/// Bits of the kernel's capabilities (include/uapi/linux/capability.h).
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_SYS_ADMIN", 21), ("CAP_SYS_PTRACE", 19), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Works.
    Ok,
    /// Works, with less.
    Warn,
    /// Does not work.
    Fail,
}

impl Health {
    /// Name in reports: `ok`, `warn`, `fail`.
    pub const fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: `kernel`, `privileges`, `target-seccomp`, ...
    pub name: &'static str,
    /// How it came out.
    pub status: Health,
    /// What was found.
    pub detail: String,
    /// What to do; empty when nothing needs to be done.
    pub advice: String,
}

impl Check {
    fn new(name: &'static str, status: Health, detail: impl Into<String>, advice: &str) -> Self {
        let advice = if status == Health::Ok { String::new() } else { advice.to_owned() };
        Self { name, status, detail: detail.into(), advice }
    }
}

/// Checks this machine, and process `pid` when one is named.
pub fn examine(pid: Option<u32>) -> Vec<Check> {
    let mut checks =
        vec![kernel(), privileges(), btf(), probe_unit(), lockdown(), unprivileged(), memory()];
    checks.extend(programs::check(&checks));
    if let Some(pid) = pid {
        checks.extend(target(pid));
    }
    checks
}

fn text_of(path: &str) -> Option<String> {
    read_bounded(path, 64 << 10).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn kernel() -> Check {
    let advice = "Use Linux 6.1 or later.";
    match Release::running() {
        Some((release, text)) if release >= OLDEST_TESTED => {
            Check::new("kernel", Health::Ok, format!("Linux {text}"), advice)
        }
        Some((_, text)) => Check::new(
            "kernel",
            Health::Warn,
            format!("Linux {text} is older than those outlive is tested on"),
            advice,
        ),
        None => Check::new(
            "kernel",
            Health::Fail,
            "the kernel's release cannot be read from /proc",
            "Mount /proc.",
        ),
    }
}

fn privileges() -> Check {
    let status = Status::read(std::process::id()).unwrap_or_default();
    let has = |bit: u32| status.capabilities >> bit & 1 == 1;
    let held: Vec<&str> =
        CAPABILITIES.iter().filter(|(_, bit)| has(*bit)).map(|(name, _)| *name).collect();
    let holds = |wanted: &[usize]| wanted.iter().all(|index| has(CAPABILITIES[*index].1));
    let enough = holds(&[0]) || holds(&[1, 2, 3]);
    let detail = match held.as_slice() {
        [] => "none of the needed capabilities".to_owned(),
        held => held.join(", "),
    };
    let health = if enough { Health::Ok } else { Health::Fail };
    Check::new(
        "privileges",
        health,
        detail,
        "Run outlive as root (sudo), or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.",
    )
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    let found = Path::new(path).exists();
    let detail = if found {
        "the kernel describes its types"
    } else {
        "the kernel does not describe its types (no /sys/kernel/btf/vmlinux)"
    };
    Check::new(
        "btf",
        if found { Health::Ok } else { Health::Fail },
        detail,
        "Use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions' kernels are.",
    )
}

fn probe_unit() -> Check {
    let kind = text_of("/sys/bus/event_source/devices/uprobe/type");
    let (health, detail) = match kind {
        Some(kind) => (Health::Ok, format!("the kernel offers uprobes (event source {kind})")),
        None => (Health::Fail, "the kernel offers no uprobes".to_owned()),
    };
    Check::new(
        "uprobes",
        health,
        detail,
        "Use a kernel built with CONFIG_UPROBE_EVENTS, and mount /sys.",
    )
}

fn lockdown() -> Check {
    let text = text_of("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("none");
    let detail = format!("lockdown mode: {mode}");
    let advice = "In confidentiality mode the kernel refuses to let BPF read memory: boot with lockdown=integrity or without it.";
    Check::new(
        "lockdown",
        if mode == "confidentiality" { Health::Fail } else { Health::Ok },
        detail,
        advice,
    )
}

fn unprivileged() -> Check {
    let detail = match text_of("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => "unprivileged BPF is allowed (outlive does not need it)",
        Some(_) => "unprivileged BPF is off, as it should be (outlive does not need it)",
        None => "the kernel has no switch for unprivileged BPF (outlive does not need it)",
    };
    Check::new("unprivileged-bpf", Health::Ok, detail, "")
}

fn memory() -> Check {
    let available = text_of("/proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let Some(bytes) = available.map(|kibibytes| kibibytes.saturating_mul(1024)) else {
        return Check::new(
            "memory",
            Health::Warn,
            "available memory cannot be read from /proc/meminfo",
            "Mount /proc.",
        );
    };
    let health = if bytes >= 2 * OWN_MEMORY_BYTES { Health::Ok } else { Health::Warn };
    let detail = format!(
        "{} MiB available; outlive takes at most {} MiB by default",
        bytes >> 20,
        OWN_MEMORY_BYTES >> 20
    );
    Check::new(
        "memory",
        health,
        detail,
        "Free some memory, or follow only larger blocks with --min-size.",
    )
}

fn target(pid: u32) -> Vec<Check> {
    match discover(pid) {
        Ok((target, warnings)) => {
            let mut checks = vec![found(&target), seccomp(&target)];
            checks.extend(allocator(&target));
            checks.extend(python(&target));
            checks.extend(warnings.into_iter().map(|warning| {
                Check::new("target-files", Health::Warn, warning.message, &warning.advice)
            }));
            checks
        }
        Err(error) => vec![refused(&error)],
    }
}

/// The sentence of an error already says what to do.
fn refused(error: &TargetError) -> Check {
    Check::new("target", Health::Fail, error.to_string(), "")
}

fn found(target: &Target) -> Check {
    let place = target
        .container
        .as_ref()
        .map(|id| format!(", container {}", id.chars().take(12).collect::<String>()))
        .unwrap_or_default();
    let detail = format!(
        "process {}: {}, user {}, {} threads, 64-bit x86{place}",
        target.tgid,
        target.exe.display(),
        target.uid,
        target.thread_count
    );
    Check::new("target", Health::Ok, detail, "")
}

fn seccomp(target: &Target) -> Check {
    let (health, detail) = match (target.seccomp_mode, target.seccomp_stops_probes) {
        (0, _) => (Health::Ok, "no seccomp filter"),
        (_, false) => (Health::Ok, "a seccomp filter, which this kernel does not apply to probes"),
        (_, true) => {
            (Health::Fail, "a seccomp filter, which kills threads at probes on this kernel")
        }
    };
    Check::new(
        "target-seccomp",
        health,
        detail,
        "Use another kernel (Linux 6.14 or later), or run the service without its filter for the time of the measurement.",
    )
}

fn allocator(target: &Target) -> Vec<Check> {
    match crate::plan::make(target, true) {
        Ok((plan, warnings)) => {
            let mut files: Vec<String> =
                plan.points.iter().map(|point| point.display_path.display().to_string()).collect();
            files.dedup();
            let detail = format!("{} functions in {}", plan.points.len(), files.join(", "));
            let mut checks = vec![Check::new("target-allocator", Health::Ok, detail, "")];
            // Python has a check of its own.
            let others = warnings.into_iter().filter(|warning| warning.code != "python-unknown");
            checks.extend(others.map(|warning| {
                Check::new("target-plan", Health::Warn, warning.message, &warning.advice)
            }));
            checks
        }
        Err(error) => vec![Check::new("target-allocator", Health::Fail, error.to_string(), "")],
    }
}

fn python(target: &Target) -> Option<Check> {
    let (runtime, warnings) = crate::runtime::python::detect(target);
    let runtime = runtime?;
    Some(match warnings.into_iter().next() {
        Some(warning) => {
            Check::new("target-python", Health::Warn, warning.message, &warning.advice)
        }
        None => Check::new("target-python", Health::Ok, runtime.describe(), ""),
    })
}

/// The worst of all checks.
pub fn worst(checks: &[Check]) -> Health {
    checks.iter().map(|check| check.status).max().unwrap_or(Health::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_comes_with_a_sentence_or_advice() {
        for check in examine(Some(u32::MAX)) {
            assert!(!check.detail.is_empty());
            assert!(
                check.status == Health::Ok || !check.advice.is_empty() || check.detail.len() > 40,
                "{check:?}"
            );
        }
    }

    #[test]
    fn an_absent_target_fails_and_both_renderings_say_so() {
        let checks = examine(Some(u32::MAX));
        assert_eq!(worst(&checks), Health::Fail);
        assert!(render_text(&checks).contains("There is no process"));
        assert!(serde_json::to_string(&view(&checks)).unwrap().contains("\"status\":\"fail\""));
    }
}
