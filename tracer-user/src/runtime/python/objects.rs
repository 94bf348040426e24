//! Where CPython keeps things in code, text and bytes objects; offsets in bytes.

/// Bytes of an object's header (`PyObject`): reference count and type.
pub const HEADER_BYTES: usize = 16;
/// The same in builds without the GIL.
pub const FREE_THREADED_HEADER_BYTES: usize = 32;

/// How a frame's record leads to a line; see `location` and `line_deltas`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineForm {
    /// `co_lnotab` (3.8, 3.9); records are byte offsets.
    #[default]
    Deltas,
    /// `co_linetable` of 3.10; records count units of two bytes.
    Ranges,
    /// `co_linetable` of 3.11 and later; records are distances from the code object.
    Locations {
        /// Where bytecode begins in a code object.
        bytecode: i64,
    },
}

/// Offsets in the objects of one CPython.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLayout {
    /// Type of any object.
    pub kind: usize,
    /// `co_firstlineno`.
    pub first_line: usize,
    /// `co_filename`.
    pub filename: usize,
    /// `co_qualname` (3.11 and later), `co_name`.
    pub name: usize,
    /// `co_linetable`, `co_lnotab`.
    pub line_table: usize,
    /// What the line table is.
    pub lines: LineForm,
    /// Length of a text, in characters.
    pub text_length: usize,
    /// Its form: width, compactness.
    pub text_state: usize,
    /// Its characters, where all are ASCII.
    pub ascii_data: usize,
    /// Its characters otherwise.
    pub wide_data: usize,
    /// Length of a bytes object.
    pub bytes_length: usize,
    /// Its bytes.
    pub bytes_data: usize,
}

impl ObjectLayout {
    /// Bytes of a code object that hold all fields named here.
    pub fn code_bytes(&self) -> usize {
        let fields = [self.first_line, self.filename, self.name, self.line_table, self.kind];
        fields.into_iter().max().unwrap_or(0) + 8
    }
}
