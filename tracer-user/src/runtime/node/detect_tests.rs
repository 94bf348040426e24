//! Detection, with every Node at hand.

use super::targets::{Running, nodes};
use super::*;
use crate::target::discover;
use std::process::Command;

const WAIT: &str = "\
require('fs').writeSync(1, process.versions.v8 + '\\nready\\n');
require('fs').readSync(0, Buffer.alloc(1));
";

#[test]
fn each_node_here_is_found_with_its_version_and_its_built_in_code() {
    for node in nodes() {
        let running = Running::start(&node, &["-e", WAIT]);
        let (target, _) = discover(running.tgid()).unwrap();
        let (found, warnings) = detect(&target, &mut Settled::default());
        let found = found.unwrap();
        let version = found.version.to_string();
        assert!(running.printed[0].starts_with(&version), "{:?} {version}", running.printed);
        let is_known = known::known_layouts().any(|(known, _)| {
            (known.major, known.minor) == (found.version.major, found.version.minor)
        });
        assert_eq!(found.is_walked(), is_known, "{}", found.describe());
        assert_eq!(warnings.is_empty(), is_known, "{warnings:?}");
        if !is_known {
            assert!(warnings[0].message.contains(&version), "{warnings:?}");
            continue;
        }
        let spans = found.builtin_spans(&target);
        assert!(!spans.is_empty());
        for span in spans {
            let code = found.builtins.as_ref().unwrap();
            assert!(span.end - span.start <= code.length_bytes);
            assert!(span.end - span.start >= code.length_bytes - 4096);
            let mapping = target.mapping_at(span.start).unwrap();
            assert!(mapping.executable && mapping.file == Some(code.file));
        }
        // What the file says is what the tables say: a file that says nothing is read by them.
        let table = known::known_layouts().find(|(known, _)| {
            (known.major, known.minor) == (found.version.major, found.version.minor)
        });
        assert_eq!(found.objects, table.unwrap().1, "{}", found.describe());
    }
}

#[test]
fn the_built_in_code_of_a_file_without_symbols_is_found_by_its_gap() {
    for node in nodes() {
        let running = Running::start(&node, &["-e", WAIT]);
        let (target, _) = discover(running.tgid()).unwrap();
        // A packaged Node has its V8 in a library, and no symbols but those for debuggers.
        let found = target.files.values().find_map(|file| {
            Some((file, Metadata::read(target.tgid, file, target.bias_of(file)?)?))
        });
        let Some((file, metadata)) = found else { panic!("no V8 in {}", node.display()) };
        let told = BuiltinCode::find(file, &metadata).unwrap();
        let searched = BuiltinCode::find(file, &Metadata::default()).unwrap();
        let (start, end) = (told.file_offset, told.file_offset + told.length_bytes);
        assert!(searched.file_offset <= start && start - searched.file_offset < 8192);
        let searched_end = searched.file_offset + searched.length_bytes;
        assert!(searched_end >= end && searched_end - end < 8192, "{searched_end:#x} {end:#x}");
    }
}

#[test]
fn a_process_without_v8_has_none_and_its_files_are_looked_at_once() {
    let mut cat = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let target = discover(cat.id()).map(|(target, _)| target);
    let mut settled = Settled::default();
    let found = target.as_ref().map(|target| detect(target, &mut settled));
    drop(cat.stdin.take());
    cat.wait().unwrap();
    assert_eq!(found.unwrap(), (None, Vec::new()));
    let mut target = target.unwrap();
    let is_mapped = |id: &&FileId| target.bias_of(&target.files[*id]).is_some();
    let mapped: HashSet<FileId> = target.files.keys().filter(is_mapped).copied().collect();
    assert!(!mapped.is_empty());
    assert_eq!(settled.0, mapped);
    // Their numbers may go to other files once nobody holds them.
    target.files.clear();
    assert_eq!(detect(&target, &mut settled).0, None);
    assert_eq!(settled, Settled::default());
}

#[test]
fn a_file_whose_v8_is_understood_is_looked_at_again() {
    for node in nodes() {
        let running = Running::start(&node, &["-e", WAIT]);
        let (target, _) = discover(running.tgid()).unwrap();
        let mut settled = Settled::default();
        let (first, _) = detect(&target, &mut settled);
        let is_walked = first.as_ref().is_some_and(NodeRuntime::is_walked);
        let (second, warnings) = detect(&target, &mut settled);
        // The other is named once.
        assert_eq!((second.is_some(), warnings.len()), (is_walked, 0), "{}", node.display());
    }
}
