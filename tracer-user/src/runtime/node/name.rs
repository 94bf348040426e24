//! What a JavaScript frame turns out to be, or why that could not be told.

use crate::stack::Generated;

/// A JavaScript function at a place in its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsName {
    /// The function as V8 names it; `<anonymous>` where it has no name.
    pub function: String,
    /// Its file as people know it: a path, `node:internal/...`, or where the text of an `eval` is
    /// from. That of the original where a source map leads there. `None` for built-in functions.
    pub file: Option<String>,
    /// Line that is executing, 1-based; that of the function itself where the place in it is
    /// not known.
    pub line: Option<u32>,
    /// Where the code that runs has it, when a source map led from there to `file` and `line`.
    pub generated: Option<Generated>,
    /// Part of V8, not of the program or of Node.
    pub is_builtin: bool,
    /// Whether `line` is the one that is executing, where the function has lines at all.
    pub is_exact: bool,
}

/// Why a frame has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JsFailure {
    /// Memory that was needed could not be read: the process has ended, or freed it.
    Unreadable,
    /// What should be a function is none: the kernel side found no function, or the memory has
    /// been used again.
    NotAFunction,
    /// The function was moved, or another took its place, before it was looked at.
    Moved,
    /// There is no compiled code at the return address (any more), and nothing else names the
    /// function.
    NoCode,
    /// A kind of frame that is not known.
    UnknownKind,
    /// It is new, and the time for reading what is new was used up: the next stack that it stands
    /// in may find it.
    NoTime,
}

impl JsFailure {
    /// All of them.
    pub const ALL: [JsFailure; 6] = [
        JsFailure::Unreadable,
        JsFailure::NotAFunction,
        JsFailure::Moved,
        JsFailure::NoCode,
        JsFailure::UnknownKind,
        JsFailure::NoTime,
    ];

    /// Name in reports: `unreadable`, `not_a_function`, `moved`, `no_code`, `unknown_kind`,
    /// `no_time`.
    pub const fn name(self) -> &'static str {
        match self {
            JsFailure::Unreadable => "unreadable",
            JsFailure::NotAFunction => "not_a_function",
            JsFailure::Moved => "moved",
            JsFailure::NoCode => "no_code",
            JsFailure::UnknownKind => "unknown_kind",
            JsFailure::NoTime => "no_time",
        }
    }
}
