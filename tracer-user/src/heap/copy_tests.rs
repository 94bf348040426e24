//! Copies of real processes.

use super::*;
use crate::heap::plan::plan;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

const LONG: Duration = Duration::from_secs(5);

/// A Python that holds a known amount, and says where.
fn holder(mib: usize) -> (Child, u64) {
    let program = format!(
        "import ctypes, sys, threading\n\
         b = ctypes.create_string_buffer(b'\\x5a' * ({mib} << 20))\n\
         r = ctypes.create_string_buffer(1)\n\
         t = threading.Thread(target=sys.stdin.readline); t.start()\n\
         print(ctypes.addressof(b), flush=True)\n\
         t.join()\n"
    );
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    // Where a thread stands that runs still is told by nothing but a stop.
    let patience = Instant::now() + Duration::from_secs(20);
    while stacks::waiting(child.id()).len() < 2 {
        assert!(Instant::now() < patience, "its threads never waited");
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, line.trim().parse().unwrap())
}

fn end(mut child: Child) {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn memory_is_copied_as_it_is_live_and_stopped() {
    let (child, avma) = holder(40);
    let plan = plan(child.id()).unwrap();
    assert!(plan.resident_bytes() > 40 << 20 && plan.resident_bytes() < 80 << 20);
    let live = plan.live().unwrap();
    let stopped = plan.stopped(LONG).unwrap();
    for copied in [&live, &stopped] {
        let bytes = copied.image.bytes(avma, 40 << 20).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0x5a));
        assert_eq!(copied.reading.unread_bytes, 0, "{:?}", copied.notes);
        assert!(copied.reading.copied_bytes >= plan.resident_bytes() / 10 * 9);
        let kinds = copied.image.regions().iter().map(|region| &region.kind);
        let stacks: Vec<&RegionKind> = kinds
            .filter(|kind| matches!(kind, RegionKind::Stack { tid, .. } if *tid != 0))
            .collect();
        assert_eq!(stacks.len(), 2, "{stacks:x?}");
        let statics: Vec<_> = copied
            .image
            .regions()
            .iter()
            .filter_map(|region| match &region.kind {
                RegionKind::Static { module } => Some((module.as_str(), region.range())),
                _ => None,
            })
            .collect();
        assert!(statics.iter().any(|(module, _)| module.contains("python3")), "{statics:?}");
        assert!(statics.iter().any(|(module, _)| module.contains("libc.so")), "{statics:?}");
    }
    assert_eq!((live.reading.stopped_ns, live.threads.len()), (None, 0));
    assert!(stopped.reading.stopped_ns.is_some());
    assert_eq!(stopped.threads.len(), 2);
    for thread in &stopped.threads {
        assert!(stopped.image.contains(thread.stack_pointer_avma), "{thread:x?}");
    }
    end(child);
}

#[test]
fn a_stop_that_would_be_too_long_is_refused_and_leaves_a_live_copy() {
    let (child, avma) = holder(64);
    let plan = plan(child.id()).unwrap();
    let short = Duration::from_millis(1);
    let error = plan.stopped(short).unwrap_err();
    assert!(
        matches!(error, CopyError::StopTooLong { estimated, allowed } if estimated > allowed),
        "{error}"
    );
    let (copied, why) = plan.best(short).unwrap();
    assert!(matches!(why, Some(CopyError::StopTooLong { .. })));
    assert_eq!(copied.reading.stopped_ns, None);
    assert_eq!(copied.image.bytes(avma, 8), Some(&[0x5a; 8][..]));
    end(child);
}

/// A Python of which one thread is in the kernel until a line comes, and cannot be stopped there: it
/// has made a process by a clone that waits for the end of that one.
const UNSTOPPABLE: &str = "import ctypes, os, threading\n\
    clone = ctypes.PyDLL(None).syscall\n\
    def hang():\n\
    \x20 if clone(56, 0x4000 | 17, 0, 0, 0, 0) == 0: os.read(0, 1); os._exit(0)\n\
    t = threading.Thread(target=hang); t.start(); t.join()\n";

#[test]
fn what_stood_in_vain_is_told_with_how_long() {
    let mut child =
        Command::new("python3").args(["-c", UNSTOPPABLE]).stdin(Stdio::piped()).spawn().unwrap();
    let tgid = child.id();
    let is_in_kernel = || {
        let tasks = std::fs::read_dir(format!("/proc/{tgid}/task")).unwrap().flatten();
        let status = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("status")).unwrap_or_default()
        };
        tasks.map(status).any(|status| status.contains("State:\tD"))
    };
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_in_kernel() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (copied, why) = plan(tgid).unwrap().best(Duration::from_secs(1)).unwrap();
    end(child);
    let why = why.unwrap();
    let stood = why.stood().unwrap();
    assert!(stood >= Duration::from_millis(900), "{stood:?}");
    assert_eq!(copied.reading.stopped_ns, Some(stood.as_nanos() as u64));
    assert!(copied.reading.was_read_after_stop && !copied.reading.is_of_one_moment());
    assert!(why.to_string().contains("others stood for up to"), "{why}");
}

#[test]
fn a_process_that_ended_is_named() {
    let (child, _) = holder(1);
    let plan = plan(child.id()).unwrap();
    end(child);
    assert!(matches!(plan.live(), Err(CopyError::Ended(_) | CopyError::Target(_))));
    assert!(matches!(plan.stopped(LONG), Err(CopyError::Ended(_) | CopyError::Target(_))));
}
