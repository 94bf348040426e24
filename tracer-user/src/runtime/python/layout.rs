//! Where one CPython keeps its frames and code objects: from what the interpreter says of itself
//! (`_Py_DebugOffsets`, 3.13 and later), else from its own types' tables of members, else from
//! what is known of the version.

use super::objects::{FREE_THREADED_HEADER_BYTES, HEADER_BYTES, LineForm, ObjectLayout};
use super::{Version, debug_offsets, type_members};
use tracer_common::python::{INSTR_LASTI, INSTR_POINTER, NO_OFFSET, PYTHON_FRAMES, PythonLayout};

/// First and last minor version that are known.
pub const KNOWN_MINORS: std::ops::RangeInclusive<u8> = 8..=15;

/// Who said where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutSource {
    /// The interpreter's own `_Py_DebugOffsets`.
    DebugOffsets,
    /// The member tables of its code and frame types.
    Types,
    /// Tables of the version.
    Tables,
}

impl LayoutSource {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            LayoutSource::DebugOffsets => "the interpreter's debug offsets",
            LayoutSource::Types => "the interpreter's own types",
            LayoutSource::Tables => "tables of the version",
        }
    }
}

/// Offsets of one CPython; the addresses of its thread state are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// For the kernel side.
    pub walk: PythonLayout,
    /// For reading code objects.
    pub objects: ObjectLayout,
    /// Who said so.
    pub source: LayoutSource,
    /// Built without the GIL.
    pub free_threaded: bool,
}

/// Addresses in the target, 0 where a symbol is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Landmarks {
    /// `_PyRuntime`.
    pub runtime_avma: u64,
    /// `PyCode_Type`.
    pub code_type_avma: u64,
    /// `PyFrame_Type`.
    pub frame_type_avma: u64,
}

/// The layout of `version` in process `tgid`; `None` for a version that is not known.
pub fn layout_of(tgid: u32, version: Version, landmarks: Landmarks) -> Option<Layout> {
    let mut layout = table_of(version)?;
    if let Some(said) = debug_offsets::read(tgid, landmarks.runtime_avma, version) {
        said.apply(&mut layout);
        return Some(layout);
    }
    let code = type_members::read(tgid, landmarks.code_type_avma);
    if let Some(members) = code {
        let frame = type_members::read(tgid, landmarks.frame_type_avma).unwrap_or_default();
        if type_members::apply(&mut layout, &members, &frame) {
            layout.source = LayoutSource::Types;
        }
    }
    Some(layout)
}

/// What is known of a version.
///
/// # Sources
/// CPython's Include/cpython/pystate.h, Include/cpython/code.h, Include/frameobject.h (3.8-3.10),
/// Include/internal/pycore_frame.h (3.11 and later) and Include/cpython/unicodeobject.h.
fn table_of(version: Version) -> Option<Layout> {
    if version.major != 3 || !KNOWN_MINORS.contains(&version.minor) {
        return None;
    }
    let minor = version.minor;
    let common = PythonLayout {
        kind: PYTHON_FRAMES,
        cframe_frame: NO_OFFSET,
        instr_form: INSTR_POINTER,
        frame_instr: 56,
        ..PythonLayout::default()
    };
    let object_frames = PythonLayout {
        tstate_thread_id: 176,
        tstate_frame: 24,
        frame_code: 32,
        frame_previous: 24,
        instr_form: INSTR_LASTI,
        frame_entry: NO_OFFSET,
        ..common
    };
    let direct = PythonLayout {
        tstate_thread_id: 152,
        tstate_frame: 72,
        frame_code: 0,
        frame_previous: 8,
        frame_entry_value: 3,
        ..common
    };
    let walk = match minor {
        8 | 9 => PythonLayout { frame_instr: 104, ..object_frames },
        10 => PythonLayout { frame_instr: 96, ..object_frames },
        11 => PythonLayout {
            tstate_thread_id: 152,
            tstate_frame: 56,
            cframe_frame: 8,
            frame_code: 32,
            frame_previous: 48,
            frame_entry: 68,
            frame_entry_value: 1,
            ..common
        },
        12 => PythonLayout {
            tstate_thread_id: 136,
            tstate_frame: 56,
            cframe_frame: 0,
            frame_entry: 70,
            ..direct
        },
        13 => PythonLayout { frame_entry: 70, ..direct },
        14 => PythonLayout { frame_entry: 74, ..direct },
        _ => PythonLayout { tstate_thread_id: 176, frame_entry: 74, ..direct },
    };
    Some(Layout {
        walk,
        objects: objects_of(minor),
        source: LayoutSource::Tables,
        free_threaded: false,
    })
}

fn objects_of(minor: u8) -> ObjectLayout {
    let base = ObjectLayout {
        kind: HEADER_BYTES - 8,
        first_line: 68,
        filename: 112,
        name: 128,
        line_table: 136,
        lines: LineForm::Deltas,
        ..text_and_bytes(minor, HEADER_BYTES)
    };
    let old = ObjectLayout { first_line: 40, filename: 104, name: 112, line_table: 120, ..base };
    let lines = |bytecode| LineForm::Locations { bytecode };
    match minor {
        8 | 9 => old,
        10 => ObjectLayout { lines: LineForm::Ranges, ..old },
        11 => ObjectLayout { first_line: 72, lines: lines(184), ..base },
        12 => ObjectLayout { lines: lines(192), ..base },
        13 => ObjectLayout { lines: lines(200), ..base },
        _ => ObjectLayout { lines: lines(208), ..base },
    }
}

/// Text and bytes objects behind a header of `header` bytes; the code fields are zero. Up to 3.11
/// texts have a pointer more.
fn text_and_bytes(minor: u8, header: usize) -> ObjectLayout {
    let (ascii_data, wide_data) =
        if minor < 12 { (header + 32, header + 56) } else { (header + 24, header + 40) };
    ObjectLayout {
        kind: header - 8,
        first_line: 0,
        filename: 0,
        name: 0,
        line_table: 0,
        lines: LineForm::Deltas,
        text_length: header,
        text_state: header + 16,
        ascii_data,
        wide_data,
        bytes_length: header,
        bytes_data: header + 16,
    }
}

impl Layout {
    /// Objects have the larger header of builds without the GIL.
    pub(super) fn without_gil(&mut self, minor: u8) {
        self.free_threaded = true;
        let ObjectLayout { first_line, filename, name, line_table, lines, .. } = self.objects;
        self.objects = ObjectLayout {
            first_line,
            filename,
            name,
            line_table,
            lines,
            ..text_and_bytes(minor, FREE_THREADED_HEADER_BYTES)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_version_has_a_table_that_the_kernel_side_can_use() {
        for minor in 0..=30 {
            let version = Version { major: 3, minor, micro: 0 };
            let table = table_of(version);
            assert_eq!(table.is_some(), KNOWN_MINORS.contains(&minor), "{version}");
            let Some(Layout { walk, objects, .. }) = table else { continue };
            let limit = if walk.instr_form == INSTR_LASTI { 112 } else { 80 };
            for offset in [walk.frame_code, walk.frame_previous] {
                assert!(offset % 8 == 0 && offset + 8 <= limit, "{version}");
            }
            assert!(walk.frame_instr + 4 <= limit && walk.tstate_thread_id != NO_OFFSET);
            assert!(walk.frame_entry == NO_OFFSET || walk.frame_entry < limit);
            assert!(objects.code_bytes() <= 256, "{version}");
        }
        assert_eq!(table_of(Version { major: 2, minor: 7, micro: 18 }), None);
    }
}
