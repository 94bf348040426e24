//! The second Ctrl-C: whoever insists while a session is being finished gets the end at once,
//! without a report. What the kernel holds for us goes with the process.

use crate::stderr::say;
use std::{io::IsTerminal as _, thread, time::Duration};

/// Signals this soon after the end began are still the first: timeout(1) sends its signal to the
/// process and to its group, and so it comes twice.
const STILL_THE_FIRST: Duration = Duration::from_millis(500);

/// From now on, or nearly, the signals that end a session end this process.
pub fn listen() {
    thread::spawn(|| {
        thread::sleep(STILL_THE_FIRST);
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: the default disposition has no handler that could be wrong; the handler that
            // it replaces only writes to a pipe that stays open.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        if std::io::stderr().is_terminal() {
            say("finishing; press Ctrl-C again to end without a report");
        }
    });
}
