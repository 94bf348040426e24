//! When to read the target's address space again, so that code which was mapped since is walked and
//! named within a tick, at little cost for a target with very many mappings.

use std::time::{Duration, Instant};

/// Reading takes at most one part in this many of the time.
const TIME_SHARE: u32 = 100;

/// Remembers how large the address space was, and what reading it took.
#[derive(Debug)]
pub struct AddressSpace {
    tgid: u32,
    pages: Option<u64>,
    not_before: Instant,
}

impl AddressSpace {
    /// Of process `tgid`, whose address space has just been read.
    pub fn new(tgid: u32) -> Self {
        Self { tgid, pages: total_pages(tgid), not_before: Instant::now() }
    }

    /// Whether something may have been mapped or unmapped since the last reading. `is_known`: there
    /// is no need to ask, a stack has shown that something was.
    ///
    /// # Cost
    /// Some 20 microseconds, whatever is mapped; reading the mappings takes 0.1 ms for 40 of them
    /// and 50 ms for 20,000. The kernel keeps the size of an address space at hand, and whoever
    /// maps a library changes it. What leaves it as it is (the change of a page's permissions) is noticed
    /// when a stack leads there.
    pub fn may_have_changed(&self, is_known: bool) -> bool {
        Instant::now() >= self.not_before && (is_known || total_pages(self.tgid) != self.pages)
    }

    /// Reads, by `read`, what has to be read whatever it takes: the target waits for it. It is rare,
    /// and may open libraries that are new, so that it says nothing of what the next one will take.
    pub fn reading_at_any_cost<T>(&mut self, read: impl FnOnce() -> T) -> T {
        self.pages = total_pages(self.tgid);
        read()
    }

    /// Reads, by `read`, and takes the time.
    pub fn reading<T>(&mut self, read: impl FnOnce() -> T) -> T {
        // Before: what changes meanwhile is a reason to read once more.
        self.pages = total_pages(self.tgid);
        let began = Instant::now();
        let answer = read();
        let took = began.elapsed().min(Duration::from_secs(1));
        self.not_before = Instant::now() + took * TIME_SHARE;
        answer
    }
}

/// Pages of the address space, mapped or not (statm, proc_pid_statm(5)).
fn total_pages(tgid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{tgid}/statm")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_noticed_once() {
        use std::io::{BufRead as _, BufReader, Write as _};
        use std::process::{Command, Stdio};
        // It has mapped all it will once it has echoed a line.
        let mut cat =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let early = AddressSpace::new(cat.id());
        cat.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        BufReader::new(cat.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        let mut space = AddressSpace { pages: Some(1), ..early };
        assert!(space.may_have_changed(false));
        space.reading(|| ());
        space.not_before = Instant::now();
        assert!(!space.may_have_changed(false), "nothing was mapped since");
        assert!(space.may_have_changed(true), "a stack shows that something was");
        space.reading(|| std::thread::sleep(Duration::from_millis(50)));
        space.pages = Some(1);
        assert!(!space.may_have_changed(true), "it was dear, so it has to wait");
        cat.kill().unwrap();
        cat.wait().unwrap();
    }
}
