//! From a process to attached probes.

use super::Config;
use crate::{
    plan::{self, ProbePlan},
    probe::{Probes, Settings},
    runtime::python::{self, PythonRuntime},
    target::{self, Target},
    warning::Warning,
};
use anyhow::{Context as _, Result};
use std::process::Child;

/// A target with its probes planned.
pub struct Started {
    /// As it was discovered.
    pub target: Target,
    /// What is probed.
    pub plan: ProbePlan,
    /// The CPython in it.
    pub python: Option<PythonRuntime>,
    /// What is less than it could be.
    pub warnings: Vec<Warning>,
    /// The command, when this session started it.
    pub child: Option<Child>,
}

/// Discovers and plans.
///
/// # Errors
/// When the process cannot be traced.
pub fn prepare(pid: u32, config: &Config) -> Result<Started> {
    let (target, mut warnings) = target::discover(pid)?;
    let (plan, more) = plan::make(&target, config.mappings)?;
    warnings.extend(more);
    // Its warnings are among those of the plan.
    let (python, _) = python::detect(&target);
    Ok(Started { target, plan, python, warnings, child: None })
}

/// Loads the kernel side for a prepared target.
///
/// # Errors
/// When the kernel refuses.
pub fn load(started: &Started, config: &Config) -> Result<Probes> {
    let settings = Settings {
        limits: config.limits,
        min_size_bytes: config.min_size_bytes,
        target_tgid: started.target.tgid,
        verbose: config.kernel_log,
        mappings: config.mappings,
    };
    Probes::load(settings, &started.plan).context("loading the kernel side")
}

/// Everything up to attached probes, for a process that runs.
///
/// # Errors
/// When it cannot be traced.
pub fn attach(pid: u32, config: &Config) -> Result<(Started, Probes)> {
    let started = prepare(pid, config)?;
    let mut probes = load(&started, config)?;
    probes.attach(&started.plan).map_err(|error| {
        if started.target.is_alive() {
            anyhow::Error::new(error)
        } else {
            anyhow::anyhow!(
                "process {pid} ended while probes were being placed; nothing was left behind"
            )
        }
    })?;
    Ok((started, probes))
}

/// Name of the target's language runtime and its version, for the report.
pub fn runtime_of(started: &Started) -> (String, Option<String>) {
    if let Some(python) = &started.python {
        return ("python".into(), Some(python.version.to_string()));
    }
    let name = started.target.exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "node" || name == "nodejs" { ("node".into(), None) } else { ("native".into(), None) }
}
