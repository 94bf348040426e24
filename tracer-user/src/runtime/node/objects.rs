//! Where V8 keeps things in its objects; offsets in bytes. The values are `known`'s and `layout`'s.

/// Numbers of the types of objects, as `Map.instance_type` has them; 0 where there is no such type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeNumbers {
    /// `SharedFunctionInfo`.
    pub shared: u16,
    /// `ScopeInfo`.
    pub scope: u16,
    /// `Script`.
    pub script: u16,
    /// `DebugInfo`.
    pub debug_info: u16,
    /// `BytecodeArray`.
    pub bytecode_array: u16,
    /// `InterpreterData`.
    pub interpreter_data: u16,
    /// `Code`.
    pub code: u16,
    /// `InstructionStream`; 0 where the code lies in the `Code` object itself.
    pub instruction_stream: u16,
    /// `ByteArray`.
    pub byte_array: u16,
    /// `TrustedByteArray`.
    pub trusted_byte_array: u16,
    /// `FixedArray`.
    pub fixed_array: u16,
    /// `SharedFunctionInfoWrapper`.
    pub shared_wrapper: u16,
}

/// Offsets in objects, in bytes from their first byte, and how some of them are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLayout {
    /// Types.
    pub types: TypeNumbers,
    /// `SharedFunctionInfo.name_or_scope_info`.
    pub shared_name: u32,
    /// `SharedFunctionInfo.script`.
    pub shared_script: u32,
    /// A `SharedFunctionInfo` keeps the number of a built-in function in a second word, behind
    /// the one for its code.
    pub has_untrusted_data: bool,
    /// First slot of the variable part of a `ScopeInfo`, in words behind the map.
    pub scope_variables: u32,
    /// Number of the scope type for modules.
    pub module_scope: u32,
    /// A `ScopeInfo` has the positions of its function in slots 3 and 4.
    pub has_fixed_positions: bool,
    /// `Script.source_url`; `Script.source_mapping_url` is the next word.
    pub script_source_url: u32,
    /// `BytecodeArray.source_position_table`.
    pub bytecode_positions: u32,
    /// How tables of source positions begin their entries.
    pub position_form: PositionForm,
    /// The first bytecode.
    pub bytecode_data: u32,
    /// `Code.deoptimization_data`, or the bytecode of baseline code; the table of positions is the
    /// next word.
    pub code_deoptimization: u32,
    /// `Code.instruction_start`, or the first instruction where there is no `InstructionStream`.
    pub code_start: u32,
    /// `Code.instruction_size`, a 32-bit number.
    pub code_size: u32,
    /// `Code.flags`; the kind is in the lowest four bits.
    pub code_flags: u32,
    /// Kind of baseline code; optimised code has greater ones.
    pub baseline_kind: u32,
    /// Index in the deoptimization data of the number of inlined functions.
    pub inlined_count: u32,
    /// Index there of the literals, of which inlined functions are the first.
    pub literals: u32,
    /// Index there of the function, or of its wrapper.
    pub function: u32,
    /// Index there of the places of inlined calls.
    pub inlining_positions: u32,
}

/// How an entry of a table of source positions gives its distance from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PositionForm {
    /// A signed number; those that do not begin a statement are negative.
    #[default]
    Signed,
    /// An unsigned one, above two bits that say what debuggers want to know.
    Flagged,
}
