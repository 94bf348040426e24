//! Starts a command with its probes in place before its first instruction.
//!
//! The command is held by ptrace while the dynamic loader maps libraries, one system call at a
//! time, until the allocator is mapped and none of its code has run; then the probes go in, and
//! the command runs on untraced by ptrace.

use super::{
    Config, cycle_commands,
    descriptor::raise_limit,
    guardian::Guardian,
    js_heap,
    lane::{Lane, Library, Line},
    python_objects, regime,
    setup::{self, Started},
};
use crate::{
    plan::{self, loader},
    probe::Probes,
    warning::Warning,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
};

/// System calls that the loader makes between mapping the last library and running any of their
/// code: it sets the thread pointer up (glibc), or the thread's identity.
const LIBRARIES_ARE_MAPPED: [i64; 2] = [libc::SYS_arch_prctl, libc::SYS_set_tid_address];
/// Number of the regime that a session begins with.
const FIRST_REGIME: u32 = 0;
/// A loader that has made this many system calls without coming there is none that we know.
const MAX_LOADER_CALLS: u32 = 50_000;

/// Starts `command`, and attaches before it runs.
///
/// # Errors
/// When it cannot be started or traced; it is killed then.
pub fn start(command: &[OsString], config: &Config) -> Result<(Started, Probes)> {
    let library = Library::ready(config).context("making the library of the fast lane")?;
    let (held, mut started) = hold(command, config, library.as_ref())?;
    if library.is_none() {
        return follow(held, started, config);
    }
    match plan::lane::take(&started.target, &mut started.plan) {
        Ok(()) => {
            started.lane = Lane::Taken;
            follow(held, started, config)
        }
        Err(refusal) => {
            // It has run nothing but its loader.
            drop(held);
            let (held, mut started) = hold(command, config, None)?;
            started.lane = Lane::Refused(refusal.to_string());
            started.warnings.extend(started.lane.warning());
            follow(held, started, config)
        }
    }
}

/// Starts the command and holds it where its allocator is mapped and has not run.
fn hold(
    command: &[OsString],
    config: &Config,
    library: Option<&Library>,
) -> Result<(Held, Started)> {
    let (program, arguments) = command.split_first().context("no command to run")?;
    let mut builder = Command::new(program);
    builder.args(arguments).envs(python_objects::environment(config));
    builder.envs(js_heap::environment(config));
    if config.schedule.is_some() {
        cycle_commands::set_apart(&mut builder)?;
    }
    if let Some(library) = library {
        library.preload_into(&mut builder);
    }
    // SAFETY: ptrace(PTRACE_TRACEME) and nothing else happens between fork and exec; it is a bare
    // system call.
    unsafe { builder.pre_exec(|| ptrace_result(libc::PTRACE_TRACEME, 0, 0)) };
    let child = builder.spawn().with_context(|| format!("starting {}", program.display()))?;
    let mut held = Held { child: Some(child), pid: 0 };
    held.pid = held.child.as_ref().map_or(0, Child::id);
    held.wait_for_stop()?;
    ptrace_result(
        libc::PTRACE_SETOPTIONS,
        held.pid,
        (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL) as usize,
    )
    .context("taking hold of the command")?;
    let started = held.wait_for_allocator(config)?;
    Ok((held, started))
}

/// Places the probes into a command that is held, and lets it go.
fn follow(held: Held, mut started: Started, config: &Config) -> Result<(Started, Probes)> {
    // Only now: the command keeps the limit that we were started with, also where it had to be
    // started a second time.
    raise_limit();
    // Before anything is loaded, so that it inherits nothing.
    let guardian = Guardian::of(held.pid);
    let mut probes = setup::load(&mut started, config)?;
    started.image = probes.attach(&started.plan)?;
    if let Some(control_avma) = started.plan.lane_control_avma {
        let line =
            Line::open(held.pid, control_avma).context("reaching the fast lane's library")?;
        line.order(FIRST_REGIME, &regime::first(config))
            .context("beginning the sample of the fast lane")?;
        started.line = Some(line);
    }
    hold_at_loads(&mut started, &mut probes, guardian);
    started.child = Some(held.release()?);
    Ok((started, probes))
}

/// Has the command stopped whenever its loader has mapped libraries, until they can be walked.
/// Nobody is stopped whom nobody would continue: without a guardian it runs on.
fn hold_at_loads(started: &mut Started, probes: &mut Probes, guardian: Result<Option<Guardian>>) {
    let Some(hook) = loader::hook(&started.target) else { return };
    let held = match guardian {
        Ok(Some(guardian)) => {
            started.guardian = Some(guardian);
            probes.hold_at_loads(&hook).map_err(anyhow::Error::from)
        }
        Ok(None) => return,
        Err(error) => Err(error),
    };
    if let Err(error) = held {
        started.warnings.push(Warning::new(
            "loads-not-held",
            format!("The command cannot be held when it loads a library ({error:#}); stacks through its first allocations may be cut short."),
            "",
        ));
    }
}

/// A command stopped by ptrace; killed when dropped.
struct Held {
    child: Option<Child>,
    pid: u32,
}

impl Held {
    /// Steps the command until its allocator is mapped and has not run.
    fn wait_for_allocator(&mut self, config: &Config) -> Result<Started> {
        // A static program has everything mapped from the start.
        let mut refusal = match setup::prepare(self.pid, config) {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        for _ in 0..MAX_LOADER_CALLS {
            if !setup::is_missing_allocator(&refusal) {
                return Err(refusal);
            }
            let Some(call) = self.next_system_call()? else {
                bail!(refusal.context("the command ended before an allocator was mapped"));
            };
            if LIBRARIES_ARE_MAPPED.contains(&call) {
                match setup::prepare(self.pid, config) {
                    Ok(started) => return Ok(started),
                    Err(error) => refusal = error,
                }
            }
        }
        Err(refusal)
    }

    /// Runs to the next entry or exit of a system call; its number, or `None` at the end.
    fn next_system_call(&mut self) -> Result<Option<i64>> {
        let mut signal = 0;
        loop {
            ptrace_result(libc::PTRACE_SYSCALL, self.pid, signal)
                .context("stepping the command")?;
            let status = self.wait()?;
            if !libc::WIFSTOPPED(status) {
                self.child = None;
                return Ok(None);
            }
            // PTRACE_O_TRACESYSGOOD marks system calls with bit 7.
            if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
                return self.system_call_number().map(Some);
            }
            let stop = libc::WSTOPSIG(status);
            signal = if stop == libc::SIGTRAP { 0 } else { stop as usize };
        }
    }

    fn system_call_number(&self) -> Result<i64> {
        // SAFETY: all zeros is a valid value of the plain structure.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        ptrace_result(libc::PTRACE_GETREGS, self.pid, (&raw mut registers) as usize)
            .context("reading the command's registers")?;
        Ok(registers.orig_rax as i64)
    }

    fn wait_for_stop(&mut self) -> Result<()> {
        let status = self.wait()?;
        if !libc::WIFSTOPPED(status) {
            self.child = None;
        }
        ensure!(libc::WIFSTOPPED(status), "the command ended before it ran");
        Ok(())
    }

    fn wait(&self) -> Result<libc::c_int> {
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is a valid place.
        let waited = unsafe { libc::waitpid(self.pid as libc::pid_t, &raw mut status, 0) };
        if waited < 0 {
            return Err(io::Error::last_os_error()).context("waiting for the command");
        }
        Ok(status)
    }

    /// Lets the command run.
    fn release(mut self) -> Result<Child> {
        ptrace_result(libc::PTRACE_DETACH, self.pid, 0).context("letting the command go")?;
        self.child.take().context("the command has ended")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ptrace_result(request: libc::c_uint, pid: u32, data: usize) -> io::Result<()> {
    // SAFETY: requests that take no memory but the one that `data` points to, which the caller
    // keeps alive.
    let result = unsafe { libc::ptrace(request, pid as libc::pid_t, 0_usize, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
