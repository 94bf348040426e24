//! Verb `test`: sets up, then runs every check and test of the workspace, and says at the end
//! what ran, what was skipped and why.

mod failures;
mod nextest;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::accuracy::{self, AccuracyArgs};
use crate::kernels::{self, KernelsArgs};
use crate::{bpf_toolchain, build, command, debian, interpreters, node, tidy, venv, workspace};
use failures::Failures;

/// Packages that tests use beyond the BPF toolchain.
const TEST_PACKAGES: [&str; 18] = [
    "gcc",
    "g++",
    "make",
    "binutils",
    "libc6-dev",
    "bpftool",
    "python3",
    "python3-venv",
    // For the extension module of the corpus.
    "python3-dev",
    "libpython3.11-testsuite",
    "musl-tools",
    "libjemalloc2",
    "libjemalloc-dev",
    "libmimalloc2.0",
    "libmimalloc-dev",
    "libtcmalloc-minimal4",
    "libgoogle-perftools-dev",
    // For `go tool pprof`, the reader that profiles are made for.
    "golang-go",
];

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Only the checks and tests that need neither root nor a BPF toolchain
    #[arg(long)]
    host_only: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// How a step went.
enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

/// Steps, how they went and how long they took, in order.
#[derive(Default)]
struct Summary {
    steps: Vec<(&'static str, Outcome, Duration)>,
    /// What failed tests said, by step.
    failures: Vec<(&'static str, Failures)>,
}

impl Summary {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> bool {
        command::heading(name);
        let begun = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("xtask: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        let passed = matches!(outcome, Outcome::Passed);
        self.steps.push((name, outcome, begun.elapsed()));
        passed
    }

    /// A step that runs tests by nextest.
    fn tests(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        // That of the step before would be told as this one's.
        nextest::remove_report();
        if !self.step(name, work) {
            self.failures.push((name, nextest::failures()));
        }
    }

    fn skip(&mut self, name: &'static str, reason: &'static str) {
        self.steps.push((name, Outcome::Skipped(reason), Duration::ZERO));
    }

    fn finish(self) -> Result<()> {
        println!("\n== summary");
        let mut failed_count = 0;
        for (name, outcome, took) in &self.steps {
            let took = took.as_secs();
            match outcome {
                Outcome::Passed => println!("passed   {name} ({took} s)"),
                Outcome::Skipped(reason) => println!("skipped  {name}: {reason}"),
                Outcome::Failed(why) => {
                    failed_count += 1;
                    println!(
                        "FAILED   {name} ({took} s): {}",
                        why.lines().next().unwrap_or_default()
                    );
                    for (_, failures) in self.failures.iter().filter(|(step, _)| step == name) {
                        print!("{failures}");
                    }
                }
            }
        }
        if failed_count > 0 {
            bail!("{failed_count} of {} steps failed", self.steps.len());
        }
        Ok(())
    }
}

/// Runs the verb.
///
/// # Errors
/// When any step failed; every step that can run has run by then.
pub fn run(args: &TestArgs) -> Result<()> {
    let mut summary = Summary::default();
    let ready = if args.host_only {
        summary.skip("set-up and kernel side", "--host-only");
        false
    } else {
        set_up(&mut summary)
    };
    checks(&mut summary, ready);
    let filter = args.filter.as_deref();
    if summary.step("cargo-nextest", nextest::ensure) {
        let unit = ["--workspace", "--lib", "--bins"];
        summary.tests("unit tests", || nextest::run(&unit, filter, Vec::new()));
        integration(&mut summary, args, ready);
    } else {
        summary.skip("unit and integration tests", "there is no cargo-nextest to run them");
    }
    accuracy(&mut summary, args, ready);
    other_kernels(&mut summary, args, ready);
    summary.finish()
}

/// Whether everything that the real-probe tests need is there.
fn set_up(summary: &mut Summary) -> bool {
    let packages = summary.step("packages", || {
        if debian::is_debian() {
            return debian::ensure(&TEST_PACKAGES, "the tests");
        }
        match ["gcc", "bpftool", "python3"].into_iter().find(|tool| command::which(tool).is_none())
        {
            Some(tool) => bail!("the tests need `{tool}`; install it with your package manager"),
            None => Ok(()),
        }
    });
    let venv = summary.step("Python environments", || {
        venv::ensure(&venv::GATEWAY)?;
        venv::ensure(&venv::EXTENSIONS)?;
        venv::ensure(&venv::READERS)?;
        venv::ensure(&venv::CORPUS).map(drop)
    });
    // One that cannot be had fails its own lines of the matrix test, and nothing else.
    summary.step("interpreters", || interpreters::ensure().map(drop));
    let node = summary.step("Node.js", || node::ensure().map(drop));
    summary.step("Node.js, every release, and npm packages", node::ensure_for_tests);
    let object = summary.step("kernel side", build::bpf_object);
    packages && venv && node && object
}

/// Formatting, lints and tidy: no probes, no root.
fn checks(summary: &mut Summary, toolchain_ready: bool) {
    summary.step("format", || {
        command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
        let mut kernel_side = cargo(&["fmt", "--check"]);
        command::run(kernel_side.current_dir(workspace::root().join("tracer-ebpf")))
    });
    summary.step("lints, host crates", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        command::run(&mut cargo(&lints))
    });
    if !toolchain_ready {
        summary.skip("lints, kernel side", "no BPF toolchain was set up");
    } else {
        summary.step("lints, kernel side", || {
            let mut clippy = bpf_toolchain::ensure()?.clippy()?;
            command::run(clippy.args(["--release", "--", "-D", "warnings"]))
        });
    }
    summary.step("tidy", tidy::run);
}

/// Tests that attach real probes.
fn integration(summary: &mut Summary, args: &TestArgs, ready: bool) {
    const NAME: &str = "integration tests, real probes";
    if args.host_only {
        return summary.skip(NAME, "--host-only");
    }
    if !ready {
        return summary.skip(NAME, "the set-up failed");
    }
    if !debian::is_root() {
        return summary.skip(
            NAME,
            "loading eBPF programs and probing other processes needs root; run as root",
        );
    }
    if !has_integration_tests() {
        return summary.skip(NAME, "tracer-user declares no [[test]]");
    }
    summary.tests(NAME, || {
        let selection = ["--release", "-p", "tracer-user", "--test", "*"];
        nextest::run(&selection, args.filter.as_deref(), node::test_environment()?)
    });
}

/// The corpus, each server once: after the tests, since it takes the whole machine.
fn accuracy(summary: &mut Summary, args: &TestArgs, ready: bool) {
    const NAME: &str = "accuracy, short";
    if args.host_only {
        return summary.skip(NAME, "--host-only");
    }
    if !ready {
        return summary.skip(NAME, "the set-up failed");
    }
    if !debian::is_root() {
        return summary.skip(NAME, "probing other processes needs root; run as root");
    }
    if args.filter.is_some() {
        return summary.skip(NAME, "only some tests were asked for");
    }
    summary.step(NAME, || accuracy::run(&AccuracyArgs::quick()));
}

/// The same probes on other kernels: needs no root beyond what installing packages needs.
fn other_kernels(summary: &mut Summary, args: &TestArgs, ready: bool) {
    const NAME: &str = "Linux 6.1 and 6.12 under QEMU, real probes";
    if args.host_only {
        return summary.skip(NAME, "--host-only");
    }
    if !ready {
        return summary.skip(NAME, "the set-up failed");
    }
    if !debian::is_debian() {
        return summary.skip(NAME, "the kernels are Debian's, and this is another system");
    }
    summary.step(NAME, || kernels::run(&KernelsArgs::all(args.filter.clone())));
}

fn has_integration_tests() -> bool {
    std::fs::read_to_string(workspace::root().join("tracer-user/Cargo.toml"))
        .is_ok_and(|manifest| manifest.contains("[[test]]"))
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(args).current_dir(workspace::root());
    cargo
}
