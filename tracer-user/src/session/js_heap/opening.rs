//! How an inspector comes to listen: it does already, or a signal is sent, or the command that was
//! started brings it; and the wait for that.

use super::{
    asker::Asker,
    left_open::Note,
    order::{Told, Way},
    permission::Permission,
};
use crate::{
    runtime::node::inspector::{self, Endpoint, Options},
    session::descriptor::pidfd,
    target::status::Status,
};
use std::{
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

/// How long an inspector that was asked for may take to listen, before that is said.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// The same of a command, whose Node must start first, with every allocation probed.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// Time between two looks whether it listens.
const OPENING_PERIOD: Duration = Duration::from_millis(100);
/// And when it takes long.
const LATE_PERIOD: Duration = Duration::from_millis(500);

impl Asker<'_> {
    /// An inspector that listens; `None` where there is none to be had.
    pub(super) fn open(&mut self) -> Option<Endpoint> {
        let tgid = self.order.target.tgid;
        if let Some(found) = self.find() {
            self.way = Some(match self.order.permission {
                Permission::Launched(_) => Way::Launched,
                _ => Way::Listening,
            });
            if self.way == Some(Way::Launched) {
                self.take_note();
                self.note.iter_mut().for_each(|note| note.is_open(found.address.port()));
            }
            return Some(found);
        }
        match self.order.permission.clone() {
            Permission::NotAsked => None,
            Permission::Refused(warning) => {
                self.tell(Told::Less(warning));
                None
            }
            Permission::Signal => {
                self.take_note();
                if let Err(reason) = self.signal() {
                    self.less(
                        "js-heap-signal-failed",
                        format!("SIGUSR1 could not be sent to process {tgid} ({reason})."),
                        "",
                    );
                    self.forget_note();
                    return None;
                }
                self.way = Some(Way::Signal);
                self.wait_for_inspector()
            }
            Permission::Launched(_) => {
                self.way = Some(Way::Launched);
                self.take_note();
                self.wait_for_inspector()
            }
        }
    }

    fn find(&self) -> Option<Endpoint> {
        let tgid = self.order.target.tgid;
        inspector::find(tgid, &Options::of(tgid), self.before.as_deref())
    }

    fn take_note(&mut self) {
        let before = match self.way {
            // It was there as soon as anything.
            Some(Way::Launched) => Vec::new(),
            _ => inspector::listening(self.order.target.tgid),
        };
        let note = Note::write(self.order.target.tgid, &before);
        self.before = Some(before);
        match note {
            Ok(note) => self.note = Some(note),
            Err(error) => self.less(
                "js-heap-not-noted",
                format!("It cannot be noted in /run/outlive that the inspector is opened ({error}): should outlive be killed, nobody will close it."),
                "",
            ),
        }
    }

    pub(super) fn forget_note(&mut self) {
        if let Some(note) = self.note.take() {
            note.remove();
        }
    }

    fn signal(&self) -> Result<(), String> {
        let target = &self.order.target;
        let process = pidfd(target.tgid).map_err(|error| error.to_string())?;
        let process = process.filter(|_| target.is_alive()).ok_or("it has ended")?;
        // An exec since it was judged leaves the signal to the kernel, which would kill.
        let status = Status::read(target.tgid);
        if !status.is_ok_and(|status| status.handles(libc::SIGUSR1 as u32)) {
            return Err("it does not handle the signal any more".to_owned());
        }
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a system call on a descriptor of ours; it reads nothing through the null pointer.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                libc::SIGUSR1,
                no_info,
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().to_string()) }
    }

    /// Waits until it listens, to the session's end if it must be.
    fn wait_for_inspector(&mut self) -> Option<Endpoint> {
        let tgid = self.order.target.tgid;
        let asked = Instant::now();
        let mut said = false;
        loop {
            if let Some(found) = self.find() {
                self.note.iter_mut().for_each(|note| note.is_open(found.address.port()));
                return Some(found);
            }
            if !self.order.target.is_alive() {
                self.forget_note();
                return None;
            }
            // It was asked for and is about to open: who goes now leaves it open. A session has a
            // report to write, and is not kept waiting.
            let is_about_to_open = !self.order.samples && asked.elapsed() < OPENS_WITHIN;
            let was_asked_for_end = self.finish.is_some();
            if was_asked_for_end && !is_about_to_open {
                let advice = "Should it open after all, the next start of outlive closes it.";
                self.less(
                    "js-heap-not-opened",
                    format!("The inspector of process {tgid} did not open while outlive watched."),
                    advice,
                );
                return None;
            }
            let within = match self.way {
                Some(Way::Launched) => STARTS_WITHIN,
                _ => OPENS_WITHIN,
            };
            if !said && asked.elapsed() >= within {
                said = true;
                let message = match self.way {
                    Some(Way::Launched) => format!(
                        "No inspector of process {tgid} listens after {} s: it runs no Node yet, or one that takes no NODE_OPTIONS. Its memory outside the JavaScript heap is followed all the same.",
                        within.as_secs()
                    ),
                    _ => format!(
                        "The inspector of process {tgid} does not listen {} s after it was asked for: the program's main thread is busy in native code (a synchronous call such as execSync), or stopped. Its memory outside the JavaScript heap is followed all the same, and the heap from when it opens.",
                        within.as_secs()
                    ),
                };
                self.less("js-heap-late", message, "");
            }
            self.listen_for(if said { LATE_PERIOD } else { OPENING_PERIOD });
        }
    }
}
