//! Goes before other work of the machine for a moment: as long as a process is stopped, it waits for
//! us, and on a busy machine it would wait for all the others too.

/// As urgent as may be asked for (setpriority(2)).
const URGENT: libc::c_int = -20;

/// The calling thread goes first, until dropped, and so do threads that it starts meanwhile, until
/// they end. Where that is not allowed nothing changes.
///
/// It runs in real time, as far as that is allowed: a nice value counts within one session or
/// control group only, whose share of the machine stays what it is (sched(7), "The autogroup
/// feature"). So nothing that holds one may compute for longer than a stop is allowed to be.
#[derive(Debug)]
pub struct Urgent {
    nice: libc::c_int,
    policy: libc::c_int,
    parameters: libc::sched_param,
}

impl Urgent {
    /// From now on.
    pub fn begin() -> Self {
        // SAFETY: all take numbers, where 0 is the calling thread, and a structure that is there
        // during the call, of which any bytes are a value.
        unsafe {
            let nice = libc::getpriority(libc::PRIO_PROCESS, 0);
            let policy = libc::sched_getscheduler(0);
            let mut parameters: libc::sched_param = std::mem::zeroed();
            libc::sched_getparam(0, &raw mut parameters);
            libc::setpriority(libc::PRIO_PROCESS, 0, URGENT);
            if policy != libc::SCHED_FIFO {
                let mut first: libc::sched_param = std::mem::zeroed();
                first.sched_priority = libc::sched_get_priority_min(libc::SCHED_FIFO);
                libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first);
            }
            Self { nice, policy, parameters }
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            if self.policy >= 0 {
                libc::sched_setscheduler(0, self.policy, &raw const self.parameters);
            }
            libc::setpriority(libc::PRIO_PROCESS, 0, self.nice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (libc::c_int, libc::c_int) {
        // SAFETY: both take numbers only; 0 is the calling thread.
        unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) }
    }

    #[test]
    fn a_thread_is_as_it_was_afterwards_and_those_it_starts_begin_urgent() {
        let before = state();
        {
            let _urgent = Urgent::begin();
            let (policy, nice) = state();
            let inner = std::thread::spawn(|| {
                let before = state();
                drop(Urgent::begin());
                (before, state())
            });
            assert_eq!(inner.join().unwrap(), ((policy, nice), (policy, nice)));
            // SAFETY: takes nothing and returns a number.
            if unsafe { libc::geteuid() } == 0 {
                assert_eq!(nice, URGENT);
            }
        }
        assert_eq!(state(), before);
    }
}
