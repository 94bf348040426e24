//! The plan for people and for scripts.

use super::ProbePlan;
use crate::printable::printable;
use serde::Serialize;
use std::fmt::Write;
use tracer_common::python::PYTHON_NONE;
use tracer_common::slot::walk;

/// Version of [`PlanView`]; raised when a field changes its meaning or goes away.
const SCHEMA_VERSION: u32 = 1;

/// The plan as `outlive plan --json` prints it.
#[derive(Debug, Serialize)]
pub struct PlanView {
    /// Version of this layout.
    pub schema_version: u32,
    /// Probes.
    pub probes: Vec<ProbeView>,
    /// Executable ranges.
    pub code_ranges: Vec<RangeView>,
    /// Whether Python frames will be walked.
    pub python_frames: bool,
}

/// One probe.
#[derive(Debug, Serialize)]
pub struct ProbeView {
    /// What the function does.
    pub function: &'static str,
    /// Its names.
    pub symbols: Vec<String>,
    /// File as the target sees it.
    pub file: String,
    /// File offset of the function.
    pub function_offset: u64,
    /// File offset of the probed instruction.
    pub probe_offset: u64,
    /// The instruction there, and why it was chosen.
    pub instruction: String,
    /// Whether the kernel emulates it.
    pub emulated: bool,
    /// Whether the function's result is read too, by a return probe.
    pub return_probe: bool,
    /// File offsets of the return instructions that are probed instead, where the function may
    /// throw.
    pub exits: Vec<u64>,
}

/// One executable range.
#[derive(Debug, Serialize)]
pub struct RangeView {
    /// First address.
    pub start_avma: u64,
    /// First address behind it.
    pub end_avma: u64,
    /// `table`, `frame_pointer`, `v8` (frame pointers, in V8's own code), `trampoline` or `none`.
    pub walk: &'static str,
}

/// The plan as data for scripts.
pub fn view(plan: &ProbePlan) -> PlanView {
    PlanView {
        schema_version: SCHEMA_VERSION,
        probes: plan
            .points
            .iter()
            .map(|point| ProbeView {
                function: point.function.name(),
                symbols: point.symbols.clone(),
                file: point.display_path.display().to_string(),
                function_offset: point.function_offset,
                probe_offset: point.probe_offset,
                instruction: point.instruction.clone(),
                emulated: point.emulated,
                return_probe: point.function.has_return_probe(),
                exits: point.exits.clone(),
            })
            .collect(),
        code_ranges: plan
            .code_ranges
            .iter()
            .map(|range| RangeView {
                start_avma: range.start_avma,
                end_avma: range.end_avma,
                walk: match range.walk {
                    walk::TABLE => "table",
                    walk::FRAME_POINTER => "frame_pointer",
                    walk::TRAMPOLINE => "trampoline",
                    walk::V8 => "v8",
                    _ => "none",
                },
            })
            .collect(),
        python_frames: plan.python_layout().kind != PYTHON_NONE,
    }
}

/// The plan as text, one probe a paragraph of two lines. What the target's files are called cannot
/// steer the terminal.
pub fn render_text(plan: &ProbePlan) -> String {
    let mut text = String::new();
    let mut file = None;
    for point in &plan.points {
        if file != Some(&point.display_path) {
            let _ = writeln!(text, "{}", printable(&point.display_path.to_string_lossy()));
            file = Some(&point.display_path);
        }
        let kind = match (point.function.has_return_probe(), point.exits.len()) {
            (true, _) => "entry+return".to_owned(),
            (false, 0) => "entry".to_owned(),
            (false, count) => format!("entry+{count} exits"),
        };
        let _ = writeln!(
            text,
            "  {:<26} {kind:<13} at {:#x}{}",
            printable(&point.symbols.join(", ")),
            point.function_offset,
            match point.probe_offset - point.function_offset {
                0 => String::new(),
                offset => format!("+{offset}"),
            },
        );
        let _ = writeln!(text, "      {}", printable(&point.instruction));
    }
    let walked = |walk: u32| plan.code_ranges.iter().filter(|range| range.walk == walk).count();
    let dear = plan.points.iter().filter(|point| !point.emulated).count();
    let _ = writeln!(
        text,
        "{} probes, {dear} of them on single-stepped (dear) instructions",
        plan.points.len()
    );
    let _ = writeln!(
        text,
        "{} executable ranges, {} of them walked by unwind tables and {} by frame pointers",
        plan.code_ranges.len(),
        walked(walk::TABLE),
        walked(walk::FRAME_POINTER) + walked(walk::V8),
    );
    let python = if plan.python_layout().kind == PYTHON_NONE { "not walked" } else { "walked" };
    let _ = writeln!(text, "Python frames: {python}");
    text
}
