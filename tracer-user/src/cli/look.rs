//! `outlive plan`, `outlive doctor` and the benchmark's `outlive floor`: they watch nothing.

use super::arguments::{Doctor, Floor, Look};
use crate::{health, plan, printable::printable, session, stderr::say, target};
use anyhow::Result;
use std::io::Write as _;

/// Shows what would be probed.
pub fn plan(verb: &Look) -> Result<u8> {
    let (target, mut warnings) = target::discover(verb.pid)?;
    let (plan, more) = plan::make(&target, true)?;
    warnings.extend(more);
    for warning in &warnings {
        say(&printable(&warning.to_string()));
    }
    print(&if verb.json { json(&plan::view(&plan))? } else { plan::render_text(&plan) })?;
    Ok(0)
}

/// Checks the machine. Exits with 2 when something that is needed is missing.
pub fn doctor(verb: &Doctor) -> Result<u8> {
    let checks = health::examine(verb.pid);
    print(&if verb.json { json(&health::view(&checks))? } else { health::render_text(&checks) })?;
    Ok(if health::worst(&checks) == health::Health::Fail { super::COULD_NOT_RUN } else { 0 })
}

/// Holds empty probes in a process until interrupted.
pub fn floor(verb: &Floor) -> Result<u8> {
    session::require_privileges()?;
    let (target, _) = target::discover(verb.pid)?;
    let (plan, _) = plan::make(&target, false)?;
    session::hold_floor(&plan, verb.pid)?;
    Ok(0)
}

fn json(view: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(view)? + "\n")
}

fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
}
