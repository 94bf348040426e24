//! `outlive heap`: the objects of a process, seen from outside.

use super::arguments::{Heap, ReportFormat};
use crate::{
    printable::printable,
    report::heap_look as render,
    session::{self, HeapLook},
    stderr::say,
};
use anyhow::Result;
use std::io::{IsTerminal as _, Write as _};

/// Exit code of an answer that is less than was asked for.
const INCONCLUSIVE: u8 = 3;

/// Looks, and says what there is.
pub fn heap(verb: Heap, quiet: bool) -> Result<u8> {
    let format = verb.format();
    let looked = session::look_at_heap(HeapLook {
        pid: verb.pid,
        window: verb.window,
        max_stop: (!verb.no_stop).then_some(verb.max_stop),
        hide_keys: verb.hide_keys,
        js_retainers: verb.js_retainers(),
        types: verb.types as usize,
        holders: verb.holders,
        out: verb.out.clone(),
        progress: !quiet && std::io::stderr().is_terminal(),
    })?;
    let report = render::build(&looked.heap, looked.window_ns);
    if let Some(folder) = &verb.out {
        session::write_beside(&folder.join("heap.json"), render::json(&report).as_bytes())?;
        session::write_beside(&folder.join("heap.txt"), render::text(&report).as_bytes())?;
        let shown = printable(&folder.display().to_string());
        say(&format!("heap.json and heap.txt are in {shown}"));
    }
    let text = match format {
        ReportFormat::Text => render::text(&report),
        ReportFormat::Markdown => render::markdown(&report),
        ReportFormat::Json => render::json(&report),
    };
    let code = if looked.is_conclusive { 0 } else { INCONCLUSIVE };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever read it had enough; the answer stands.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(code),
        written => written.map(|()| code).map_err(Into::into),
    }
}
