//! How long threads of a target have to wait because probes are placed and taken out, by their own
//! account.
#![allow(missing_docs)]

mod support;

use std::time::Duration;
use support::{Outlive, Target, c_target, may_trace};

const THREADS: &str = "64";
/// The most that attaching or detaching may add to the longest step that a thread has anyway.
const MOST: Duration = Duration::from_millis(5);
/// Attempts, as a neighbour on the machine may hold one up.
const ROUNDS: u32 = 6;

/// The longest step since the last time.
fn longest(target: &mut Target) -> Duration {
    target.go();
    Duration::from_nanos(target.json()["bursting_ns"].as_u64().expect("nanoseconds"))
}

/// What a round showed: without probes, while attaching, while detaching.
fn round(target: &mut Target) -> [Duration; 3] {
    longest(target);
    std::thread::sleep(Duration::from_secs(1));
    let before = longest(target);
    let outlive = Outlive::attach(target.pid()).start();
    let attaching = longest(target);
    std::thread::sleep(Duration::from_millis(500));
    let watching = longest(target);
    outlive.stop().assert_done();
    let detaching = longest(target);
    std::thread::sleep(Duration::from_secs(1));
    let after = longest(target);
    eprintln!(
        "without {before:?} and {after:?}, attaching {attaching:?}, watching {watching:?}, detaching {detaching:?}"
    );
    [before.max(watching).max(after), attaching, detaching]
}

/// The threads are scheduled before the machine's other work, so that it is not measured instead.
#[test]
fn no_thread_waits_long_while_probes_come_and_go() {
    if !may_trace() {
        return;
    }
    let mut target = Target::spawn(c_target("gaps"), &[THREADS, "0", "fifo"]);
    let (mut attaches, mut detaches) = (false, false);
    for _ in 0..ROUNDS {
        let [anyway, attaching, detaching] = round(&mut target);
        attaches |= attaching <= anyway + MOST;
        detaches |= detaching <= anyway + MOST;
        // A machine that stalls by itself shows nothing.
        let is_quiet = anyway < MOST;
        if attaches && detaches && is_quiet {
            assert!(target.finish().success(), "the target was harmed");
            return;
        }
    }
    panic!(
        "in none of {ROUNDS} rounds did a quiet machine show attaching ({attaches}) and detaching ({detaches}) within {MOST:?}"
    );
}
