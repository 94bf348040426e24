//! While a probe is placed or removed the kernel holds locks that threads of the target wait for.
//! On a machine that has other work whoever holds them may have to give up its processor: so this
//! thread goes before ordinary ones meanwhile.

/// Above the lowest real-time priority, which targets may have themselves; below that of interrupts.
const PRIORITY: i32 = 5;

/// As long as it lives, this thread is scheduled before all ordinary ones, where that is permitted.
/// It belongs around what sleeps or is done in microseconds.
pub struct Urgency {
    raised: bool,
}

impl Urgency {
    /// From now on. A thread that somebody gave another policy keeps it.
    pub fn begin() -> Self {
        // SAFETY: asks about this thread alone.
        let is_ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        // Children are ordinary again.
        let raised = is_ordinary && set(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, PRIORITY);
        Self { raised }
    }
}

impl Drop for Urgency {
    fn drop(&mut self) {
        if self.raised {
            set(libc::SCHED_OTHER, 0);
        }
    }
}

fn set(policy: i32, priority: i32) -> bool {
    // SAFETY: all zeros is a value of this plain structure.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the structure outlives the call, which is about this thread alone.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_ordinary_again_when_it_ends() {
        let policy = || {
            // SAFETY: asks about this thread alone.
            unsafe { libc::sched_getscheduler(0) }
        };
        assert_eq!(policy(), libc::SCHED_OTHER);
        let urgency = Urgency::begin();
        assert_eq!(policy() != libc::SCHED_OTHER, urgency.raised);
        drop(urgency);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
