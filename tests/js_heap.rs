//! The JavaScript heap of Node, through its inspector: whose memory is named, by which way.
//!
//! Runs with the node in PATH, and those of `OUTLIVE_NODES` (separated by colons).
#![allow(missing_docs)]

mod support;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use support::js_heap::*;
use support::run::Run;
use support::{Outlive, side_by_side};

#[test]
fn a_leak_is_named_where_the_inspector_listens_and_that_stays_open() {
    side_by_side(&nodes(), |node| {
        let mut target = start(node, &["--inspect=127.0.0.1:0"], "leak.js", "");
        let finished = attached(&target, &["--duration", "8s"]);
        let report = finished.report();
        assert_leak_is_named(&report, &truth(&mut target));
        let js_heap = &report.0["node"]["js_heap"];
        assert_eq!(js_heap["way"], "listening");
        assert!(
            js_heap["closed"].is_null() && js_heap["profiles"].as_u64() >= Some(2),
            "{js_heap}"
        );
        assert!(js_heap["longest_pause_ns"].as_u64() > Some(0));
        let node_report = &report.0["node"];
        let spaces = node_report["spaces"].as_array().expect("spaces");
        assert!(spaces.iter().any(|s| s["name"] == "old_space" && s["used_bytes"] != 0));
        assert_eq!(node_report["isolates"], 1);
        assert!(node_report["external_bytes"].as_u64() > Some(0));
        assert!(finished.stderr.contains("--no-js-heap"), "{}", finished.stderr);
        // It was not ours to close.
        let again = attached(&target, &["--duration", "3s", "--no-js-heap"]);
        assert!(again.report().0["node"]["js_heap"].is_null());
        let third = attached(&target, &["--duration", "3s"]);
        assert_eq!(third.report().0["node"]["js_heap"]["way"], "listening");
        assert!(target.finish().success(), "Node was harmed");
    });
}

#[test]
fn a_leak_is_named_by_the_inspector_that_a_signal_opens_and_it_is_closed() {
    side_by_side(&nodes(), |node| {
        let mut target = start(node, &[], "leak.js", "");
        let finished = attached(&target, &["--js-heap", "--force-gc", "--duration", "8s"]);
        let report = finished.report();
        assert_leak_is_named(&report, &truth(&mut target));
        assert_eq!(report.0["node"]["js_heap"]["way"], "signal");
        assert_eq!(report.0["node"]["js_heap"]["closed"], true);
        assert_closed(target.pid(), port_in(&finished.stderr));
        assert!(target.finish().success(), "Node was harmed");
    });
}

#[test]
fn what_is_dropped_again_is_not_held() {
    let Some(node) = node() else { return };
    let mut target = start(&node, &[], "leak.js", "steady");
    let finished = attached(&target, &["--js-heap", "--duration", "8s"]);
    let report = finished.report();
    let (all, _) = live_bytes(&report, &truth(&mut target));
    assert!(all < 1_500_000, "{all} bytes are live of a program that keeps 20 arrays");
    let growing = report.growing();
    assert!(growing.iter().all(|site| site["domain"] != "v8"), "{growing:#?}");
}

#[test]
fn a_source_map_leads_to_the_line_that_people_wrote() {
    let Some(node) = node() else { return };
    let folder = tempfile::tempdir().expect("scratch folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write");
        path
    };
    let source = fs::read_to_string(script("leak.js")).expect("read");
    let compiled = write("app.js", &format!("{source}\n//# sourceMappingURL=app.js.map\n"));
    // Line 8 comes from line 30 of app.ts.
    let map = r#"{"version":3,"sources":["app.ts"],"names":[],"mappings":";;;;;;;AA6BA"}"#;
    write("app.js.map", map);
    let mut command = Command::new(&node);
    command.arg("--inspect-port=0").arg(&compiled);
    let mut target = started(command);
    let report = attached(&target, &["--js-heap", "--duration", "6s"]).report();
    let mut truth = truth(&mut target);
    truth["file"] = folder.path().join("app.ts").to_string_lossy().into_owned().into();
    truth["line"] = 30.into();
    assert_leak_is_named(&report, &truth);
    let frames = report.sites().iter().filter(|site| site["domain"] == "v8");
    let frames = frames.flat_map(|site| site["frames"].as_array().expect("frames"));
    let found = frames.into_iter().find(|frame| frame["line"] == 30).expect("seen above");
    assert_eq!(found["generated"]["line"], 8);
    assert_eq!(found["generated"]["file"], compiled.to_string_lossy().into_owned());
}

#[test]
fn a_container_with_a_network_of_its_own_is_reached() {
    let Some(node) = node() else { return };
    let mut command = Command::new(&node);
    command.arg(script("leak.js"));
    // SAFETY: system calls only, between fork and exec: a network of its own, whose loopback device
    // is brought up.
    unsafe { command.pre_exec(own_network) };
    let mut target = started(command);
    let finished = attached(&target, &["--js-heap", "--duration", "6s"]);
    let report = finished.report();
    assert_leak_is_named(&report, &truth(&mut target));
    assert_eq!(port_in(&finished.stderr), 9229, "nobody else is in that network");
    assert_eq!(report.0["node"]["js_heap"]["closed"], true);
    assert_eq!(inspector_port(target.pid()), None);
    assert!(target.finish().success(), "Node was harmed");
}

#[test]
fn a_leak_in_a_worker_thread_is_named() {
    side_by_side(&nodes(), |node| {
        let mut target = start(node, &[], "workers.js", "");
        let report = attached(&target, &["--js-heap", "--duration", "8s"]).report();
        assert_leak_is_named(&report, &truth(&mut target));
        assert_eq!(report.0["node"]["isolates"], 2);
        assert!(target.finish().success(), "Node was harmed");
    });
}

#[test]
fn a_command_is_started_with_its_inspector_and_that_is_closed() {
    side_by_side(&nodes(), |node| {
        let mut command = Command::new(Outlive::binary());
        command.env("NODE_OPTIONS", "--no-warnings");
        let program = [node.as_os_str(), script("leak.js").as_os_str()].map(ToOwned::to_owned);
        let mut run = Run::start(command, &["--js-heap", "--duration", "25s"], &program);
        run.outlive.wait_for("--no-warnings --inspect=127.0.0.1:0");
        run.outlive.wait_for("the JavaScript heap is sampled too");
        assert_eq!(run.json()["ready"], true);
        run.go();
        let before = run.json();
        assert_eq!(before["node_options"], "--no-warnings", "children get what they would have");
        run.outlive.wait_for("the command runs on");
        run.go();
        let truth = run.json();
        let finished = run.finish();
        finished.assert_done();
        let report = finished.report();
        assert_leak_is_named(&report, &truth);
        assert_eq!(report.0["node"]["js_heap"]["way"], "launched");
        assert_eq!(report.0["node"]["js_heap"]["closed"], true);
    });
}

fn own_network() -> std::io::Result<()> {
    // SAFETY: system calls on descriptors and structures of our own.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let done = libc::unshare(libc::CLONE_NEWNET) == 0 && {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let up = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) == 0;
            libc::close(socket);
            up
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}
