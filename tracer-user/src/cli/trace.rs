//! `outlive attach` and `outlive run`.

use super::arguments::{Attach, Overhead, ReportFormat, Run, Watch};
use crate::{
    growth,
    probe::Limits,
    report::{self, Detail},
    session::{self, Config, Outcome, Whom},
    stderr::say,
    target,
};
use anyhow::Result;
use std::io::{IsTerminal as _, Write as _};
use tracer_common::limits::{DEFAULT_MAX_SLOTS, DEFAULT_MAX_STACKS};

/// Watches a running process.
pub fn attach(verb: Attach, verbose: u8, quiet: bool) -> Result<u8> {
    session::require_privileges()?;
    let pid = match (verb.pid, &verb.name, &verb.unit) {
        (Some(pid), _, _) => pid,
        (_, Some(pattern), _) => target::find_by_name(pattern)?,
        (_, _, Some(unit)) => target::find_by_unit(unit)?,
        (None, None, None) => anyhow::bail!("name a process: a PID, --name or --unit"),
    };
    watch(config(Whom::Process(pid), &verb.watch, verbose, quiet), &verb.watch)
}

/// Starts a command and watches it.
pub fn run(verb: Run, verbose: u8, quiet: bool) -> Result<u8> {
    session::require_privileges()?;
    let config = config(Whom::Command(verb.command), &verb.watch, verbose, quiet);
    watch(Config { lane: !verb.no_lane, ..config }, &verb.watch)
}

/// What was typed, as it is meant.
pub(super) fn config(whom: Whom, watch: &Watch, verbose: u8, quiet: bool) -> Config {
    let is_command = matches!(whom, Whom::Command(_));
    Config {
        whom,
        duration: watch.duration,
        interval: watch.interval,
        min_size_bytes: watch.min_size,
        lane: false,
        sample_mean_bytes: watch.sample.unwrap_or(0),
        later_means: watch.sample_at.clone(),
        max_overhead: watch.max_overhead(is_command),
        out: watch.out.clone(),
        limits: Limits {
            max_live: watch.max_live,
            max_stacks: watch.max_stacks,
            max_slots: slots_for(watch.max_stacks),
            ..Limits::default()
        },
        mappings: !watch.no_mappings,
        follow: watch.follow,
        python_objects: watch.python_objects,
        js_heap: watch.js_heap_mode(),
        js_heap_interval_bytes: watch.js_heap_interval,
        js_retainers: watch.js_retainers,
        heap: watch.heap(is_command),
        force_gc: watch.force_gc,
        kernel_log: verbose >= 2,
        progress: !quiet && std::io::stderr().is_terminal(),
        schedule: None,
    }
}

/// Counter slots for so many stacks: three epochs of birth each, where more are asked for than usual.
fn slots_for(stacks: u32) -> u32 {
    const EPOCHS: u32 = 3;
    if stacks <= DEFAULT_MAX_STACKS {
        return DEFAULT_MAX_SLOTS;
    }
    stacks.saturating_mul(EPOCHS).max(DEFAULT_MAX_SLOTS)
}

fn watch(config: Config, watch: &Watch) -> Result<u8> {
    anyhow::ensure!(
        !(watch.exact && matches!(watch.max_overhead, Some(Overhead::Share(_)))),
        "--exact follows every block whatever it costs, and --max-overhead does not; give one of them"
    );
    let Outcome { recording, folder, .. } = session::watch(config)?;
    let report = report::build(&recording, &growth::Limits::default());
    let detail = if watch.full { Detail::Full } else { Detail::Folded };
    if let Some(folder) = folder {
        session::write_reports(&folder, &report, detail)?;
        say(&format!("capture, reports and flamegraphs are in {}", folder.display()));
    }
    let mut stdout = std::io::stdout().lock();
    let text = match watch.format {
        ReportFormat::Text => report::text(&report, stdout.is_terminal(), detail),
        ReportFormat::Markdown => report::markdown(&report, detail),
        ReportFormat::Json => report::json(&report),
    };
    let code = report::outcome(&report, watch.fail_on_growth);
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever read it had enough; the answer stands.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(code),
        written => written.map(|()| code).map_err(Into::into),
    }
}
