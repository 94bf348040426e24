//! Unwind tables in real maps of the kernel: each file's once, and what does not fit is said.
#![allow(missing_docs)]

mod support;

use outlive::probe::{Limits, Probes, Settings};
use outlive::target::{TableKey, discover};
use outlive::{plan, unwind};
use support::{Target, c_target, may_trace};

/// Loads the kernel side for a target that waits; the codes of the warnings, and which tables are
/// missing afterwards.
fn load(limits: Limits) -> Option<(Vec<&'static str>, Vec<TableKey>)> {
    if !may_trace() {
        return None;
    }
    let target = Target::spawn::<&str>(c_target("hold"), &[]);
    let (discovered, _) = loop {
        let (discovered, warnings) = discover(target.pid()).expect("discover");
        if plan::make(&discovered, true).is_ok() {
            break (discovered, warnings);
        }
        std::thread::yield_now();
    };
    let (plan, _) = plan::make(&discovered, true).expect("plan");
    let mut keys: Vec<TableKey> = plan.code_ranges.iter().filter_map(|range| range.table).collect();
    keys.sort();
    keys.dedup();
    assert!(keys.len() >= 4, "program, libc, loader and vdso: {keys:?}");
    let (tables, warnings) = unwind::tables_of(&discovered, &keys);
    assert!(warnings.is_empty(), "{warnings:?}");
    let settings = Settings { limits, target_tgid: target.pid(), ..Settings::default() };
    let (mut probes, warnings) = Probes::load(settings, &plan, &tables).expect("load");
    let missing = probes.missing_tables(&plan.code_ranges);
    // Once more, as after a look at the mappings: nothing is added, so nothing can be too much.
    assert_eq!(probes.set_code_ranges(target.pid(), &plan.code_ranges, &tables), Vec::new());
    Some((warnings.iter().map(|warning| warning.code).collect(), missing))
}

#[test]
fn tables_fit_and_are_there_once() {
    let Some((warnings, missing)) = load(Limits::default()) else { return };
    assert_eq!((warnings, missing), (Vec::new(), Vec::new()));
}

#[test]
fn tables_that_do_not_fit_are_said_and_not_asked_for_again() {
    // libc alone has more.
    let limits = Limits { max_rows: 10_000, ..Limits::default() };
    let Some((warnings, missing)) = load(limits) else { return };
    assert_eq!((warnings, missing), (vec!["unwind-table-full"], Vec::new()));
}
