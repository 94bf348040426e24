//! What the shell is told.

use super::model::{Report, Status};

/// Exit code: 0 done; 1 growth, when `fail_on_growth`; 3 inconclusive (too short, or lossy).
pub fn outcome(report: &Report, fail_on_growth: bool) -> u8 {
    match report.verdict.status {
        Status::Inconclusive => 3,
        Status::Growing if fail_on_growth => 1,
        Status::Growing | Status::Steady => 0,
    }
}
