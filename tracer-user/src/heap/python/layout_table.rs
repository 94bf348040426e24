//! The offsets of each version of CPython, as its headers have them on x86-64.
//!
//! # Sources
//! CPython 3.8-3.15: Include/cpython/object.h, dictobject.h, setobject.h, listobject.h,
//! tupleobject.h, unicodeobject.h, funcobject.h, code.h, pystate.h, Include/frameobject.h (3.8 to
//! 3.10), Include/internal/pycore_frame.h, pycore_interpframe_structs.h, pycore_dict.h;
//! Objects/dict-common.h, Modules/_collectionsmodule.c,
//! Modules/_functoolsmodule.c, Modules/_asynciomodule.c.

use super::layout::{
    CodeLayout, DequeLayout, DictLayout, ExceptionLayout, FrameLayout, FunctionLayout, HeapLayout,
    InstanceForm, KeysForm, KindLayout, SetLayout, SmallLayout, StackTop, TextLayout,
};
use super::state_layout::state;
use crate::runtime::python::Version;
use crate::runtime::python::layout::KNOWN_MINORS;

/// The collector's header.
const GC_BYTES: u64 = 16;
/// What an object's header is longer by in builds without the GIL.
const FREE_THREADED_EXTRA: u64 = 16;

/// What is known of a version; `None` for others.
pub(super) fn table_of(version: Version, free_threaded: bool) -> Option<HeapLayout> {
    if version.major != 3 || !KNOWN_MINORS.contains(&version.minor) {
        return None;
    }
    let minor = version.minor;
    if free_threaded && minor < 13 {
        return None;
    }
    // Every field behind the header lies that much further.
    let more = if free_threaded { FREE_THREADED_EXTRA } else { 0 };
    Some(HeapLayout {
        version,
        free_threaded,
        object_kind: 8 + more,
        header_bytes: 16 + more,
        gc_bytes: if free_threaded { 0 } else { GC_BYTES },
        preheader_flags: match minor {
            ..=10 => 0,
            // Bit 3 means something else there.
            11 => 1 << 4,
            _ => 3 << 3,
        },
        pool_bytes: if minor >= 10 { 16 << 10 } else { 4 << 10 },
        kind: kind(minor, more),
        dict: dict(minor, more),
        set: SetLayout {
            used: 24 + more,
            mask: 32 + more,
            table: 40 + more,
            small_table: 64 + more,
            weak_list: 192 + more,
        },
        list_items: 24 + more,
        list_allocated: 32 + more,
        tuple_items: if minor >= 14 { 32 } else { 24 } + more,
        deque: DequeLayout {
            left_block: 24 + more,
            right_block: 32 + more,
            left_index: 40 + more,
            right_index: 48 + more,
            block_bytes: 528,
            block_items: 8,
            block_length: 64,
            block_right: 520,
        },
        text: text(minor, more, free_threaded),
        small: small(minor, more),
        function: function(minor, more),
        code: code(minor, more),
        frame: frame(minor, more),
        exception: exception(minor, more),
        state: state(minor),
    })
}

fn kind(minor: u8, more: u64) -> KindLayout {
    let (static_bytes, heap_bytes) = match minor {
        8 => (416, 880),
        9 => (408, 880),
        10 => (408, 888),
        11 => (408, 904),
        12 => (416, 920),
        13 => (416, 928),
        14 => (416, 936),
        _ => (424, 944),
    };
    let heap_name = match minor {
        9 => 840,
        8 | 10 | 11 => 848,
        12..=14 => 856,
        _ => 864,
    } + more;
    KindLayout {
        static_bytes: static_bytes + more,
        heap_bytes: heap_bytes + more,
        name: 24 + more,
        basic_size: 32 + more,
        item_size: 40 + more,
        flags: 168 + more,
        weak_list_offset: 208 + more,
        members: 240 + more,
        base: 256 + more,
        dict: 264 + more,
        dict_offset: 288 + more,
        bases: 336 + more,
        mro: 344 + more,
        cache: 352 + more,
        subclasses: 360 + more,
        weak_list: 368 + more,
        heap_name,
        slots: heap_name + 8,
        qualname: heap_name + 16,
        cached_keys: heap_name + 24,
        module: (minor >= 9).then_some(heap_name + 32),
    }
}

fn dict(minor: u8, more: u64) -> DictLayout {
    DictLayout {
        used: 16 + more,
        keys: 32 + more,
        values: 40 + more,
        first_value: if minor >= 13 { 8 } else { 0 },
        keys_form: if minor >= 11 { KeysForm::Logarithmic } else { KeysForm::Sized },
        instance: match minor {
            ..=10 => InstanceForm::DictOffset,
            11 => InstanceForm::DictAndValues,
            12 => InstanceForm::Tagged,
            _ => InstanceForm::Inline,
        },
    }
}

fn text(minor: u8, more: u64, free_threaded: bool) -> TextLayout {
    // Up to 3.11 texts have a pointer to wide characters, and another length.
    let (ascii_data, compact_data) = if minor >= 12 { (40, 56) } else { (48, 72) };
    TextLayout {
        length: 16 + more,
        state: 32 + more,
        // Before the width stands `interned`: two bits, and a byte from 3.14 on without the GIL,
        // where it is written to atomically.
        state_shift: if free_threaded && minor >= 14 { 8 } else { 2 },
        ascii_data: ascii_data + more,
        compact_data: compact_data + more,
        utf8_length: ascii_data + more,
        utf8: ascii_data + 8 + more,
        data_pointer: compact_data + more,
        bytes_data: 32 + more,
        array_allocated: 24 + more,
        array_bytes: 32 + more,
        int_is_tagged: minor >= 12,
    }
}

fn small(minor: u8, more: u64) -> SmallLayout {
    SmallLayout {
        module_dict: 16 + more,
        module_name: 48 + more,
        cell: 16 + more,
        method_function: 16 + more,
        method_self: 24 + more,
        method_weak_list: 32 + more,
        weakref_object: 16 + more,
        weakref_callback: 24 + more,
        weakref_previous: 40 + more,
        weakref_next: 48 + more,
        traceback_next: 16 + more,
        traceback_frame: 24 + more,
        lru_cache: 72 + more,
        // Since 3.10 the traceback of its exception stands before it.
        future_result: if minor >= 10 { 64 } else { 56 } + more,
        task_coroutine: match minor {
            8 => 112,
            9 => 152,
            10 => 160,
            11 | 12 => 136,
            13 => 120,
            _ => 128,
        } + more,
    }
}

fn function(minor: u8, more: u64) -> FunctionLayout {
    if minor <= 9 {
        return FunctionLayout {
            globals: 24,
            builtins: None,
            name: 64,
            qualname: 104,
            code: 16,
            defaults: 32,
            keyword_defaults: 40,
            closure: 48,
            doc: 56,
            dict: 72,
            weak_list: 80,
            module: 88,
            annotations: 96,
            annotate: None,
            type_params: None,
            references_end: 112,
        };
    }
    FunctionLayout {
        globals: 16 + more,
        builtins: Some(24 + more),
        name: 32 + more,
        qualname: 40 + more,
        code: 48 + more,
        defaults: 56 + more,
        keyword_defaults: 64 + more,
        closure: 72 + more,
        doc: 80 + more,
        dict: 88 + more,
        weak_list: 96 + more,
        module: 104 + more,
        annotations: 112 + more,
        annotate: (minor >= 14).then_some(120 + more),
        type_params: match minor {
            ..=11 => None,
            12 | 13 => Some(120 + more),
            _ => Some(128 + more),
        },
        references_end: match minor {
            ..=11 => 120,
            12 | 13 => 128,
            _ => 136,
        } + more,
    }
}

fn code(minor: u8, more: u64) -> CodeLayout {
    if minor <= 10 {
        return CodeLayout {
            constants: 56,
            names: 64,
            filename: 104,
            name: 112,
            qualname: None,
            weak_list: 136,
            stack_size: 32,
            local_count: 28,
            variable_names: Some([72, 88, 80]),
            slot_names: None,
            slot_count: None,
            first_line: 40,
            bytes: 176,
            slot_kinds: None,
            references: &[48, 56, 64, 72, 80, 88, 104, 112, 120],
        };
    }
    CodeLayout {
        constants: 24 + more,
        names: 32 + more,
        filename: 112 + more,
        name: 120 + more,
        qualname: Some(128 + more),
        weak_list: 144 + more,
        stack_size: if minor == 11 { 68 } else { 64 } + more,
        local_count: 80 + more,
        variable_names: None,
        slot_names: Some(96 + more),
        slot_count: Some(if minor == 11 { 76 } else { 72 } + more),
        first_line: if minor == 11 { 72 } else { 68 } + more,
        bytes: match minor {
            11 => 184,
            12 => 192,
            13 => 200,
            _ => 208,
        } + more,
        slot_kinds: Some(104 + more),
        // Of builds with the GIL: of others nobody asks.
        references: &[24, 32, 40, 96, 104, 112, 120, 128, 136],
    }
}

fn frame(minor: u8, more: u64) -> FrameLayout {
    if minor <= 10 {
        let is_10 = minor == 10;
        return FrameLayout {
            object_back: 24,
            object_locals: Some(if is_10 { 352 } else { 360 }),
            object_own_frame: None,
            object_frame: None,
            object_trace: if is_10 { 72 } else { 80 },
            code: 32,
            reference_mask: u64::MAX,
            globals: 48,
            builtins: 40,
            locals_dict: 56,
            function: None,
            frame_object: None,
            previous: 24,
            slots: if is_10 { 352 } else { 360 },
            owner: None,
            stack_top: if is_10 { StackTop::Depth(64, 80) } else { StackTop::Pointers(64, 72) },
            generator_frame: 16,
            generator_state: None,
            generator_executing: 0,
            generator_weak_list: if is_10 { 32 } else { 40 },
            generator_name: if is_10 { 40 } else { 48 },
            generator_qualname: if is_10 { 48 } else { 56 },
            generator_code: Some(if is_10 { 24 } else { 32 }),
            generator_exception: if is_10 { 56 } else { 64 },
            generator_origin: if is_10 { 88 } else { 96 },
        };
    }
    let is_11 = minor == 11;
    // From 3.12 the code comes first.
    let behind = if is_11 { 0 } else { 16 };
    // Fields that follow the pointer which 3.11 has before a generator's weak references.
    let generator = if is_11 { 24 } else { 16 } + more;
    FrameLayout {
        object_back: 16 + more,
        object_locals: None,
        object_own_frame: Some(
            match minor {
                11 | 12 => 48,
                13 => 64,
                _ => 72,
            } + more,
        ),
        object_frame: Some(24 + more),
        object_trace: 32 + more,
        code: if is_11 { 32 } else { 0 },
        reference_mask: if minor >= 14 { !3 } else { u64::MAX },
        globals: 8 + behind,
        builtins: 16 + behind,
        locals_dict: 24 + behind,
        function: Some(behind),
        frame_object: Some(if is_11 { 40 } else { 48 }),
        previous: if is_11 { 48 } else { 8 },
        slots: if minor >= 14 { 80 } else { 72 },
        owner: Some(match minor {
            11 => 69,
            12 | 13 => 70,
            _ => 74,
        }),
        stack_top: if minor >= 14 { StackTop::Pointer(64) } else { StackTop::Count(64) },
        generator_frame: generator + 56,
        generator_state: Some(generator + 51),
        generator_executing: if minor >= 15 { 4 } else { 0 },
        generator_weak_list: generator,
        generator_name: generator + 8,
        generator_qualname: generator + 16,
        generator_code: is_11.then_some(16 + more),
        generator_exception: generator + 24,
        generator_origin: generator + 40,
    }
}

fn exception(minor: u8, more: u64) -> ExceptionLayout {
    let notes = minor >= 11;
    let behind = if notes { 40 } else { 32 } + more;
    ExceptionLayout {
        dict: 16 + more,
        args: 24 + more,
        notes: notes.then_some(32 + more),
        traceback: behind,
        context: behind + 8,
        cause: behind + 16,
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::TextForm;
    use super::*;

    #[test]
    fn the_form_of_a_text_lies_behind_a_byte_in_later_builds_without_the_gil() {
        // "interned", compact, ASCII, of one byte a character.
        let cases = [
            (12, false, 0x65),
            (13, true, 0x65),
            (14, false, 0xe5),
            (14, true, 0x1901),
            (15, true, 0x1903),
        ];
        for (minor, free_threaded, state) in cases {
            let version = Version { major: 3, minor, micro: 0 };
            let layout = table_of(version, free_threaded).unwrap();
            let expected = TextForm { width: 1, is_compact: true, is_ascii: true };
            assert_eq!(layout.text.form(state), expected, "3.{minor}, {free_threaded}");
        }
    }
}
