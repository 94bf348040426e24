//! Verb `kernels`: boots Debian's kernels under QEMU and runs integration tests there, with the
//! real probes. This file says which kernels and which tests; how a kernel is found, what it
//! boots from and how it is watched have a file each.

mod archive;
mod binaries;
mod debian_kernel;
mod files;
mod guest;
mod machine;
mod verdict;

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use self::debian_kernel::{DebianKernel, Series};
use self::guest::Guest;
use self::verdict::Verdict;
use crate::{build, command, debian, node, workspace};

/// The oldest kernel that outlive promises to run on, and the one of Debian's next release.
const KERNELS: [Series; 2] = [Series { major: 6, minor: 1 }, Series { major: 6, minor: 12 }];

/// What runs on each.
const TESTS: [Selection; 6] = [
    // The one left out repeats another, for the sake of what it then does without a kernel.
    Selection { file: "exactness", filter: "", left_out: "captures_give_the_report_again" },
    Selection { file: "python", filter: "frames_of_a_static_build", left_out: "" },
    Selection { file: "node", filter: "", left_out: "" },
    // Who handles a signal is read from the kernel's own structures.
    Selection { file: "js_heap_opening", filter: "own_handler", left_out: "" },
    Selection { file: "seccomp", filter: "", left_out: "" },
    Selection { file: "detach", filter: "an_interrupt_leaves_nothing", left_out: "" },
];

/// Packages for booting, for the tests inside, and for what they look at the kernel with.
const PACKAGES: [&str; 6] =
    ["qemu-system-x86", "busybox-static", "bpftool", "gcc", "libc6-dev", "python3"];

/// Longest time one kernel may take from power-on to power-off. On an idle machine with two
/// cores it is two to three minutes, most of them the verifier's work at each attach.
const PATIENCE: Duration = Duration::from_secs(900);

/// A part of the integration tests.
#[derive(Clone, Copy, Debug)]
struct Selection {
    /// Name of the `[[test]]`.
    file: &'static str,
    /// Tests whose name contains this; all when empty.
    filter: &'static str,
    /// But none whose name contains this, where it is not empty.
    left_out: &'static str,
}

/// Arguments of `cargo xtask kernels`.
#[derive(Debug, clap::Args)]
pub struct KernelsArgs {
    /// Only this kernel, such as 6.1; may be any series that apt offers a cloud kernel of
    #[arg(long, value_name = "SERIES")]
    kernel: Option<Series>,
    /// Only tests whose name, such as detach::a_kill, contains this
    filter: Option<String>,
    /// Show the guest's console as it comes
    #[arg(long)]
    console: bool,
}

impl KernelsArgs {
    /// Every kernel, and the tests whose name contains `filter`.
    pub fn all(filter: Option<String>) -> Self {
        Self { kernel: None, filter, console: false }
    }
}

/// Runs the verb.
///
/// # Errors
/// When a build fails, no kernel can be had, or a verdict is missing or bad on any kernel.
pub fn run(args: &KernelsArgs) -> Result<()> {
    if !debian::is_debian() {
        bail!("the kernels are Debian's, and are fetched with apt-get; run this on Debian");
    }
    debian::ensure(&PACKAGES, "running tests on other kernels")?;
    let series = args.kernel.map_or_else(|| KERNELS.to_vec(), |one| vec![one]);
    let kernels: Vec<DebianKernel> =
        series.into_iter().map(debian_kernel::ensure).collect::<Result<_>>()?;
    let node = node::ensure()?;
    build::bpf_object()?;
    build::outlive(true)?;
    let tests = binaries::build(&TESTS, args.filter.as_deref())?;
    let guest = Guest { tests, node };
    let initramfs = workspace::target_dir().join("kernels/initramfs.cpio");
    guest.write(&initramfs)?;

    command::heading("Linux under QEMU (emulated, so everything takes its time)");
    // Side by side: a guest keeps little more than one core busy.
    let outcomes: Vec<Result<Vec<String>>> = thread::scope(|scope| {
        let (guest, initramfs) = (&guest, &initramfs);
        let boot = |kernel| scope.spawn(move || try_on(kernel, guest, initramfs, args.console));
        let boots: Vec<_> = kernels.iter().map(boot).collect();
        let join = |boot: ScopedJoinHandle<'_, Result<Vec<String>>>| {
            boot.join().unwrap_or_else(|_| Err(anyhow!("following a boot panicked")))
        };
        boots.into_iter().map(join).collect()
    });
    let mut failures = Vec::new();
    for outcome in outcomes {
        failures.extend(outcome?);
    }
    if !failures.is_empty() {
        bail!("{} failed: {}", failures.len(), failures.join(", "));
    }
    Ok(())
}

/// Runs everything on one kernel; returns what failed.
fn try_on(
    kernel: &DebianKernel,
    guest: &Guest,
    initramfs: &Path,
    console: bool,
) -> Result<Vec<String>> {
    let series = kernel.series;
    let started = Instant::now();
    let expected = guest.steps();
    let outcome = machine::run(kernel, initramfs, PATIENCE, console)
        .with_context(|| format!("booting Linux {}", kernel.release))?;
    let mut programs = outcome.programs;
    programs.sort_by_key(|program| std::cmp::Reverse(program.instruction_count));
    let shown: Vec<String> =
        programs.iter().map(|p| format!("{} {}", p.name, p.instruction_count)).collect();
    println!("{series:<5} instructions the verifier went through: {}", shown.join(", "));
    let mut failures = Vec::new();
    for name in expected {
        if let Some(why) = verdict::failure(&name, &outcome.verdicts) {
            println!("{series:<5} FAILED  {name}: {why}");
            failures.push(format!("{name} on {series}"));
        }
    }
    if let Some(why) = outcome.trouble {
        println!("{series:<5} FAILED  {why}");
        failures.push(format!("the boot of {series}"));
    }
    let passed = outcome.verdicts.iter().filter(|verdict: &&Verdict| verdict.passed()).count();
    println!(
        "{series:<5} Linux {}: {passed} passed, {} failed, {:.0} s",
        kernel.release,
        failures.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(failures)
}
