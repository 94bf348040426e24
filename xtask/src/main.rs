//! `cargo xtask VERB`: what one does with this workspace beyond plain cargo, one verb a file.
#![allow(clippy::print_stdout, reason = "xtask is a program for people; its output is its work")]

mod accuracy;
mod bench;
mod bpf_toolchain;
mod build;
mod child;
mod command;
mod debian;
mod demo;
mod interpreters;
mod kernels;
mod loopback;
mod node;
mod test;
mod tidy;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, demonstrates and checks outlive.
///
/// Every verb finds what it needs first. On Debian, as root, it installs what is missing
/// (compiler for the kernel side, bpf-linker, Python packages); elsewhere it names what is
/// missing and how to install it. A second run is quick.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Start here (as root):
  cargo xtask demo              find a real leak in a real gateway, in about a minute
  cargo xtask demo --no-leak    the same gateway without the leak: nothing may be flagged
  cargo xtask test              everything that continuous integration checks

While working:
  cargo xtask build --release   target/bpf/outlive.bpf.o, then target/release/outlive
  cargo xtask test --host-only  what needs neither root nor the BPF toolchain
  cargo xtask accuracy --quick  every server of the corpus once, judged, in four minutes
  cargo xtask interpreters      every CPython that the tests trace, installed where missing
  cargo xtask nodes             every Node.js that the tests trace, fetched where missing
  cargo xtask kernels           the real probes on Linux 6.1 and 6.12, in about two minutes
  cargo xtask tidy              the rules that no compiler knows

cargo check, clippy and unit tests run without any of this: outlive then embeds a stub in
place of the kernel side, which refuses to load and says so.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the kernel-side object, then the outlive binary that embeds it
    Build(build::BuildArgs),
    /// Attach to a real gateway under load and compare outlive's answer with the truth (root)
    Demo(demo::DemoArgs),
    /// Set up, then run every check and test; a summary says what ran and what was skipped
    Test(test::TestArgs),
    /// Measure what outlive costs, beside the floor of probes and beside other tools (root)
    Bench(bench::BenchArgs),
    /// Run the corpus of leaking and innocent servers, and compare outlive with their truth (root)
    Accuracy(accuracy::AccuracyArgs),
    /// Find or install every CPython that the tests trace, and list them
    Interpreters,
    /// Fetch every Node.js that the tests trace and the packages of their targets, and list them
    Nodes,
    /// Run tests with real probes on Debian's 6.1 and 6.12, under QEMU
    Kernels(kernels::KernelsArgs),
    /// Check imports, file lengths, headers, names and SAFETY comments
    Tidy,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Build(args) => build::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Accuracy(args) => accuracy::run(&args),
        Verb::Interpreters => interpreters::run(),
        Verb::Nodes => node::run(),
        Verb::Kernels(args) => kernels::run(&args),
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
