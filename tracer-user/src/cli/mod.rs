//! The command line: what was typed becomes what is meant, answers go to stdout and words to
//! stderr. The only user of clap.

mod arguments;
mod check;
mod diff;
mod heap;
mod look;
mod moment;
mod report;
mod trace;

use crate::printable::printable_lines;
use crate::stderr::say;
use arguments::{Arguments, Verb};
use clap::Parser as _;
use std::{io, process::ExitCode};

/// Exit code of everything that could not run.
const COULD_NOT_RUN: u8 = 2;

/// Parses the arguments, does what they say, and answers the shell.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not errors; clap knows which stream is whose.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { COULD_NOT_RUN } else { 0 });
        }
    };
    start_log(arguments.verbose);
    let done = match arguments.verb {
        Verb::Attach(verb) => trace::attach(verb, arguments.verbose, arguments.quiet),
        Verb::Run(verb) => trace::run(verb, arguments.verbose, arguments.quiet),
        Verb::Check(verb) => check::check(*verb, arguments.verbose, arguments.quiet),
        Verb::Heap(verb) => heap::heap(verb, arguments.quiet),
        Verb::Report(verb) => report::report(&verb),
        Verb::Diff(verb) => diff::diff(&verb),
        Verb::Plan(verb) => look::plan(&verb),
        Verb::Doctor(verb) => look::doctor(&verb),
        Verb::Floor(verb) => look::floor(&verb),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes have lines of their own: candidates, or what the verifier says.
            say(&printable_lines(&format!("{error:#}")));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Whoever read our output has had enough (`| head`): not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Off,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
}
