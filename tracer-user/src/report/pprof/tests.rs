//! Profiles of a made-up gateway, taken apart again. `go tool pprof` reads real ones in
//! `tests/pprof.rs`.

use super::message::{Location, Mapping};
use super::*;
use crate::capture::MappedFile;
use crate::growth::Limits;
use crate::report::build;
use crate::report::tests::recording;
use crate::stack::StackId;
use flate2::read::GzDecoder;
use std::io::Read as _;

const PYTHON: &str = "/usr/bin/python3.11";

/// A profile as its reader has it, every reference in it checked.
struct Read(Profile);

fn read(recording: &Recording) -> Read {
    let report = build(recording, &Limits::default());
    let mut bytes = Vec::new();
    let compressed = render(&report, recording).expect("profile");
    GzDecoder::new(compressed.as_slice()).read_to_end(&mut bytes).expect("gzip");
    let read = Read(Profile::decode(bytes.as_slice()).expect("protobuf"));
    read.check_references();
    read
}

impl Read {
    fn text(&self, place: i64) -> &str {
        &self.0.string_table[usize::try_from(place).expect("a place")]
    }

    fn location(&self, id: u64) -> &Location {
        &self.0.location[id as usize - 1]
    }

    fn mapping(&self, location: &Location) -> Option<&Mapping> {
        location.mapping_id.checked_sub(1).map(|index| &self.0.mapping[index as usize])
    }

    /// `function:line`, of all that stands at a place.
    fn names(&self, location: &Location) -> Vec<String> {
        let name = |line: &message::Line| {
            let function = &self.0.function[line.function_id as usize - 1];
            format!("{}:{}", self.text(function.name), line.line)
        };
        location.line.iter().map(name).collect()
    }

    fn stack(&self, sample: usize) -> Vec<Vec<String>> {
        let ids = &self.0.sample[sample].location_id;
        ids.iter().map(|id| self.names(self.location(*id))).collect()
    }

    fn sum(&self, name: &str) -> i64 {
        let index = TYPES.iter().position(|(known, _)| *known == name).expect("a type");
        self.0.sample.iter().map(|sample| sample.value[index]).sum()
    }

    fn labels(&self, sample: usize) -> Vec<(&str, &str)> {
        let labels = &self.0.sample[sample].label;
        labels.iter().map(|label| (self.text(label.key), self.text(label.str))).collect()
    }

    fn check_references(&self) {
        let profile = &self.0;
        assert_eq!(profile.string_table[0], "");
        let ids = |ids: Vec<u64>| assert!(ids.iter().copied().eq(1..=ids.len() as u64));
        ids(profile.mapping.iter().map(|mapping| mapping.id).collect());
        ids(profile.location.iter().map(|location| location.id).collect());
        ids(profile.function.iter().map(|function| function.id).collect());
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), TYPES.len());
            assert!(!sample.location_id.is_empty());
            for id in &sample.location_id {
                let location = self.location(*id);
                assert!(!self.names(location).is_empty());
                if let Some(mapping) = self.mapping(location) {
                    let range = mapping.memory_start..mapping.memory_limit;
                    assert!(range.contains(&location.address), "{location:?} in {mapping:?}");
                }
            }
        }
    }
}

fn mapped(image: u32, start_avma: u64, path: &str) -> MappedFile {
    MappedFile {
        image,
        start_avma,
        end_avma: start_avma + 0x10_000,
        file_offset: 0x1000,
        path: path.into(),
        build_id: Some("c0ffee".into()),
    }
}

#[test]
fn a_profile_adds_up_to_the_report() {
    let recording = recording(30, true);
    let report = build(&recording, &Limits::default());
    let read = read(&recording);
    let types: Vec<_> =
        read.0.sample_type.iter().map(|of| (read.text(of.r#type), read.text(of.unit))).collect();
    assert_eq!(types, TYPES);
    assert_eq!(read.text(read.0.default_sample_type), "inuse_space");
    assert!(report.totals.live_bytes > 0);
    assert_eq!(read.sum("inuse_space"), report.totals.live_bytes as i64);
    assert_eq!(read.sum("inuse_objects"), report.totals.live_blocks as i64);
    assert_eq!(read.sum("alloc_space"), report.totals.allocated_bytes as i64);
    assert_eq!(read.sum("alloc_objects"), report.totals.allocated_blocks as i64);
    assert_eq!(read.labels(0), [("domain", "malloc"), ("verdict", "growing")]);
    assert_eq!(
        read.stack(0)[2..4],
        [vec!["_flush_messages:212".to_owned()], vec!["Gateway.handle:88".to_owned()]]
    );
    let flush =
        read.0.function.iter().find(|function| read.text(function.name) == "_flush_messages");
    assert_eq!(read.text(flush.expect("function").filename), "/srv/app/gateway.py");
    assert_eq!(read.0.duration_nanos, 30_000_000_000);
    let comments: Vec<&str> = read.0.comment.iter().map(|comment| read.text(*comment)).collect();
    assert_eq!(comments[..2], ["outlive 0.0.0", report.verdict.sentence.as_str()]);
}

#[test]
fn addresses_lie_in_the_mapping_of_their_image() {
    let mut recording = recording(30, true);
    recording.mappings = vec![
        mapped(2, 0x9000_0000, PYTHON),
        mapped(1, 0x5000_0000, PYTHON),
        mapped(1, 0x7000_0000, "/usr/lib/libssl.so"),
    ];
    recording.stacks.values_mut().for_each(|stack| stack.frames[4].offset = Some(0x4321));
    let read = read(&recording);
    let locations: Vec<&Location> =
        read.0.sample[0].location_id.iter().map(|id| read.location(*id)).collect();
    assert_eq!(locations[0].address, 0x5000_0000 + 0x1234 - 0x1000);
    assert_eq!(locations[4].address, 0x5000_0000 + 0x4321 - 0x1000);
    let mapping = read.mapping(locations[0]).expect("mapped");
    assert_eq!(read.text(mapping.filename), PYTHON);
    assert_eq!(read.text(mapping.build_id), "c0ffee");
    assert_eq!((mapping.memory_start, mapping.file_offset), (0x5000_0000, 0x1000));
    assert!(mapping.has_functions && !mapping.has_line_numbers);
    // Scripts are mapped nowhere, and the program comes first though nothing lies in it.
    assert!(read.mapping(locations[2]).is_none());
    assert_eq!(read.text(read.0.mapping[0].filename), PYTHON);
}

/// Captures of version 1 know no images, and short ones no mappings.
#[test]
fn without_mappings_addresses_are_offsets_in_files() {
    let read = read(&recording(30, true));
    let leaf = read.location(read.0.sample[0].location_id[0]);
    assert_eq!(leaf.address, 0x1234);
    let mapping = read.mapping(leaf).expect("a file");
    assert_eq!((read.text(mapping.filename), read.text(mapping.build_id)), (PYTHON, "c0ffee"));
    assert_eq!((mapping.memory_start, mapping.memory_limit), (0, 0x1235));
}

/// One stack of native frames (names by their offsets) under raw return addresses.
fn check_inlining(claim: &str, frames: &[(&str, u64)], returns: &[u64], expected: &[&[&str]]) {
    let mut recording = recording(30, true);
    recording.mappings = vec![mapped(1, 0x1000, PYTHON)];
    let id = StackId(0xb1);
    let stack = recording.stacks.get_mut(&id).expect("stack");
    let template = stack.frames[0].clone();
    stack.frames = frames
        .iter()
        .map(|(name, offset)| {
            let mut frame = template.clone();
            frame.function = (*name).into();
            frame.offset = Some(*offset);
            frame
        })
        .collect();
    recording.raw_stacks.get_mut(&id).expect("raw stack").native = returns.to_vec();
    let read = read(&recording);
    let last = read.0.sample.len() - 1;
    let found: Vec<Vec<String>> = read.stack(last);
    let expected: Vec<Vec<String>> = expected
        .iter()
        .map(|names| names.iter().map(|name| format!("{name}:0")).collect())
        .collect();
    assert_eq!(found, expected, "{claim}");
}

#[test]
fn inlined_frames_share_a_place_and_recursion_does_not() {
    check_inlining(
        "inlined into its caller",
        &[("inner", 0x2000), ("outer", 0x2000), ("main", 0x3000)],
        &[0x2001, 0x3001],
        &[&["inner", "outer"], &["main"]],
    );
    check_inlining(
        "a recursion",
        &[("walk", 0x2000), ("walk", 0x2000), ("main", 0x3000)],
        &[0x2001, 0x2001, 0x3001],
        &[&["walk"], &["walk"], &["main"]],
    );
    check_inlining(
        "a recursion with something inlined",
        &[("step", 0x2000), ("walk", 0x2000), ("step", 0x2000), ("walk", 0x2000)],
        &[0x2001, 0x2001],
        &[&["step", "walk"], &["step", "walk"]],
    );
    check_inlining(
        "a function inlined into itself",
        &[("walk", 0x2000), ("walk", 0x2000), ("main", 0x3000)],
        &[0x2001, 0x3001],
        &[&["walk", "walk"], &["main"]],
    );
    check_inlining(
        "raw addresses that say nothing, and names that differ",
        &[("inner", 0x2000), ("outer", 0x2000)],
        &[],
        &[&["inner", "outer"]],
    );
    check_inlining(
        "raw addresses that say nothing, and names that repeat",
        &[("walk", 0x2000), ("walk", 0x2000)],
        &[],
        &[&["walk"], &["walk"]],
    );
}

#[test]
fn what_a_capture_may_hold_makes_a_profile() {
    let mut hostile = recording(30, true);
    let names = ["", "\u{1b}]0;title\u{7}", "a\nb"];
    for (stack, name) in hostile.stacks.values_mut().zip(names) {
        stack.frames[0].function = name.into();
        stack.frames[0].offset = Some(u64::MAX);
    }
    hostile.stacks.get_mut(&StackId(0xa2)).expect("the fastest").frames.clear();
    hostile.mappings = vec![
        MappedFile { start_avma: u64::MAX, end_avma: 0, ..mapped(1, 0, PYTHON) },
        MappedFile { file_offset: u64::MAX, ..mapped(1, 5, PYTHON) },
    ];
    let mut huge = crate::tick::Tick { at_ns: 40_000_000_000, ..crate::tick::Tick::default() };
    for stack in [0xa1, 0xa2, 0xb1] {
        huge.sites.push(crate::tick::SiteReading {
            stack: StackId(stack),
            epoch: 2,
            allocated_bytes: u64::MAX,
            allocated_blocks: u64::MAX,
            freed_bytes: 0,
            freed_blocks: 0,
            allocated_variance: 0,
            freed_variance: 0,
        });
    }
    hostile.aggregate.apply(&huge);
    let compressed = render(&build(&hostile, &Limits::default()), &hostile).expect("profile");
    let mut bytes = Vec::new();
    GzDecoder::new(compressed.as_slice()).read_to_end(&mut bytes).expect("gzip");
    let read = Read(Profile::decode(bytes.as_slice()).expect("protobuf"));
    assert!(read.0.string_table.iter().all(|text| !text.chars().any(char::is_control)));
    let sum = read.0.sample.iter().try_fold(0_i64, |sum, sample| sum.checked_add(sample.value[2]));
    assert_eq!(sum, Some(i64::MAX));
    assert!(read.0.string_table.contains(&"[no frames]".to_owned()));
    assert!(read.0.function.iter().all(|function| function.id > 0));
}

#[test]
fn an_empty_recording_makes_a_profile_without_samples() {
    let read = read(&Recording::default());
    assert!(read.0.sample.is_empty());
    assert_eq!(read.0.sample_type.len(), TYPES.len());
}

#[test]
fn what_went_with_its_process_is_not_in_use() {
    let mut recording = crate::report::tests::recording(30, true);
    let process = |pid, images, ended_ns| crate::capture::ProcessMeta {
        pid,
        images,
        ended_ns,
        ..crate::capture::ProcessMeta::default()
    };
    recording.meta.processes =
        vec![process(10, vec![1], None), process(11, vec![2], Some(20_000_000_000))];
    recording.raw_stacks.get_mut(&StackId(0xb1)).expect("raw stack").image = 2;
    let report = build(&recording, &Limits::default());
    assert!(report.totals.ended_live_bytes > 0);
    let read = read(&recording);
    let left = report.totals.live_bytes - report.totals.ended_live_bytes;
    assert_eq!(read.sum("inuse_space"), left as i64);
    assert_eq!(read.sum("alloc_space"), report.totals.allocated_bytes as i64);
    let last = read.0.sample.len() - 1;
    assert!(read.labels(last).contains(&("process", "ended")));
    assert!(read.labels(last).contains(&("pid", "11")));
    let said = format!("{} bytes went with processes that ended", report.totals.ended_live_bytes);
    assert!(read.0.comment.iter().any(|comment| read.text(*comment).starts_with(&said)));
}
