//! Which parts of a process' memory hold its heap, or pointers into it: all that it alone can
//! write to. Decides by the address space and the files' program headers, and reads no memory.

use super::image::RegionKind;
use crate::target::{
    Target,
    mapping::{FileId, Mapping},
};
use std::ops::Range;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;

/// A part of memory that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub range: Range<u64>,
    /// What it is.
    pub kind: RegionKind,
    /// The file whose pages it has where the process has not written to them, and the offset of
    /// its first byte there; only of code files.
    pub file: Option<(FileId, u64)>,
    /// Whether pages that are still a file's are wanted: of variables, not of data that a program
    /// maps and hardly writes to.
    pub with_file_pages: bool,
}

impl Part {
    /// Its length.
    pub fn length_bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// Where variables of a code file lie, those that begin as zero included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSpan {
    /// Whole pages.
    pub range: Range<u64>,
    /// Path of the file as the process sees it.
    pub module: String,
}

/// A thread's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSpan {
    /// Whole pages, from the lowest that may be used.
    pub range: Range<u64>,
    /// Thread ID.
    pub tid: u32,
    /// Below it nothing is in use.
    pub stack_pointer_avma: u64,
}

/// What is copied, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// By address; they do not overlap.
    pub parts: Vec<Part>,
    /// Address space that is shared with other processes and can be written to: it may hold
    /// pointers too, and is left out. Bytes, whether in memory or not.
    pub shared_bytes: u64,
}

/// Where the variables of the target's code files lie, by address. By the program headers: the
/// kernel merges what is mapped behind a file's .bss with it, so that the address space does not
/// tell where variables end and a heap begins.
pub fn statics(target: &Target) -> Vec<StaticSpan> {
    let mut spans: Vec<StaticSpan> = Vec::new();
    for file in target.files.values() {
        let Some(bias) = target.bias_of(file) else { continue };
        let module = file.display_path.to_string_lossy();
        for segment in file.elf.segments.iter().filter(|segment| segment.writable) {
            let start = segment.svma.wrapping_add(bias);
            let Some(end) = start.checked_add(segment.memory_bytes) else { continue };
            let Some(end) = end.checked_next_multiple_of(PAGE_BYTES) else { continue };
            let range = start / PAGE_BYTES * PAGE_BYTES..end;
            spans.push(StaticSpan { range, module: module.clone().into_owned() });
        }
    }
    spans.sort_by_key(|span| span.range.start);
    spans
}

/// The parts of an address space that are to be copied.
pub fn parts(mappings: &[Mapping], statics: &[StaticSpan], stacks: &[StackSpan]) -> Parts {
    let code_files =
        |id: FileId| mappings.iter().any(|mapping| mapping.executable && mapping.file == Some(id));
    let mut found = Parts::default();
    for mapping in mappings.iter().filter(|mapping| mapping.writable) {
        let path = mapping.path.as_os_str().as_encoded_bytes();
        if mapping.shared {
            found.shared_bytes = found.shared_bytes.saturating_add(mapping.length_bytes());
            continue;
        }
        // Memory of a device, which a read may act upon.
        if !mapping.readable || (path.starts_with(b"/dev/") && path != b"/dev/zero") {
            continue;
        }
        let code = mapping.file.filter(|id| code_files(*id));
        let whole = mapping.start_avma..mapping.end_avma;
        let part = |range: Range<u64>, kind: RegionKind| Part {
            file: code.map(|id| {
                (id, mapping.file_offset.saturating_add(range.start - mapping.start_avma))
            }),
            with_file_pages: mapping.file.is_none() || code.is_some(),
            range,
            kind,
        };
        let mut at = whole.start;
        for (range, kind) in cuts(&whole, path == b"[stack]", statics, stacks) {
            if range.start < at {
                continue;
            }
            if range.start > at {
                found.parts.push(part(at..range.start, RegionKind::Anonymous));
            }
            at = range.end;
            found.parts.push(part(range, kind));
        }
        if at < whole.end {
            let rest = match code {
                Some(_) => {
                    RegionKind::Static { module: mapping.path.to_string_lossy().into_owned() }
                }
                None => RegionKind::Anonymous,
            };
            found.parts.push(part(at..whole.end, rest));
        }
    }
    found
}

/// Parts of a mapping that are of a kind of their own, by address.
fn cuts(
    whole: &Range<u64>,
    is_first_stack: bool,
    statics: &[StaticSpan],
    stacks: &[StackSpan],
) -> Vec<(Range<u64>, RegionKind)> {
    let within = |range: &Range<u64>| {
        let (start, end) = (range.start.max(whole.start), range.end.min(whole.end));
        (start < end).then_some(start..end)
    };
    let kind_of = |stack: &StackSpan| RegionKind::Stack {
        tid: stack.tid,
        stack_pointer_avma: stack.stack_pointer_avma,
    };
    if is_first_stack {
        let owner = stacks.iter().find(|stack| whole.contains(&stack.stack_pointer_avma));
        // Of a thread that runs it is not known how much of its stack is used.
        let unknown = RegionKind::Stack { tid: 0, stack_pointer_avma: whole.start };
        return vec![(whole.clone(), owner.map_or(unknown, kind_of))];
    }
    let variables = statics.iter().filter_map(|span| {
        Some((within(&span.range)?, RegionKind::Static { module: span.module.clone() }))
    });
    let in_use = stacks.iter().filter_map(|stack| Some((within(&stack.range)?, kind_of(stack))));
    let mut found: Vec<_> = variables.chain(in_use).collect();
    found.sort_by_key(|(range, _)| range.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mapping::parse;

    const MAPS: &[u8] = b"\
400000-500000 r-xp 00000000 08:01 7 /usr/bin/app\n\
500000-510000 rw-p 00100000 08:01 7 /usr/bin/app\n\
510000-600000 rw-p 00000000 00:00 0 \n\
700000-710000 rw-p 00000000 00:00 0 [heap]\n\
720000-730000 rw-s 00000000 00:05 9 /dev/shm/x\n\
740000-750000 rw-p 00000000 08:01 8 /data/model.bin\n\
760000-770000 r--p 00000000 08:01 8 /data/model.bin\n\
780000-790000 rw-p 00000000 00:06 3 /dev/dri/card0\n\
7a0000-7f0000 rw-p 00000000 00:00 0 \n\
900000-a00000 rw-p 00000000 00:00 0 [stack]\n";

    fn told(statics: &[StaticSpan], stacks: &[StackSpan]) -> Vec<(u64, u64, String)> {
        let name = |part: &Part| match &part.kind {
            RegionKind::Anonymous if !part.with_file_pages => "written".to_owned(),
            RegionKind::Anonymous => String::new(),
            RegionKind::Static { module } => module.clone(),
            RegionKind::Stack { tid, .. } => format!("stack {tid}"),
        };
        let found = parts(&parse(MAPS), statics, stacks);
        assert_eq!(found.shared_bytes, 0x1_0000);
        found.parts.iter().map(|part| (part.range.start, part.range.end, name(part))).collect()
    }

    #[test]
    fn variables_end_where_the_file_says_and_stacks_where_their_threads_say() {
        let statics = [StaticSpan { range: 0x50_0000..0x51_4000, module: "/usr/bin/app".into() }];
        let stack = |tid, range: Range<u64>, stack_pointer_avma| StackSpan {
            range,
            tid,
            stack_pointer_avma,
        };
        let stacks =
            [stack(5, 0x7a_0000..0x7b_0000, 0x7a_f000), stack(4, 0x90_0000..0xa0_0000, 0x9f_0000)];
        let expected = [
            (0x50_0000, 0x51_0000, "/usr/bin/app"),
            (0x51_0000, 0x51_4000, "/usr/bin/app"),
            (0x51_4000, 0x60_0000, ""),
            (0x70_0000, 0x71_0000, ""),
            (0x74_0000, 0x75_0000, "written"),
            (0x7a_0000, 0x7b_0000, "stack 5"),
            (0x7b_0000, 0x7f_0000, ""),
            (0x90_0000, 0xa0_0000, "stack 4"),
        ];
        let expected = expected.map(|(start, end, name)| (start, end, name.to_owned()));
        assert_eq!(told(&statics, &stacks), expected);
    }

    #[test]
    fn without_knowledge_only_the_file_tells_what_is_a_variable() {
        let told = told(&[], &[]);
        assert_eq!(told[0], (0x50_0000, 0x51_0000, "/usr/bin/app".into()));
        assert_eq!(told[1], (0x51_0000, 0x60_0000, String::new()));
        assert_eq!(told.last(), Some(&(0x90_0000, 0xa0_0000, "stack 0".into())));
    }

    #[test]
    fn files_are_read_at_the_place_that_is_mapped() {
        let found = parts(&parse(MAPS), &[], &[]);
        let id = FileId { major: 8, minor: 1, inode: 7 };
        assert_eq!(found.parts[0].file, Some((id, 0x10_0000)));
        assert!(found.parts[1..].iter().all(|part| part.file.is_none()));
    }

    #[test]
    fn spans_that_overlap_or_end_nowhere_do_no_harm() {
        let span = |range: Range<u64>| StaticSpan { range, module: String::new() };
        let statics =
            [span(0x50_0000..0x58_0000), span(0x51_0000..0x60_0000), span(0x59_0000..u64::MAX)];
        let told = told(&statics, &[]);
        assert!(told.is_sorted_by(|one, other| one.1 <= other.0), "{told:x?}");
    }
}
