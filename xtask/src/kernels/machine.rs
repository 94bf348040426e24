//! The emulated machine: starts QEMU on a kernel and an initramfs, follows the console, and
//! gathers the verdicts. Decides nothing about what they mean.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::debian_kernel::{DebianKernel, Series};
use super::verdict::{Program, Verdict, Word};
use crate::child::{Guarded, bound_command};

/// Memory of the guest. The unpacked initramfs takes some 300 MiB of it, outlive 150, and
/// tmpfs may use half.
const MEMORY: &str = "2G";

/// Lines of the console that are shown when something went wrong.
const TAIL_LINES: usize = 60;

/// How long QEMU may take to end after the guest said that it is done.
const POWER_OFF: Duration = Duration::from_secs(30);

/// What came of one boot.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How each step ended, in order.
    pub verdicts: Vec<Verdict>,
    /// What the verifier said of each program.
    pub programs: Vec<Program>,
    /// Why the boot as such failed: a panic, a timeout, an early end.
    pub trouble: Option<String>,
}

/// Boots `kernel` from `initramfs`, and follows it until it powers off, at most `patience`.
/// Prints a line for each step, and the console's last lines where one went wrong.
///
/// # Errors
/// When QEMU cannot be started.
pub fn run(
    kernel: &DebianKernel,
    initramfs: &Path,
    patience: Duration,
    show_console: bool,
) -> Result<Outcome> {
    let mut qemu = bound_command("qemu-system-x86_64", "KILL");
    // Emulated without KVM: the same on every machine, and available on all of them. Its processors
    // take turns: with a thread each, one may run a piece of the kernel's code that another is
    // changing (a breakpoint for a moment), and Linux then dies of an int3 that it cannot place.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", MEMORY]);
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    qemu.args(["-nic", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    // A panic reboots at once, which -no-reboot turns into an end.
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    let mut machine = Guarded::start("QEMU", &mut qemu)?;
    let deadline = Instant::now() + patience;
    let mut watch = Watch::new(kernel.series);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match machine.wait_for("end", left, |line| Some(line.to_owned())) {
            Ok(line) => line,
            Err(_) if left.is_zero() || Instant::now() >= deadline => {
                watch.fail(format!("it was not done after {} s", patience.as_secs()));
                break;
            }
            Err(_) => {
                watch.fail("the machine ended before it was done".to_owned());
                break;
            }
        };
        if show_console {
            eprintln!("{:<5} | {}", kernel.series, line.trim_end());
        }
        if watch.take(line.trim_end()) {
            break;
        }
    }
    if watch.outcome.trouble.is_none() {
        machine.wait(POWER_OFF)?;
    }
    Ok(watch.outcome)
}

/// What was seen on the console so far.
struct Watch {
    series: Series,
    outcome: Outcome,
    current: Option<Step>,
    tail: VecDeque<String>,
}

/// The step that runs.
struct Step {
    name: String,
    began: Instant,
    skipped: bool,
}

impl Watch {
    fn new(series: Series) -> Self {
        Self { series, outcome: Outcome::default(), current: None, tail: VecDeque::new() }
    }

    /// Takes one line; true when nothing more is to be expected.
    fn take(&mut self, line: &str) -> bool {
        let word = Word::parse(line);
        if matches!(word, Word::Begin(_)) {
            // Lines of another step do not explain what goes wrong in this one.
            self.tail.clear();
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        match word {
            Word::Begin(name) => {
                self.current = Some(Step { name, began: Instant::now(), skipped: false });
            }
            Word::End(name, code) => self.end(name, code),
            Word::Program(program) => self.outcome.programs.push(program),
            Word::Skip => {
                if let Some(step) = &mut self.current {
                    step.skipped = true;
                }
            }
            Word::Panic => self.fail("the kernel panicked".to_owned()),
            Word::Done => return true,
            Word::Other => {}
        }
        self.outcome.trouble.is_some()
    }

    fn end(&mut self, name: String, code: i32) {
        let step = self.current.take().filter(|step| step.name == name);
        let skipped = step.as_ref().is_some_and(|step| step.skipped);
        let took = step.map_or(Duration::ZERO, |step| step.began.elapsed());
        let verdict = Verdict { name, code, skipped };
        let word = if verdict.passed() { "passed" } else { "FAILED" };
        println!("{:<5} {word}  {} ({:.1} s)", self.series, verdict.name, took.as_secs_f64());
        if !verdict.passed() {
            self.show_tail();
        }
        self.outcome.verdicts.push(verdict);
    }

    /// Ends the boot as failed.
    fn fail(&mut self, why: String) {
        let place = self.current.as_ref().map(|step| format!(", during {}", step.name));
        self.outcome.trouble = Some(why + &place.unwrap_or_default());
        self.show_tail();
    }

    fn show_tail(&self) {
        for line in &self.tail {
            eprintln!("{:<5} | {line}", self.series);
        }
    }
}
