//! A command that the kernel side stops when it has loaded libraries: whatever happens here, it
//! goes on.

use super::guardian::Guardian;

/// Continues a stopped command; once more when dropped, so that no error leaves it stopped. When
/// outlive is killed its guardian does the same.
#[derive(Debug)]
pub struct Held {
    tgid: u32,
    /// No more stops can come.
    is_over: bool,
    _guardian: Option<Guardian>,
}

impl Held {
    /// Of the command `tgid`, our child.
    pub fn new(tgid: u32, guardian: Option<Guardian>) -> Self {
        Self { tgid, is_over: false, _guardian: guardian }
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        let Ok(pid) = libc::pid_t::try_from(self.tgid) else { return };
        // SAFETY: takes two numbers. The process is our child and has not been waited for, so its
        // number is still its own.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }

    /// All its stops are over.
    pub fn end(&mut self) {
        self.is_over = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_over {
            self.go_on();
        }
    }
}
