//! What reports say about several processes.

use super::{Amount, Report, python_frames};
use serde_json::Value;

impl Report {
    /// The row of a process.
    pub fn process(&self, pid: u64) -> &Value {
        let rows = self.0["processes"].as_array().expect("processes is a list");
        let row = rows.iter().find(|row| row["pid"] == pid);
        row.unwrap_or_else(|| panic!("no process {pid} in {rows:#?}"))
    }

    /// Live bytes and blocks of a process whose innermost Python frame is this one.
    pub fn held_by(&self, pid: u64, function: &str, line: u64) -> Amount {
        let mut held = Amount::default();
        for site in self.sites().iter().filter(|site| site["pid"] == pid) {
            let frames = python_frames(site);
            if frames.first().is_some_and(|(name, _, at)| name == function && *at == line) {
                held.bytes += site["live_bytes"].as_u64().expect("bytes");
                held.blocks += site["live_blocks"].as_u64().expect("blocks");
            }
        }
        held
    }

    /// The totals are the sums over the rows of processes, and over what has no stack.
    pub fn assert_processes_add_up(&self) {
        let rows = self.0["processes"].as_array().expect("processes is a list");
        let nobodys = self.sites().iter().filter(|site| site["pid"].is_null());
        for field in ["live_bytes", "live_blocks", "allocated_bytes", "freed_blocks"] {
            let of = |value: &Value| value[field].as_u64().expect("a number");
            let sum = rows.iter().chain(nobodys.clone()).map(of).sum::<u64>();
            assert_eq!(sum, self.total(field), "{field}");
        }
    }
}
