//! From a process to attached probes.

use super::{
    Config,
    governor::Governed,
    guardian::Guardian,
    lane::{Lane, Line},
    python_objects, regime,
};
use crate::{
    plan::{self, PlanError, ProbePlan},
    probe::{Probes, Settings},
    runtime::node::NodeRuntime,
    target::{self, MappedFile, PlannedRange, TableKey, Target, mapping::FileId},
    unwind::{self, UnwindTable},
    warning::Warning,
};
use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, process::Child, sync::Arc, time::Duration};

/// A target with its probes planned.
pub struct Started {
    /// As it was discovered.
    pub target: Target,
    /// What is probed.
    pub plan: ProbePlan,
    /// What is less than it could be.
    pub warnings: Vec<Warning>,
    /// Number of its image, once its probes are placed.
    pub image: u32,
    /// The process that it was forked from, where it still runs the same code.
    pub forked_from: Option<u32>,
    /// Why Python's small objects are not probed though that was asked for.
    pub python_refusal: Option<&'static str>,
    /// The command, when this session started it.
    pub child: Option<Child>,
    /// Who holds the cost of its probes, where there is a budget.
    pub governed: Option<Governed>,
    /// Whoever continues it, should this session die while it is stopped.
    pub guardian: Option<Guardian>,
    /// How its sample is drawn.
    pub lane: Lane,
    /// To the fast lane's library in it.
    pub line: Option<Line>,
}

/// Discovers and plans.
///
/// # Errors
/// When the process cannot be traced.
pub fn prepare(pid: u32, config: &Config) -> Result<Started> {
    prepare_beside(pid, &BTreeMap::new(), config)
}

/// As [`prepare`], with files that are open already.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_beside(
    pid: u32,
    open: &BTreeMap<FileId, Arc<MappedFile>>,
    config: &Config,
) -> Result<Started> {
    let (target, mut warnings) = target::discover_beside(pid, open)?;
    let (mut plan, more) = plan::make(&target, config.mappings)?;
    warnings.extend(more);
    let python_refusal = python_objects::plan(config, &target, &mut plan);
    Ok(Started {
        target,
        plan,
        warnings,
        image: 0,
        forked_from: None,
        python_refusal,
        child: None,
        governed: None,
        guardian: None,
        lane: Lane::default(),
        line: None,
    })
}

/// How often, and how long in all, a process without an allocator is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(50);
const SECOND_LOOKS: u32 = 10;

/// As [`prepare`], for a process that may have been started a moment ago: its loader may not have
/// mapped the allocator yet.
fn prepare_young(pid: u32, config: &Config) -> Result<Started> {
    for _ in 0..SECOND_LOOKS {
        match prepare(pid, config) {
            Err(error) if is_missing_allocator(&error) => std::thread::sleep(SECOND_LOOK),
            answer => return answer,
        }
    }
    prepare(pid, config)
}

/// Whether it is the allocator that was not found.
pub fn is_missing_allocator(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<PlanError>(), Some(PlanError::NoAllocator { .. }))
}

/// Loads the kernel side for a prepared target.
///
/// # Errors
/// When the kernel refuses.
pub fn load(started: &mut Started, config: &Config) -> Result<Probes> {
    let settings = Settings {
        limits: config.limits,
        first_regime: regime::first(config),
        target_tgid: started.target.tgid,
        follow: config.follow,
        pid_namespace: target::pid_namespace::own()?,
        verbose: config.kernel_log,
    };
    let mut keys: Vec<TableKey> =
        started.plan.code_ranges.iter().filter_map(|range| range.table).collect();
    keys.sort_unstable();
    keys.dedup();
    let (tables, warnings) = unwind::tables_of(&started.target, &keys);
    started.warnings.extend(warnings);
    let (mut probes, warnings) =
        Probes::load(settings, &started.plan, &tables).context("loading the kernel side")?;
    started.warnings.extend(warnings);
    started.governed = Governed::begin(config, regime::first(config), &mut probes);
    Ok(probes)
}

/// The unwind tables that the kernel side lacks for these ranges of a process.
pub fn missing_tables(
    probes: &Probes,
    target: &Target,
    ranges: &[PlannedRange],
) -> (Vec<(TableKey, UnwindTable)>, Vec<Warning>) {
    unwind::tables_of(target, &probes.missing_tables(ranges))
}

/// Tells the kernel side where the code of a process is now.
pub fn set_code_ranges(
    probes: &mut Probes,
    target: &Target,
    node: Option<&NodeRuntime>,
) -> (Vec<PlannedRange>, Vec<Warning>) {
    let (ranges, mut warnings) = plan::code_ranges(target, node);
    let (tables, more) = missing_tables(probes, target, &ranges);
    warnings.extend(more);
    warnings.extend(probes.set_code_ranges(target.tgid, &ranges, &tables));
    (ranges, warnings)
}

/// Everything up to attached probes, for a process that runs.
///
/// # Errors
/// When it cannot be traced.
pub fn attach(pid: u32, config: &Config) -> Result<(Started, Probes)> {
    let mut started = prepare_young(pid, config)?;
    let mut probes = load(&mut started, config)?;
    started.image = probes.attach(&started.plan).map_err(|error| {
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
    if let Some(python) = &started.plan.python {
        return ("python".into(), Some(python.version.to_string()));
    }
    // Its own version is not known from outside; that of its V8 has a place of its own.
    if started.plan.node.is_some() {
        return ("node".into(), None);
    }
    let name = started.target.exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "node" || name == "nodejs" { ("node".into(), None) } else { ("native".into(), None) }
}
