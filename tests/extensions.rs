//! What real extension modules allocate is charged to the Python line that calls them, through
//! their native frames, on the system's own interpreter.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::venv::venv;
use support::{Outlive, Report, Target, may_trace, tests_dir};

/// What was watched, and what the target says about itself.
struct Watched {
    report: Report,
    truth: Value,
}

impl Watched {
    fn truth_bytes(&self, name: &str) -> f64 {
        self.truth[name].as_f64().expect("a number of bytes")
    }

    /// Whether a frame is the line that keeps what the extension makes.
    fn is_the_line(&self, frame: &Value) -> bool {
        ["function", "file", "line"].iter().all(|name| frame[*name] == self.truth[*name])
    }

    /// Sites below the line, each with the frames between the allocator and the line.
    fn sites(&self) -> Vec<(&Value, &[Value])> {
        let inner_frames = |site: &'_ Value| -> Option<usize> {
            let frames = site["frames"].as_array()?;
            frames.iter().position(|frame| self.is_the_line(frame))
        };
        let sites = self.report.sites().iter();
        sites
            .filter_map(|site| {
                let frames = site["frames"].as_array()?;
                inner_frames(site).map(|line| (site, &frames[..line]))
            })
            .collect()
    }

    fn live(&self, field: &str) -> f64 {
        self.sites().iter().map(|(site, _)| site[field].as_f64().expect("a number")).sum()
    }
}

fn watch(case: &str) -> Option<Watched> {
    if !may_trace() {
        return None;
    }
    let python = venv("OUTLIVE_VENV_EXTENSIONS", "venv-extensions", "extensions");
    let script = tests_dir().join("targets/extensions/keep.py");
    let mut target = Target::spawn(python, &[script.as_os_str(), case.as_ref()]);
    target.line();
    let outlive = Outlive::attach(target.pid()).start();
    target.go();
    let truth = target.json();
    // Some ticks more, so that there is a rate to judge.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let finished = outlive.stop();
    finished.assert_done();
    assert!(target.finish().success(), "{case} was harmed");
    let report = finished.report();
    report.assert_no_losses();
    Some(Watched { report, truth })
}

/// What glibc adds to a request at most: a header, and rounding up to its smallest chunk.
const MAX_CHUNK_OVERHEAD: f64 = 24.0;

/// All blocks are charged to the line; all stacks are whole; and `module` is in them.
fn check(case: &str, module: &str) -> Option<Watched> {
    let watched = watch(case)?;
    let held = watched.truth_bytes("allocated_bytes");
    let (found, blocks) = (watched.live("live_bytes"), watched.live("live_blocks"));
    assert!(
        found <= held && held <= found + MAX_CHUNK_OVERHEAD * blocks,
        "{case}: glibc says {held}, {found} in {blocks} blocks were charged to the line"
    );
    let mut through = 0.0;
    for (site, inner) in watched.sites() {
        assert!(site["truncated"].is_null(), "{case}: cut: {site:#}");
        let is_its = |frame: &Value| {
            frame["kind"] == "native"
                && frame["module"].as_str().is_some_and(|m| m.contains(module))
        };
        if inner.iter().any(is_its) {
            through += site["live_bytes"].as_f64().expect("bytes");
        }
    }
    assert!(through > 0.5 * found, "{case}: {through} of {found} bytes went through {module}");
    Some(watched)
}

#[test]
fn numpy_arrays_are_charged_to_the_line() {
    check("numpy", "_multiarray_umath");
}

#[test]
fn pillow_images_are_charged_to_the_line() {
    check("pillow", "_imaging");
}

#[test]
fn lxml_trees_are_charged_to_the_line() {
    check("lxml", "etree");
}

#[test]
fn orjson_documents_are_charged_to_the_line() {
    check("orjson", "orjson");
}

#[test]
fn cryptography_keys_are_charged_to_the_line() {
    check("cryptography", "_rust");
}

#[test]
fn a_context_per_session_is_charged_to_the_line_with_its_share_of_resident_memory() {
    let Some(watched) = check("ssl", "libcrypto") else { return };
    let memory = &watched.report.0["memory"];
    let resident = |when: &str| memory[when]["resident_bytes"].as_f64().expect("bytes");
    let growth = resident("last") - resident("first");
    let told = watched.truth_bytes("resident_bytes");
    assert!((growth - told).abs() < 0.2 * told, "grew by {growth}, the target says {told}");
    let share = watched.report.0["sites"]
        .as_array()
        .expect("sites")
        .iter()
        .filter(|site| {
            site["frames"].as_array().is_some_and(|f| f.iter().any(|f| watched.is_the_line(f)))
        })
        .map(|site| site["share_of_resident_growth"].as_f64().expect("a share"))
        .sum::<f64>();
    let expected = watched.live("live_bytes") / growth;
    assert!((share - expected).abs() < 0.01, "share {share}, expected {expected}");
    assert!(share > 0.6 && share < 1.1, "{share}");
}
