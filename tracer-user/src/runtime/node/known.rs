//! The layouts of the versions of V8 that are in use, as measured on official builds of Node and,
//! where those export it, as they say themselves.

use super::objects::{ObjectLayout, PositionForm, TypeNumbers};

/// A version of V8 that is known.
pub(super) struct Known {
    pub(super) major: u32,
    pub(super) minor: u32,
    /// `JSFunction.shared_function_info`.
    pub(super) function_shared: u32,
    pub(super) objects: ObjectLayout,
}

const fn known(major: u32, minor: u32, function_shared: u32, objects: ObjectLayout) -> Known {
    Known { major, minor, function_shared, objects }
}

/// The V8 of Node 18: code lies in its `Code` object.
const V10_2: ObjectLayout = ObjectLayout {
    types: TypeNumbers {
        shared: 257,
        scope: 256,
        script: 170,
        debug_info: 156,
        bytecode_array: 195,
        interpreter_data: 162,
        code: 240,
        instruction_stream: 0,
        byte_array: 194,
        trusted_byte_array: 0,
        fixed_array: 179,
        shared_wrapper: 0,
    },
    shared_name: 16,
    shared_script: 32,
    has_untrusted_data: false,
    scope_variables: 3,
    module_scope: 3,
    has_fixed_positions: false,
    script_source_url: 104,
    bytecode_positions: 32,
    position_form: PositionForm::Signed,
    bytecode_data: 56,
    code_deoptimization: 16,
    code_start: 128,
    code_size: 40,
    code_flags: 48,
    baseline_kind: 11,
    inlined_count: 1,
    literals: 2,
    function: 6,
    inlining_positions: 7,
};

/// The V8 of Node 20.
const V11_3: ObjectLayout = ObjectLayout {
    types: TypeNumbers {
        shared: 262,
        scope: 261,
        script: 167,
        debug_info: 153,
        bytecode_array: 191,
        interpreter_data: 159,
        code: 245,
        instruction_stream: 252,
        byte_array: 190,
        fixed_array: 175,
        ..V10_2.types
    },
    script_source_url: 112,
    bytecode_data: 54,
    code_start: 40,
    code_size: 56,
    ..V10_2
};

/// The V8 of Node 22: bytecode and code lie in the trusted space.
const V12_4: ObjectLayout = ObjectLayout {
    types: TypeNumbers {
        shared: 274,
        scope: 272,
        script: 167,
        debug_info: 154,
        bytecode_array: 205,
        interpreter_data: 207,
        code: 206,
        instruction_stream: 210,
        byte_array: 186,
        trusted_byte_array: 212,
        fixed_array: 174,
        shared_wrapper: 0,
    },
    bytecode_positions: 24,
    bytecode_data: 64,
    code_deoptimization: 8,
    code_size: 52,
    baseline_kind: 10,
    ..V11_3
};

/// The V8 of Node 24.
const V13_6: ObjectLayout = ObjectLayout {
    types: TypeNumbers {
        shared: 282,
        scope: 280,
        script: 167,
        debug_info: 154,
        bytecode_array: 186,
        interpreter_data: 188,
        code: 187,
        instruction_stream: 192,
        byte_array: 217,
        trusted_byte_array: 196,
        fixed_array: 205,
        shared_wrapper: 195,
    },
    shared_name: 24,
    shared_script: 40,
    has_untrusted_data: true,
    scope_variables: 5,
    module_scope: 5,
    has_fixed_positions: true,
    code_size: 56,
    code_flags: 52,
    literals: 3,
    function: 7,
    inlining_positions: 8,
    ..V12_4
};

/// The V8 of Node 26.
const V14_6: ObjectLayout = ObjectLayout {
    types: TypeNumbers {
        shared: 288,
        scope: 286,
        script: 166,
        debug_info: 153,
        bytecode_array: 185,
        interpreter_data: 187,
        code: 186,
        instruction_stream: 192,
        byte_array: 218,
        trusted_byte_array: 196,
        fixed_array: 205,
        shared_wrapper: 195,
    },
    position_form: PositionForm::Flagged,
    baseline_kind: 11,
    ..V13_6
};

/// All of them, in order.
pub(super) const KNOWN: [Known; 5] = [
    known(10, 2, 24, V10_2),
    known(11, 3, 24, V11_3),
    known(12, 4, 32, V12_4),
    known(13, 6, 32, V13_6),
    known(14, 6, 32, V14_6),
];

/// Versions that are known, for people.
pub(super) const KNOWN_NODES: &str = "18, 20, 22, 24 and 26";

#[cfg(test)]
pub(super) fn known_layouts() -> impl Iterator<Item = (super::V8Version, ObjectLayout)> {
    KNOWN.iter().map(|known| {
        let version = super::V8Version {
            major: known.major,
            minor: known.minor,
            ..super::V8Version::default()
        };
        (version, known.objects)
    })
}
