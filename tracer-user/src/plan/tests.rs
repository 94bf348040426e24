//! Plans of real programs, and of what must be refused.

use super::*;
use crate::target::discover;
use std::process::{Child, Command};

struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `sleep` that has mapped its libc.
fn sleeping() -> (Running, Target) {
    let child = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let start = std::time::Instant::now();
    loop {
        if let Ok((target, _)) = discover(child.0.id())
            && target.cmdline.first().is_some_and(|name| name == "sleep")
            && target.files.values().any(|file| file.name().starts_with("libc."))
        {
            return (child, target);
        }
        assert!(start.elapsed().as_secs() < 10, "sleep does not start");
        std::thread::yield_now();
    }
}

#[test]
fn names_in_a_plan_cannot_steer_a_terminal() {
    let (_child, target) = sleeping();
    let (mut plan, _) = make(&target, true).unwrap();
    for point in &mut plan.points {
        point.display_path = "/tmp/\u{1b}[2Jlibc.so\nmine".into();
        point.symbols = vec!["mal\u{9b}loc".into()];
    }
    let text = render_text(&plan);
    assert!(text.lines().any(|line| line == "/tmp/?[2Jlibc.so?mine"), "{text:?}");
    assert!(text.contains("  mal?loc "), "{text:?}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn a_dynamic_program_is_probed_in_its_libc_and_nowhere_else() {
    let (_child, target) = sleeping();
    let (plan, warnings) = make(&target, true).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    for function in [
        Function::Malloc,
        Function::Calloc,
        Function::Realloc,
        Function::Free,
        Function::PosixMemalign,
        Function::Mmap,
        Function::Munmap,
        Function::Brk,
    ] {
        assert!(plan.points.iter().any(|point| point.function == function), "{function:?}");
    }
    assert!(plan.points.iter().all(|point| point.display_path.to_string_lossy().contains("libc")));
    let mut places: Vec<_> = plan.points.iter().map(|point| point.function_offset).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), plan.points.len());
    for point in &plan.points {
        assert!(point.probe_offset >= point.function_offset);
        if matches!(
            point.function,
            Function::Malloc | Function::Free | Function::Calloc | Function::Realloc
        ) {
            assert!(point.emulated, "{point:?}");
        }
    }
    let text = render_text(&plan);
    assert!(text.contains("malloc") && text.contains("entry+return"));
    assert!(serde_json::to_string(&view(&plan)).unwrap().contains("\"probe_offset\""));
}

#[test]
fn mappings_are_left_out_unless_asked_for() {
    let (_child, target) = sleeping();
    let (plan, _) = make(&target, false).unwrap();
    assert!(plan.points.iter().all(|point| !point.function.is_mapping()));
}

#[test]
fn a_target_without_an_allocator_is_refused_in_a_sentence() {
    let (_child, mut target) = sleeping();
    target.files.clear();
    let error = make(&target, true).unwrap_err();
    assert!(error.to_string().contains("static program without symbols"), "{error}");
}

#[test]
fn a_sandboxed_target_is_refused_where_probes_kill_it() {
    let (_child, mut target) = sleeping();
    target.seccomp_stops_probes = true;
    let error = make(&target, true).unwrap_err();
    assert!(matches!(error, PlanError::SeccompKills { pid, .. } if pid == target.tgid), "{error}");
    target.seccomp_stops_probes = false;
    assert!(make(&target, true).is_ok());
}

#[test]
fn the_loader_is_told_from_a_libc() {
    for (name, is_loader) in [
        ("ld-linux-x86-64.so.2", true),
        ("ld-2.31.so", true),
        ("ld-musl-x86_64.so.1", false),
        ("libc.so.6", false),
    ] {
        assert_eq!(allocator::is_dynamic_loader(name), is_loader, "{name}");
    }
}
