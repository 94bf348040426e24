//! What seccomp filters do on this kernel to threads that run into a probe: found by trying, in
//! a child of our own. Distributions carry the mend to older kernels, so no release tells.

use std::io;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_long};

/// The system calls that kernels make a thread do at probed places: `uretprobe` where a probed
/// function returns (6.11 and later), `uprobe` at the probed instruction (6.18 and later).
///
/// # Sources
/// Linux commits ff474a78cef5 (uretprobe) and cf6cb56ef244 (filters let it pass: 6.14, and the
/// stable kernels before); arch/x86/entry/syscalls/syscall_64.tbl; systemd issue 34615.
const PROBE_CALLS: [c_long; 2] = [335, 336];

/// What our filter answers: an error that neither call returns of itself.
const FILTER_ANSWER: c_int = libc::EXFULL;

/// Offset of the system call's number in `struct seccomp_data`, in bytes.
const NUMBER_OFFSET: u32 = 0;

/// What became of a call. The numbers are exit codes of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The kernel has no such call.
    Absent = 10,
    /// The filter answered it.
    Filtered = 11,
    /// It reached the kernel.
    Reached = 12,
}

/// Whether threads under a filter that does not know probes may be killed at them. Where that
/// cannot be found out the answer is yes.
///
/// # Cost
/// Up to four short-lived children the first time. The answer is the kernel's, so it is asked
/// once.
pub fn filters_stop_probes() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return *answer;
    }
    let answers: io::Result<Vec<bool>> = PROBE_CALLS.into_iter().map(filters_stop).collect();
    match answers {
        Ok(answers) => *ANSWER.get_or_init(|| answers.contains(&true)),
        // It could not be asked this time: for want of a process, say.
        Err(_) => true,
    }
}

fn filters_stop(call: c_long) -> io::Result<bool> {
    if fate_of(call, false)? == Fate::Absent {
        return Ok(false);
    }
    Ok(fate_of(call, true)? == Fate::Filtered)
}

/// Makes the call in a child, under a filter that answers it, or under none of ours.
fn fate_of(call: c_long, under_filter: bool) -> io::Result<Fate> {
    // SAFETY: the child makes plain system calls until it ends; it touches no lock and no heap,
    // which other threads of ours may have left in any state.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: in the child, which has but this thread.
        0 => unsafe { libc::_exit(call_and_tell(call, under_filter)) },
        _ => {}
    }
    let mut status: c_int = 0;
    loop {
        // SAFETY: waits for our own child; the kernel writes only `status`.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // Made from anywhere but a probe's return, `uretprobe` ends in this signal.
    if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGILL {
        return Ok(Fate::Reached);
    }
    let fates = [Fate::Absent, Fate::Filtered, Fate::Reached];
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    fates
        .into_iter()
        .find(|fate| code == Some(*fate as c_int))
        .ok_or_else(|| io::Error::other("the child could not set itself a filter"))
}

/// In the child: makes the call and returns the exit code that tells its fate.
///
/// # Safety
/// Only for a child that has one thread and ends with what is returned.
unsafe fn call_and_tell(call: c_long, under_filter: bool) -> c_int {
    // SAFETY: all of these are system calls; the filter outlives the one that reads it.
    unsafe {
        // No core dump, and no handler of ours.
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::signal(libc::SIGILL, libc::SIG_DFL);
        if under_filter && !filter(call) {
            return 1;
        }
        if libc::syscall(call) != -1 {
            return Fate::Reached as c_int;
        }
        let fate = match *libc::__errno_location() {
            FILTER_ANSWER => Fate::Filtered,
            libc::ENOSYS => Fate::Absent,
            _ => Fate::Reached,
        };
        fate as c_int
    }
}

/// Has [`FILTER_ANSWER`] given to every `call` of this thread from now on.
///
/// # Safety
/// As [`call_and_tell`]: a filter cannot be taken off again.
unsafe fn filter(call: c_long) -> bool {
    let step =
        |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER_OFFSET),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | FILTER_ANSWER as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: `program` and its steps live until both calls have returned.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, ptr::from_ref(&program))
                == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_stays_as_the_kernel_gave_it() {
        let asked = PROBE_CALLS.into_iter().any(|call| filters_stop(call).unwrap());
        assert_eq!(filters_stop_probes(), asked);
        assert_eq!(filters_stop_probes(), asked);
    }

    #[test]
    fn the_fates_are_told_apart() {
        const NO_CALL: c_long = 1_000_000;
        assert_eq!(fate_of(NO_CALL, false).unwrap(), Fate::Absent);
        assert_eq!(fate_of(NO_CALL, true).unwrap(), Fate::Filtered);
        assert_eq!(fate_of(libc::SYS_getpid, false).unwrap(), Fate::Reached);
        assert_eq!(fate_of(libc::SYS_getpid, true).unwrap(), Fate::Filtered);
        assert!(!filters_stop(NO_CALL).unwrap(), "what is not there cannot be stopped");
        assert!(filters_stop(libc::SYS_getpid).unwrap());
    }
}
