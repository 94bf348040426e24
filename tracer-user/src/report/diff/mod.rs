//! Two recordings compared, or two moments of one: what each place in the code held then and
//! holds now. Places are matched by their stacks as people read them, never by addresses, so that
//! restarts, other machines and rebuilt programs are no obstacle.

mod build;
#[cfg(test)]
mod error_tests;
mod errors;
mod flame;
mod matching;
mod model;
mod moment;
pub(super) mod name;
#[cfg(test)]
mod tests;
mod text;

pub use build::{Side, compare};
pub use flame::{folded, svg};
pub use model::*;
pub use moment::{Moment, MomentError};
pub use text::render as text;

/// The first `limit` places as JSON, described in docs/diff-schema.md.
pub fn json(diff: &Diff, limit: Option<usize>) -> String {
    let mut shown = diff.clone();
    shown.sites.truncate(limit.unwrap_or(usize::MAX));
    shown.sites_left_out = (diff.sites.len() - shown.sites.len()) as u64;
    // Only maps with keys that are no strings can fail, and there are none.
    let mut text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    text.push('\n');
    text
}

/// Exit code: 0 done; where a bound is set, 1 when live bytes grew by more than that, and 3 when
/// the numbers prove nothing: something was lost on either side, or they grew by more than the bound
/// only as far as their error allows.
pub fn outcome(diff: &Diff, fail_above_bytes: Option<u64>) -> u8 {
    let Some(bound_bytes) = fail_above_bytes else { return 0 };
    if !diff.before.lossy.is_empty() || !diff.after.lossy.is_empty() {
        return 3;
    }
    let grew_bytes = u64::try_from(diff.totals.change_bytes).unwrap_or(0);
    let surely_bytes = grew_bytes.saturating_sub(diff.totals.change_bytes_error.unwrap_or(0));
    match (grew_bytes > bound_bytes, surely_bytes > bound_bytes) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 3,
    }
}
