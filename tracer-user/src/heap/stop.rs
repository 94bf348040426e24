//! Stops a process for a bounded time, so that its memory can be read as it is at one moment.
//!
//! By ptrace, of which its parent and its program learn nothing. All of it is done by one thread
//! that ends with the stop: when it ends, in whatever way, SIGKILL included, the kernel lets go of
//! all that it holds, and a process that its user had stopped stays stopped. What is left is that a
//! system call in which a thread waits may return early (EINTR of epoll_wait), as it does for a
//! debugger.
//!
//! # Sources
//! ptrace(2), "Attaching and detaching" and "PTRACE_EVENT_STOP".

use super::stacks::{StackPointer, threads};
use super::urgent::Urgent;
use crate::target::status::{Stat, Status, read_bounded};
use crate::units;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between two looks whether a thread has stopped.
const NAP: Duration = Duration::from_micros(50);
/// A thread that has not stopped by then may have ended.
const SUSPICIOUS: Duration = Duration::from_millis(2);

/// What a thread had in its registers when it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadRegisters {
    /// Thread ID, as outlive sees it.
    pub tid: u32,
    /// General registers.
    pub registers: Vec<u64>,
    /// Stack pointer.
    pub stack_pointer_avma: u64,
}

/// Why a process was not stopped; it runs on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// Somebody else traces it.
    #[error(
        "process {tracer} traces it (a debugger, strace), so it cannot be stopped for a consistent read; end that, or use --no-stop"
    )]
    TracedByOther {
        /// Who.
        tracer: u32,
    },
    /// The kernel does not let us.
    #[error(
        "it may not be stopped ({0}): that needs root or CAP_SYS_PTRACE, and kernel.yama.ptrace_scope below 3; or use --no-stop"
    )]
    Permission(String),
    /// A thread did not come to a stop.
    #[error(
        "{count} of its threads did not stop in time (a disk or a network file system keeps them in the kernel), and others stood for up to {}; try again, or use --no-stop",
        units::duration(.stood.as_nanos() as u64)
    )]
    NotStopped {
        /// How many.
        count: usize,
        /// How long the others stood; zero where there were none.
        stood: Duration,
    },
    /// It ended.
    #[error("it ended meanwhile")]
    Gone,
}

/// A process whose threads all stand.
#[derive(Debug)]
pub struct Standing {
    /// Registers of all threads.
    pub threads: Vec<ThreadRegisters>,
    /// Where their stacks stand.
    pub pointers: Vec<StackPointer>,
    /// When they will be let go, whatever happens.
    pub until: Instant,
}

/// What a stop was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// From before the first thread was stopped until after the last one was let go.
    pub length: Duration,
    /// It was let go before the work was done.
    pub was_cut_short: bool,
}

/// Stops process `tgid`, does the work, and lets it go: after `at_most` even if the work is not done
/// yet, which it has to notice by itself.
///
/// No other thread of ours may wait for the process meanwhile: it would be told of the stop.
///
/// # Errors
/// When it was not stopped; it runs on then, as after a success.
pub fn while_stopped<T>(
    tgid: u32,
    at_most: Duration,
    work: impl FnOnce(&Standing) -> T,
) -> Result<(T, Stop), StopError> {
    let (stand, standing) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    // Before the stop: what is woken by it has to go first as well.
    let _urgent = Urgent::begin();
    std::thread::scope(|scope| {
        let holder = scope.spawn(move || hold(tgid, at_most, &stand, &is_done));
        let answer = standing.recv().ok().map(|standing| work(&standing));
        drop(done);
        let stop = holder.join().unwrap_or(Err(StopError::Gone))?;
        Ok((answer.ok_or(StopError::Gone)?, stop))
    })
}

/// What the thread that holds the process does, from its first system call to its end.
fn hold(
    tgid: u32,
    at_most: Duration,
    stand: &mpsc::Sender<Standing>,
    is_done: &mpsc::Receiver<()>,
) -> Result<Stop, StopError> {
    let mut held = Held::default();
    held.seize(tgid)?;
    let began = Instant::now();
    let until = began + at_most;
    let stopped = held.stop(tgid, until);
    let stood = began.elapsed();
    let was_cut_short = if stopped.is_ok() {
        let (threads, pointers) = held.registers();
        let _ = stand.send(Standing { threads, pointers, until });
        let left = until.saturating_duration_since(Instant::now());
        is_done.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout)
    } else {
        false
    };
    let worked = began.elapsed();
    let is_any_standing = !held.standing.is_empty();
    held.let_go();
    let length = began.elapsed();
    log::debug!(
        "stop: all stood after {stood:?}, were let go after {worked:?}, ran after {length:?}"
    );
    match stopped {
        Ok(()) => Ok(Stop { length, was_cut_short }),
        Err(StopError::NotStopped { count, .. }) => {
            let stood = if is_any_standing { length } else { Duration::ZERO };
            Err(StopError::NotStopped { count, stood })
        }
        Err(error) => Err(error),
    }
}

/// Threads that this one traces.
#[derive(Debug, Default)]
struct Held {
    /// Those that stand, each with the signal that it is to be given when it goes on.
    standing: BTreeMap<libc::pid_t, libc::c_int>,
    /// Those that are traced and do not stand yet.
    running: BTreeSet<libc::pid_t>,
    /// Those that have ended.
    ended: BTreeSet<libc::pid_t>,
}

impl Held {
    /// Takes hold of all threads that are not held yet, which goes on running; how many.
    fn seize(&mut self, tgid: u32) -> Result<Vec<libc::pid_t>, StopError> {
        let mut new = Vec::new();
        for tid in threads(tgid).map_err(|_| StopError::Gone)? {
            let Ok(pid) = libc::pid_t::try_from(tid) else { continue };
            let is_known = self.standing.contains_key(&pid)
                || self.running.contains(&pid)
                || self.ended.contains(&pid);
            if is_known {
                continue;
            }
            match request(libc::PTRACE_SEIZE, pid, 0) {
                Ok(()) => {
                    self.running.insert(pid);
                    new.push(pid);
                }
                Err(error) => {
                    refusal(tgid, tid, error)?;
                    self.ended.insert(pid);
                }
            }
        }
        if self.standing.is_empty() && self.running.is_empty() {
            return Err(StopError::Gone);
        }
        Ok(new)
    }

    /// Stops all threads, those that are started meanwhile too.
    fn stop(&mut self, tgid: u32, until: Instant) -> Result<(), StopError> {
        let mut new: Vec<libc::pid_t> = self.running.iter().copied().collect();
        while !new.is_empty() {
            for tid in &new {
                // One that has ended is noticed below.
                let _ = request(libc::PTRACE_INTERRUPT, *tid, 0);
            }
            self.wait(tgid, until)?;
            // Only when all stand can nobody start another.
            new = self.seize(tgid)?;
        }
        Ok(())
    }

    /// Waits until all threads stand.
    fn wait(&mut self, tgid: u32, until: Instant) -> Result<(), StopError> {
        let mut suspicious = Instant::now() + SUSPICIOUS;
        while !self.running.is_empty() {
            let mut status = 0;
            // SAFETY: writes a status to a valid place. __WNOTHREAD: of what this thread traces,
            // and of no other child.
            let tid = unsafe {
                libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD)
            };
            if tid > 0 {
                self.note(tid, status);
                continue;
            }
            let now = Instant::now();
            if now >= until {
                // How long is known when all have been let go.
                let stood = Duration::ZERO;
                return Err(StopError::NotStopped { count: self.running.len(), stood });
            }
            if now >= suspicious {
                // The end of a first thread is not reported as long as there are others.
                let ended = |tid: &libc::pid_t| has_ended(tgid, *tid as u32);
                let gone: Vec<libc::pid_t> = self.running.iter().copied().filter(ended).collect();
                for tid in gone {
                    self.running.remove(&tid);
                    self.ended.insert(tid);
                }
                suspicious = now + SUSPICIOUS;
            }
            std::thread::sleep(NAP);
        }
        if self.standing.is_empty() { Err(StopError::Gone) } else { Ok(()) }
    }

    fn note(&mut self, tid: libc::pid_t, status: libc::c_int) {
        self.running.remove(&tid);
        if !libc::WIFSTOPPED(status) {
            self.standing.remove(&tid);
            self.ended.insert(tid);
            return;
        }
        // A stop that is no event's is that of a signal on its way to the thread, and withheld
        // until it is given back. That of a stop signal in effect is not to be given once more.
        let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
        self.standing.insert(tid, signal);
    }

    /// Registers of all threads that stand.
    fn registers(&self) -> (Vec<ThreadRegisters>, Vec<StackPointer>) {
        let mut all = Vec::with_capacity(self.standing.len());
        let mut pointers = Vec::with_capacity(self.standing.len());
        for tid in self.standing.keys() {
            let mut place = MaybeUninit::<libc::user_regs_struct>::zeroed();
            if request(libc::PTRACE_GETREGS, *tid, place.as_mut_ptr() as usize).is_err() {
                continue;
            }
            // SAFETY: was zeroed, and any bytes are a value of it.
            let r = unsafe { place.assume_init() };
            let tid = *tid as u32;
            let registers = vec![
                r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
                r.r13, r.r14, r.r15,
            ];
            all.push(ThreadRegisters { tid, registers, stack_pointer_avma: r.rsp });
            pointers.push(StackPointer {
                tid,
                avma: r.rsp,
                control_block_avma: Some(r.fs_base).filter(|base| *base != 0),
            });
        }
        (all, pointers)
    }

    /// Lets all threads go, each with the signal that was withheld from it. Those that do not stand
    /// are let go by the end of this thread.
    fn let_go(&mut self) {
        for (tid, signal) in std::mem::take(&mut self.standing) {
            let _ = request(libc::PTRACE_DETACH, tid, signal as usize);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Why a thread could not be taken hold of; nothing when it has ended.
fn refusal(tgid: u32, tid: u32, error: std::io::Error) -> Result<(), StopError> {
    if error.raw_os_error() == Some(libc::ESRCH) || has_ended(tgid, tid) {
        return Ok(());
    }
    match tracer_of(tgid, tid) {
        Some(tracer) => Err(StopError::TracedByOther { tracer }),
        None => Err(StopError::Permission(error.to_string())),
    }
}

fn has_ended(tgid: u32, tid: u32) -> bool {
    let path = format!("/proc/{tgid}/task/{tid}/stat");
    Stat::read_at(&path).map_or(true, |stat| stat.is_zombie())
}

/// The process that traces a thread.
pub fn tracer_of(tgid: u32, tid: u32) -> Option<u32> {
    let text = read_bounded(&format!("/proc/{tgid}/task/{tid}/status"), 64 << 10).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    let tracer: u32 = value.trim().parse().ok().filter(|tracer| *tracer != 0)?;
    // It is a thread that traces; people know its process.
    Some(Status::read(tracer).map_or(tracer, |status| status.tgid))
}

fn request(request: libc::c_uint, tid: libc::pid_t, data: usize) -> std::io::Result<()> {
    // SAFETY: requests that write to no memory of ours but, PTRACE_GETREGS, to the structure that
    // `data` points to, which the caller keeps.
    let result = unsafe { libc::ptrace(request, tid, 0_usize, data) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
