//! Source maps, with every Node at hand: Node can follow them too, and its trace must say the same.

use super::naming_tests::{COMMON, compare};
use super::targets::{Running, nodes};
use super::walk_by_ptrace::{Named, named_stack};
use super::*;
use crate::target::discover;
use sourcemap::SourceMapBuilder;
use std::path::Path;

/// A map of a program of that many lines: each has become one line of two, the second of which
/// begins at column 20.
fn map_of(line_count: u32) -> Vec<u8> {
    let mut builder = SourceMapBuilder::new(None);
    for line in 0..line_count {
        for (column, second) in [(0, 0), (20, 1)] {
            let original = 2 * line + 100 + second;
            builder.add(line, column, original, 0, Some("../src/chain of ts.ts"), None, false);
        }
    }
    let mut bytes = Vec::new();
    builder.into_sourcemap().to_writer(&mut bytes).unwrap();
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let three = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = move |at: usize| match at <= chunk.len() {
            true => char::from(DIGITS[(three >> (18 - 6 * at)) as usize & 63]),
            false => '=',
        };
        (0..4).map(digit)
    });
    digits.collect()
}

fn stack_of(node: &Path, flags: &[&str], script: &Path) -> (Running, Vec<Named>) {
    let running = Running::start(node, &[flags, &[script.to_str().unwrap(), "cold"]].concat());
    let (target, _) = discover(running.tgid()).unwrap();
    let runtime = detect(&target, &mut Settled::default()).0.unwrap();
    let mut reader = JsReader::new(target.tgid, &runtime);
    let stack = named_stack(target.tgid, &runtime, &mut reader);
    (running, stack)
}

#[test]
fn places_are_those_that_node_itself_finds_by_the_map() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    std::fs::create_dir(&dist).unwrap();
    let map = map_of(COMMON.lines().count() as u32);
    std::fs::write(dist.join("chain map.json"), &map).unwrap();
    let inline = format!("data:application/json;charset=utf-8;base64,{}", base64(&map));
    let write = |name: &str, address: &str| {
        let path = dist.join(name);
        std::fs::write(&path, format!("{COMMON}//# sourceMappingURL={address}\n")).unwrap();
        path
    };
    let beside = write("beside.cjs", "chain%20map.json");
    let inside = write("inside.cjs", &inline);
    for node in nodes() {
        for script in [&beside, &inside] {
            let what = format!("{} {}", node.display(), script.display());
            let (running, stack) = stack_of(&node, &["--enable-source-maps"], script);
            compare(&running.printed, &stack, &what);
            // Without the flag, too, and with the place in the code that runs.
            let (running, plain) = stack_of(&node, &[], script);
            let names = |stack: &[Named]| -> Vec<_> {
                stack.iter().map(|named| named.names.clone()).collect()
            };
            assert_eq!(names(&plain), names(&stack), "{what}");
            let back = |mut named: Named| {
                for name in &mut named.names {
                    if let Some(generated) = name.generated.take() {
                        assert!(name.file.as_ref().unwrap().ends_with("/src/chain of ts.ts"));
                        (name.file, name.line) = (Some(generated.file), Some(generated.line));
                    }
                }
                named
            };
            let count = plain.iter().flat_map(|named| &named.names);
            assert!(count.filter(|name| name.generated.is_some()).count() > 10, "{what}");
            compare(&running.printed, &plain.into_iter().map(back).collect::<Vec<_>>(), &what);
        }
    }
}

#[test]
fn what_is_no_map_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("garbage.map"), "{\"version\":3,\"mappings\":\"AAAA")
        .unwrap();
    for address in [
        "garbage.map",
        "missing.map",
        "../../../../../../dev/zero",
        "https://host/a.map",
        "data:application/json;base64,!!!",
        "data:text/plain,x",
    ] {
        let script = folder.path().join("chain.cjs");
        std::fs::write(&script, format!("{COMMON}//# sourceMappingURL={address}\n")).unwrap();
        let (running, stack) = stack_of(&nodes()[0], &[], &script);
        compare(&running.printed, &stack, address);
        assert!(stack.iter().flat_map(|named| &named.names).all(|name| name.generated.is_none()));
    }
}
