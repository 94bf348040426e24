//! Whether this kernel takes outlive's programs: found by loading them, since no release and no
//! switch tells what a verifier accepts.

use super::{Check, Health};
use crate::probe::{self, ProbeError};

/// Instructions after which the kernel's verifier gives up on a program.
const VERIFIER_LIMIT: u32 = 1_000_000;

/// Share of [`VERIFIER_LIMIT`] above which the next kernel may well refuse.
const NARROW_PERCENT: u32 = 90;

const NAME: &str = "programs";

/// Loads every program, and lets go of it. Nothing is tried where an earlier check failed: that
/// one says why.
pub(super) fn check(earlier: &[Check]) -> Option<Check> {
    if super::worst(earlier) == Health::Fail {
        return None;
    }
    Some(match probe::load_every_program() {
        Ok(programs) => {
            let most = programs
                .first()
                .and_then(|program| Some((program.name.as_str(), program.verified_count?)));
            accepted(programs.len(), most)
        }
        Err(error) => Check::new(NAME, Health::Fail, refused(&error), "Use Linux 6.1 or later."),
    })
}

/// `most` is the program that was hardest to verify, and how many instructions that took.
fn accepted(count: usize, most: Option<(&str, u32)>) -> Check {
    let detail = format!("the kernel takes all {count} programs");
    let Some((name, verified)) = most else { return Check::new(NAME, Health::Ok, detail, "") };
    let percent = u64::from(verified) * 100 / u64::from(VERIFIER_LIMIT);
    let narrow = percent >= u64::from(NARROW_PERCENT);
    Check::new(
        NAME,
        if narrow { Health::Warn } else { Health::Ok },
        format!("{detail}; {name} takes the most work to verify, {percent} % of the limit"),
        "It works. A later kernel may count otherwise and refuse: tell outlive's authors.",
    )
}

/// One line: the verifier's log has thousands, and `outlive attach` shows it.
fn refused(error: &ProbeError) -> String {
    let (what, reason) = match error {
        ProbeError::Program { program, reason } => (format!("the program {program}"), reason),
        ProbeError::Refused(reason) => ("outlive's maps or programs".to_owned(), reason),
        other => return other.to_string(),
    };
    format!("the kernel refuses {what}: {}", reason.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_told() {
        assert_eq!(accepted(18, None).status, Health::Ok);
        let check = accepted(18, Some(("malloc_return", 450_000)));
        assert_eq!((check.status, check.detail.contains("45 %")), (Health::Ok, true), "{check:?}");
        assert_eq!(accepted(18, Some(("malloc_return", 900_001))).status, Health::Warn);
    }

    #[test]
    fn a_refusal_is_one_line() {
        let reason = "permission denied\n0: R1=ctx()\nR1 !read_ok".to_owned();
        let error = ProbeError::Program { program: "free_enter".into(), reason };
        assert_eq!(refused(&error), "the kernel refuses the program free_enter: permission denied");
    }
}
