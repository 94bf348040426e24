//! What all stacks add up to, and what watching them cost.

use super::{of_ended, sampled};
use crate::report::focus::printable;
use crate::report::model::Report;
use crate::units;

/// Which process, of what kind, and in which container or control group.
fn target(report: &Report) -> String {
    let target = &report.target;
    let mut text = format!("PID {}, {}", target.pid, target.exe);
    if let Some(version) = &target.runtime_version {
        text += &format!(" ({} {version})", target.runtime);
    }
    if let Some(container) = &target.container {
        text += &format!(", container {}", container.chars().take(12).collect::<String>());
    } else if let Some(cgroup) = target.cgroup.as_deref().filter(|cgroup| *cgroup != "/") {
        text += &format!(", control group {cgroup}");
    }
    printable(&text)
}

/// The sums, each with its name.
pub(in crate::report) fn totals(report: &Report) -> Vec<(&'static str, String)> {
    let totals = report.totals;
    let sum = |bytes: u64, error: Option<u64>, blocks: u64, ended: &str| {
        format!("{:>10} in {} blocks{ended}", sampled(bytes, error), units::count(blocks))
    };
    let (live, allocated) = (totals.live_bytes_error, totals.allocated_bytes_error);
    let live_sum =
        sum(totals.live_bytes, live, totals.live_blocks, &of_ended(totals.ended_live_bytes));
    let mut told = vec![
        ("target", target(report)),
        ("watched", units::duration(report.window.duration_ns)),
        ("live", live_sum),
        ("allocated", sum(totals.allocated_bytes, allocated, totals.allocated_blocks, "")),
        // Its error is at most that of what was allocated.
        ("freed", sum(totals.freed_bytes, allocated, totals.freed_blocks, "")),
        ("besides", besides(report)),
    ];
    if let Some(memory) = report.memory {
        let (first, last) = (memory.first.resident_bytes, memory.last.resident_bytes);
        let resident = format!(
            "{:>10} at first, {} at last{}",
            units::bytes(first),
            units::bytes(last),
            // A sum would count the pages that processes share once for each.
            match report.processes.len() < 2 {
                true => String::new(),
                false => format!(", of PID {} alone", report.target.pid),
            },
        );
        told.push(("resident", resident));
    }
    told
}

/// The frees that are of no block here.
fn besides(report: &Report) -> String {
    let totals = report.totals;
    let unknown = units::count(totals.freed_unknown_blocks);
    let before = format!("{unknown} more freed blocks were from before attach");
    match totals.freed_not_followed_blocks {
        0 if report.sampling.is_none() => before,
        count => {
            let count = units::count(count);
            format!("{before}; {count} were that, or had not been followed (size floor, sample)")
        }
    }
}

/// What the probes took.
pub(in crate::report) fn cost(report: &Report) -> Vec<String> {
    let mut told = vec![match report.overhead {
        Some(cost) => format!(
            "{} probe hits/s, {} ns in our programs and {} ns for the trap each: {:.2} % of one core",
            units::count(cost.hits_per_s.round() as u64),
            units::count(cost.program_ns_per_hit.round() as u64),
            units::count(cost.trap_ns_per_hit.round() as u64),
            cost.share_of_one_core * 100.0,
        ),
        None => {
            "not measured: no probe was hit while outlive timed its programs (200 ms in every 5 s)"
                .to_owned()
        }
    }];
    told.extend(super::governor::steps(report));
    if report.lane.as_ref().is_some_and(|lane| lane.taken) {
        told.push(
            "the sample was drawn inside the command (fast lane): only what was drawn met a probe"
                .to_owned(),
        );
    }
    if let Some(tracer) = report.tracer {
        let (own, maps) =
            (units::bytes(tracer.resident_bytes), units::bytes(tracer.kernel_map_bytes));
        told.push(format!("outlive took {own}, its kernel maps {maps}"));
    }
    told.extend(super::heap::cost(report));
    told
}
