//! How Node's inspector is opened and closed, and what happens where that cannot or must not be
//! done. With the same Nodes as js_heap.rs.
#![allow(missing_docs)]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;
use support::js_heap::*;
use support::{Outlive, Target, eventually, may_trace, send_signal};

#[test]
fn opening_and_closing_ten_times_leaves_nothing() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "leak.js", "steady");
    attached(&target, &["--js-heap", "--duration", "500ms"]);
    let before = descriptors(target.pid());
    for _ in 0..10 {
        let finished = attached(&target, &["--js-heap", "--duration", "300ms"]);
        assert_eq!(finished.report().0["node"]["js_heap"]["closed"], true);
        assert_closed(target.pid(), port_in(&finished.stderr));
    }
    let after = descriptors(target.pid());
    assert!(after <= before, "{before} descriptors became {after}");
    truth(&mut target);
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_program_with_its_own_handler_gets_no_signal() {
    for node in nodes() {
        let mut target = start(&node, &[], "own_handler.js", "");
        let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
        let message = warning(&report, "js-heap-signal-handled");
        assert!(message.contains("process.on('SIGUSR1')"), "{message}");
        assert_eq!(truth(&mut target)["signals"], 0);
        assert!(report.0["node"]["js_heap"].is_null());

        let report = attached(&target, &["--js-heap=force", "--duration", "1s"]).report();
        warning(&report, "js-heap-not-opened");
        assert_eq!(truth(&mut target)["signals"], 1, "force sends it nevertheless");
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn a_program_that_the_signal_would_kill_gets_none_even_by_force() {
    for node in outer_nodes() {
        let mut target = start(&node, &[], "own_handler.js", "removed");
        let report = attached(&target, &["--js-heap=force", "--duration", "1s"]).report();
        warning(&report, "js-heap-signal-kills");
        assert_eq!(truth(&mut target)["signals"], 0);
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn a_signal_that_is_disabled_is_not_sent() {
    for node in nodes() {
        let knows = Command::new(&node).args(["--disable-sigusr1", "-e", "0"]).output();
        if !knows.is_ok_and(|output| output.status.success()) {
            eprintln!("{} has no --disable-sigusr1", node.display());
            continue;
        }
        let mut target = start(&node, &["--disable-sigusr1"], "leak.js", "");
        let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
        // Some versions ignore it then, others leave it to the kernel, which would kill.
        let codes = ["js-heap-signal-ignored", "js-heap-signal-kills"];
        let message = warning_of(&report, &codes);
        assert!(message.contains("--disable-sigusr1"), "{message}");
        truth(&mut target);
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn a_program_that_samples_itself_keeps_its_sampler() {
    for node in outer_nodes() {
        let mut target = start(&node, &[], "own_sampler.js", "");
        let finished = attached(&target, &["--js-heap", "--duration", "1s"]);
        let report = finished.report();
        assert!(finished.stderr.contains("samples this heap already"), "{}", finished.stderr);
        assert!(report.sites().iter().all(|site| site["domain"] != "v8"));
        let samples = |truth: serde_json::Value| truth["samples"].as_u64().expect("a number");
        let before = samples(truth(&mut target));
        assert!(before > 0, "its profile has ended");
        eventually("its profile goes on", || samples(truth(&mut target)) > before);
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn a_port_that_is_taken_keeps_the_signal_back() {
    let Some(node) = node() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("--inspect-port={}", listener.local_addr().expect("its number").port());
    let mut target = start(&node, &[&port], "leak.js", "");
    let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
    warning(&report, "js-heap-port-taken");
    drop(listener);
    let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
    assert_eq!(report.0["node"]["js_heap"]["closed"], true);
    truth(&mut target);
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_program_that_is_no_node_is_told_of_and_traced() {
    if !may_trace() {
        return;
    }
    let target = Target::spawn("python3", &["-c", "input()"]);
    let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
    warning(&report, "js-heap-not-node");
}

#[test]
fn a_blocked_program_is_followed_natively_and_its_heap_when_it_goes_on() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "blocked.js", "");
    target.write("9000\n");
    assert_eq!(target.json()["blocked"], true);
    let mut outlive =
        Outlive::attach(target.pid()).args(&["--js-heap", "--duration", "16s"]).start();
    outlive.wait_for("busy in native code");
    outlive.wait_for(OPENED);
    let finished = outlive.wait();
    finished.assert_done();
    let report = finished.report();
    warning(&report, "js-heap-late");
    assert_eq!(report.0["node"]["js_heap"]["closed"], true);
    let native = report.sites().iter().filter(|site| site["domain"] == "malloc");
    assert!(native.map(|site| site["live_bytes"].as_u64().unwrap_or(0)).sum::<u64>() > 1 << 20);
    assert_closed(target.pid(), port_in(&finished.stderr));
    target.json();
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_program_that_stays_blocked_is_noted_and_closed_by_the_next_start() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "blocked.js", "");
    target.write("6000\n");
    assert_eq!(target.json()["blocked"], true);
    let report = attached(&target, &["--js-heap", "--duration", "1s"]).report();
    warning(&report, "js-heap-not-opened");
    target.json();
    eventually("the inspector opens after all", || inspector_port(target.pid()).is_some());
    let finished = attached(&target, &["--duration", "1s"]);
    assert!(finished.stderr.contains("closed the inspector"), "{}", finished.stderr);
    assert_eq!(inspector_port(target.pid()), None);
    assert_not_noted(target.pid());
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_process_that_dies_half_way_ends_the_session_in_order() {
    let Some(node) = node() else { return };
    let target = start(&node, &[], "leak.js", "");
    let pid = target.pid();
    let mut outlive = Outlive::attach(pid).args(&["--js-heap", "--duration", "60s"]).start();
    outlive.wait_for(OPENED);
    std::thread::sleep(Duration::from_secs(4));
    target.signal(libc::SIGKILL);
    let finished = outlive.wait();
    finished.assert_done();
    let report = finished.report();
    warning(&report, "js-heap-ended");
    assert_eq!(report.0["end"], "target-exited");
    assert!(report.0["node"]["js_heap"]["profiles"].as_u64() >= Some(1));
    assert_not_noted(pid);
}

#[test]
fn ctrl_c_closes_the_inspector() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "leak.js", "");
    let mut outlive = Outlive::attach(target.pid()).args(&["--js-heap"]).start();
    outlive.wait_for(OPENED);
    let finished = outlive.stop();
    finished.assert_done();
    let js_heap = &finished.report().0["node"]["js_heap"];
    assert_eq!(js_heap["closed"], true);
    assert!(js_heap["profiles"].as_u64() >= Some(1), "the last one");
    assert_closed(target.pid(), port_in(&finished.stderr));
    truth(&mut target);
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_snapshot_that_is_interrupted_closes_the_inspector() {
    let Some(node) = node() else { return };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut target = start(&node, &[], "many_objects.js", "");
        let pid = target.pid();
        let mut outlive = Outlive::heap(pid, &["--js-retainers"]);
        // V8 has been asked for it when this is said, and takes seconds.
        outlive.wait_until_said("takes a snapshot");
        let port = inspector_port(pid).expect("it listens");
        std::thread::sleep(Duration::from_millis(500));
        send_signal(outlive.pid(), signal);
        let finished = outlive.wait();
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("interrupted; its inspector is closed again"),
            "{}",
            finished.stderr
        );
        assert_closed(pid, port);
        truth(&mut target);
        assert!(target.finish().success(), "Node was harmed");
    }
}

#[test]
fn what_a_killed_outlive_left_open_is_closed_by_the_next_start() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "leak.js", "");
    let mut outlive = Outlive::attach(target.pid()).args(&["--js-heap"]).start();
    outlive.wait_for(OPENED);
    let port = inspector_port(target.pid()).expect("it listens");
    // Another outlive leaves alone what somebody still uses.
    let mut other = Target::spawn("python3", &["-c", "input()"]);
    attached(&other, &["--duration", "300ms"]);
    assert_eq!(inspector_port(target.pid()), Some(port));
    outlive.kill();
    // Or another outlive that somebody starts on this machine meanwhile.
    attached(&other, &["--duration", "300ms"]);
    assert_closed(target.pid(), port);
    other.go();
    truth(&mut target);
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn no_socket_of_the_program_itself_is_asked() {
    for node in outer_nodes() {
        for options in [&[][..], &["--inspect=127.0.0.1:0"]] {
            let mut target = start(&node, options, "fragile_server.js", "");
            attached(&target, &["--js-heap", "--duration", "2s"]);
            attached(&target, &["--duration", "1s"]);
            assert_eq!(truth(&mut target)["connections"], 0);
            assert!(target.finish().success(), "Node was harmed");
        }
    }
}
