//! `cargo xtask VERB`: what one does with this workspace beyond plain cargo, one verb a file.
#![allow(clippy::print_stdout, reason = "xtask is a program for people; its output is its work")]

mod bpf_toolchain;
mod build;
mod command;
mod debian;
mod test;
mod tidy;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, demonstrates and checks outlive.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the kernel-side object, then the outlive binary that embeds it
    Build(build::BuildArgs),
    /// T
    Test(test::TestArgs),
    /// T
    Tidy,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Build(args) => build::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
