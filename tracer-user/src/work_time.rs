//! How long the present thread has worked: what bounds must go by on machines that are busy with
//! other things.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Processor time of this thread since it began.
pub fn work_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
