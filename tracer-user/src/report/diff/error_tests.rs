//! What comparisons say of the error of sampled sides.

use super::tests::{after_s, compared};
use super::*;
use crate::capture::{Recording, Regime};
use crate::report::tests::recording;
use crate::stack::StackId;
use crate::tick::{SiteReading, Tick};

/// A recording with one draw in 64 KiB on average, in which the leak has `kib` more, as 16 blocks that
/// were drawn by chance.
fn sampled(kib: u64) -> Recording {
    let mut recording = recording(20, false);
    let regime = Regime { sample_mean_bytes: 64 << 10, ..Regime::default() };
    recording.meta.regimes = vec![regime];
    let mut tick = Tick { at_ns: 20_000_000_000, ..Tick::default() };
    tick.sites.push(SiteReading {
        stack: StackId(0xa1),
        epoch: 3,
        allocated_bytes: kib << 10,
        allocated_blocks: kib,
        freed_bytes: 0,
        freed_blocks: 0,
        // Of 64 KiB, squared, a block.
        allocated_variance: 16 * 65_536,
        freed_variance: 0,
    });
    recording.aggregate.apply(&tick);
    recording
}

#[test]
fn changes_of_sampled_sides_say_their_error() {
    let (exact, sampled) = (recording(20, false), sampled(1024));
    let diff = compared(&exact, Moment::End, &sampled, Moment::End);
    let error = diff.sites[0].change_bytes_error.expect("sampled");
    // 1.96 times four draws, and what may have been missed.
    assert!((502 << 10..800 << 10).contains(&error), "{error}");
    assert_eq!(diff.before.live_bytes_error, None);
    assert!(diff.after.live_bytes_error.is_some_and(|all| all > error / 2));
    let shown = text(&diff, false, None);
    assert!(shown.starts_with("+1.0 MiB ± ") && shown.contains("1. +1.0 MiB ± "), "{shown}");
    // Both sides are wrong by something.
    let both = compared(&sampled, after_s(19), &sampled, Moment::End);
    assert!(both.sites[0].change_bytes_error.is_some_and(|both| both > error));
    // Before the first tick nothing is known to have been live.
    let whole = compared(&sampled, Moment::Start, &sampled, Moment::End);
    assert_eq!(whole.before.live_bytes_error, Some(0));
    let plain = compared(&exact, Moment::Start, &exact, Moment::End);
    assert!(plain.sites.iter().all(|site| site.change_bytes_error.is_none()));
    assert!(!text(&plain, false, None).contains('±'));
}

#[test]
fn growth_that_may_be_an_error_is_inconclusive() {
    let exact = recording(20, false);
    let code = |kib, bound_kib: u64| {
        outcome(&compared(&exact, Moment::End, &sampled(kib), Moment::End), Some(bound_kib << 10))
    };
    assert_eq!(code(1024, 1024), 0, "not more than the bound");
    assert_eq!(code(1024, 900), 3, "more, but within the error");
    assert_eq!(code(1024, 10), 1, "more by far");
}
