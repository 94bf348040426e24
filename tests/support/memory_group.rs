//! Control groups that bound the memory of a target.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group for memory below this process' own; gone with it.
pub struct Group(PathBuf);

impl Group {
    /// `None`, and said why, where none can be made: without version 1, or without the right to.
    pub fn new(what: &str, limit_bytes: i64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").expect("its groups");
        let own = own.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path);
        let Some(own) = own else {
            eprintln!("SKIPPED: no control groups of version 1 bound memory here");
            return None;
        };
        let name = format!("outlive-{what}-{}", std::process::id());
        let above = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
        let folder = above.join(name);
        if let Err(error) = fs::create_dir(&folder) {
            eprintln!("SKIPPED: {} cannot be made: {error}", folder.display());
            return None;
        }
        let group = Self(folder);
        let written = fs::write(group.0.join("memory.limit_in_bytes"), limit_bytes.to_string());
        match written {
            Ok(()) => Some(group),
            Err(error) => {
                eprintln!("SKIPPED: its limit cannot be set: {error}");
                None
            }
        }
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("move the target");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process may be on its way out.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
