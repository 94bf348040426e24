//! Looks at real processes.

use super::*;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// One look without a stop, for so many types.
pub(super) fn wanted(pid: u32, types: usize) -> HeapLook {
    HeapLook {
        pid,
        window: None,
        max_stop: None,
        hide_keys: false,
        js_retainers: None,
        types,
        holders: Vec::new(),
        out: None,
        progress: false,
    }
}

#[test]
fn what_the_first_look_found_is_kept_when_the_process_ends_before_the_second() {
    for is_noticed_by_the_wait in [true, false] {
        let mut child = Command::new("python3")
            .args(["-c", "class Kept: pass\nkept = [Kept() for _ in range(3210)]\nprint(1, flush=True)\ninput()"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let wanted = HeapLook {
            window: Some(Duration::from_secs(60)),
            max_stop: Some(Duration::from_secs(5)),
            ..wanted(child.id(), 20)
        };
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line when all are kept");
        let (target, _) = target::discover(child.id()).expect("a process");
        let (runtime, warnings) = cpython::detect(&target);
        let runtime = runtime.expect("a CPython");
        let mut session = Session::new(wanted, target, &runtime, &warnings);
        let mut look = Look::default();
        session.look_first(&mut look, &runtime).expect("a first look");
        child.kill().expect("end python3");
        child.wait().expect("wait for python3");
        let window_ns = (!is_noticed_by_the_wait).then_some(1);
        assert!(!session.wait(Duration::from_secs(60)).expect("a wait"));
        assert_eq!(session.look_again(&mut look, &runtime, window_ns).expect("an answer"), None);
        assert!(!session.is_conclusive);
        let census = session.heap.census.expect("the first one");
        let kept = census.types.iter().find(|of| of.name.ends_with("Kept"));
        assert_eq!(kept.expect("its class").count, 3210);
        let note = session.heap.notes.last().expect("a note");
        assert!(note.contains("ended before the second look"), "{note}");
    }
}
