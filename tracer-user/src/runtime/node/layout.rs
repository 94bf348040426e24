//! Where V8's objects keep what: by version, corrected by what the file says itself, and checked.

use super::known::KNOWN;
use super::metadata::Metadata;
use super::objects::{ObjectLayout, TypeNumbers};
use super::version::V8Version;
use tracer_common::v8::{V8_FRAMES, V8Layout};

/// Largest offset in an object that is believed, in bytes.
const MAX_OFFSET: u32 = 256;
/// Largest number of a type that is believed.
const MAX_TYPE: u16 = 4096;

/// How frames and objects of the V8 with this metadata are laid out; the built-in code is left to
/// be filled in. `None` for a version that is not known, or what cannot be.
pub(super) fn layout_of(
    version: V8Version,
    metadata: &Metadata,
) -> Option<(V8Layout, ObjectLayout)> {
    let known =
        KNOWN.iter().find(|known| (known.major, known.minor) == (version.major, version.minor))?;
    let mut objects = known.objects;
    for (names, field) in type_fields(&mut objects.types) {
        if let Some(value) = metadata.debugger_value(names) {
            *field = u16::try_from(value).ok()?;
        }
    }
    for (names, field) in offset_fields(&mut objects) {
        if let Some(value) = metadata.debugger_value(names) {
            *field = u32::try_from(value).ok()?;
        }
    }
    let slot = |name: &str, usual: i32| metadata.debugger_value(&[name]).unwrap_or(usual);
    let shared = metadata.debugger_value(&["class_JSFunction__shared__SharedFunctionInfo"]);
    let walk = V8Layout {
        kind: V8_FRAMES,
        fp_context: slot("off_fp_context", -8),
        fp_function: slot("off_fp_function", -16),
        fp_bytecode_array: slot("off_fp_bytecode_array", -32),
        fp_bytecode_offset: slot("off_fp_bytecode_offset", -40),
        function_shared: shared
            .map_or(Some(known.function_shared), |offset| u32::try_from(offset).ok())?,
        shared_name: objects.shared_name,
        shared_script: objects.shared_script,
    };
    (has_plain_words(metadata) && is_plausible(&walk, &objects)).then_some((walk, objects))
}

/// Whether pointers and small integers are whole words: tagged by one bit, integers in the upper
/// half.
fn has_plain_words(metadata: &Metadata) -> bool {
    let expected = [
        ("HeapObjectTag", 1),
        ("HeapObjectTagMask", 3),
        ("SmiTag", 0),
        ("SmiTagMask", 1),
        ("SmiShiftSize", 31),
        ("TaggedSize", 8),
        ("FirstNonstringType", 128),
        ("StringRepresentationMask", 7),
        ("class_Map__instance_type__uint16_t", 12),
        ("class_HeapObject__map__Map", 0),
    ];
    expected
        .iter()
        .all(|(name, value)| metadata.debugger_value(&[name]).is_none_or(|found| found == *value))
}

pub(super) fn is_plausible(walk: &V8Layout, objects: &ObjectLayout) -> bool {
    let slots =
        [walk.fp_context, walk.fp_function, walk.fp_bytecode_array, walk.fp_bytecode_offset];
    let words = [
        walk.function_shared,
        objects.shared_name,
        objects.shared_script,
        objects.script_source_url,
        objects.bytecode_positions,
        objects.code_deoptimization,
        objects.code_start,
    ];
    let halves = [objects.code_size, objects.code_flags, objects.bytecode_data];
    let types = objects.types;
    let wanted = [types.shared, types.scope, types.script, types.bytecode_array, types.code];
    let is_distinct = |index: usize| !wanted[index + 1..].contains(&wanted[index]);
    slots.iter().all(|slot| *slot < 0 && *slot >= -256 && slot % 8 == 0)
        && words.iter().all(|word| *word >= 8 && *word <= MAX_OFFSET && word % 8 == 0)
        && halves.iter().all(|half| *half >= 8 && *half <= MAX_OFFSET && half % 2 == 0)
        && (0..wanted.len()).all(is_distinct)
        && wanted.iter().all(|number| *number >= 128 && *number < MAX_TYPE)
        && objects.baseline_kind < 16
        && [objects.literals, objects.function, objects.inlining_positions, objects.inlined_count]
            .iter()
            .all(|index| *index < 16)
        && objects.scope_variables < 16
}

/// Types, with the names under which debuggers find them.
fn type_fields(types: &mut TypeNumbers) -> [(&'static [&'static str], &mut u16); 12] {
    [
        (&["type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE"], &mut types.shared),
        (&["type_ScopeInfo__SCOPE_INFO_TYPE"], &mut types.scope),
        (&["type_Script__SCRIPT_TYPE"], &mut types.script),
        (&["type_DebugInfo__DEBUG_INFO_TYPE"], &mut types.debug_info),
        (&["type_BytecodeArray__BYTECODE_ARRAY_TYPE"], &mut types.bytecode_array),
        (&["type_InterpreterData__INTERPRETER_DATA_TYPE"], &mut types.interpreter_data),
        (&["type_Code__CODE_TYPE"], &mut types.code),
        (&["type_InstructionStream__INSTRUCTION_STREAM_TYPE"], &mut types.instruction_stream),
        (&["type_ByteArray__BYTE_ARRAY_TYPE"], &mut types.byte_array),
        (&["type_TrustedByteArray__TRUSTED_BYTE_ARRAY_TYPE"], &mut types.trusted_byte_array),
        (&["type_FixedArray__FIXED_ARRAY_TYPE"], &mut types.fixed_array),
        (
            &["type_SharedFunctionInfoWrapper__SHARED_FUNCTION_INFO_WRAPPER_TYPE"],
            &mut types.shared_wrapper,
        ),
    ]
}

/// Offsets and indices, likewise.
fn offset_fields(objects: &mut ObjectLayout) -> [(&'static [&'static str], &mut u32); 13] {
    [
        (
            &[
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_NameOrScopeInfoT_",
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_Object_",
                "class_SharedFunctionInfo__name_or_scope_info__Object",
            ],
            &mut objects.shared_name,
        ),
        (
            &[
                "class_SharedFunctionInfo__script__Tagged_HeapObject_",
                "class_SharedFunctionInfo__script_or_debug_info__HeapObject",
            ],
            &mut objects.shared_script,
        ),
        (&["scopeinfo_idx_first_vars"], &mut objects.scope_variables),
        (&["class_BytecodeArray__data__uintptr_t"], &mut objects.bytecode_data),
        (&["class_Code__deoptimization_data__FixedArray"], &mut objects.code_deoptimization),
        (
            &["class_Code__instruction_start__Address", "class_Code__instruction_start__uintptr_t"],
            &mut objects.code_start,
        ),
        (&["class_Code__instruction_size__int"], &mut objects.code_size),
        (&["class_Code__flags__uint32_t"], &mut objects.code_flags),
        (&["CodeKindBaseline"], &mut objects.baseline_kind),
        (&["DeoptimizationDataInlinedFunctionCountIndex"], &mut objects.inlined_count),
        (&["DeoptimizationDataLiteralArrayIndex"], &mut objects.literals),
        (
            &[
                "DeoptimizationDataWrappedSharedFunctionInfoIndex",
                "DeoptimizationDataSharedFunctionInfoIndex",
            ],
            &mut objects.function,
        ),
        (&["DeoptimizationDataInliningPositionsIndex"], &mut objects.inlining_positions),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> V8Version {
        V8Version { major, minor, build: 1, patch: 2 }
    }

    #[test]
    fn each_known_version_has_a_plausible_layout() {
        for known in &KNOWN {
            let found = layout_of(version(known.major, known.minor), &Metadata::default());
            let (walk, objects) = found.unwrap();
            assert_eq!(objects, known.objects);
            assert_eq!((walk.fp_function, walk.fp_bytecode_offset), (-16, -40));
        }
    }

    #[test]
    fn other_versions_are_unknown() {
        for (major, minor) in [(0, 0), (9, 4), (10, 8), (11, 8), (13, 7), (15, 0)] {
            assert_eq!(layout_of(version(major, minor), &Metadata::default()), None);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (walk, objects) = layout_of(version(13, 6), &Metadata::default()).unwrap();
        let with = |change: fn(&mut V8Layout, &mut ObjectLayout)| {
            let (mut walk, mut objects) = (walk, objects);
            change(&mut walk, &mut objects);
            is_plausible(&walk, &objects)
        };
        assert!(with(|_, _| {}));
        assert!(!with(|walk, _| walk.fp_function = 16));
        assert!(!with(|walk, _| walk.function_shared = 1 << 20));
        assert!(!with(|_, objects| objects.shared_name = 9));
        assert!(!with(|_, objects| objects.types.script = objects.types.scope));
        assert!(!with(|_, objects| objects.types.code = 40));
        assert!(!with(|_, objects| objects.literals = 1 << 30));
    }
}
