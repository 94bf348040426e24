//! The books of a window: kinds of memory and by how much each changed.

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    LiveMalloc,
    LivePython,
    LiveV8,
    AllocatorOverhead,
    AllocatorRetained,
    /// All of the allocator's memory, where it cannot be told what of it is live.
    AllocatorWhole,
    Untouched,
    PythonArenas,
    V8Heap,
    ThreadStacks,
    MainStack,
    Files,
    FileData,
    Shared,
    Direct,
    Special,
    Unexplained,
}

impl Kind {
    /// Name in report.json.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::LiveMalloc => "live-malloc",
            Kind::LivePython => "live-python",
            Kind::LiveV8 => "live-v8",
            Kind::AllocatorOverhead => "allocator-overhead",
            Kind::AllocatorRetained => "allocator-retained",
            Kind::AllocatorWhole => "allocator-whole",
            Kind::Untouched => "untouched",
            Kind::PythonArenas => "python-arenas",
            Kind::V8Heap => "v8-heap",
            Kind::ThreadStacks => "thread-stacks",
            Kind::MainStack => "main-stack",
            Kind::Files => "files",
            Kind::FileData => "file-data",
            Kind::Shared => "shared",
            Kind::Direct => "direct-mappings",
            Kind::Special => "special",
            Kind::Unexplained => "unexplained",
        }
    }

    /// The same for people.
    pub const fn title(self) -> &'static str {
        match self {
            Kind::LiveMalloc => "live blocks of malloc",
            Kind::LivePython => "live Python objects",
            Kind::LiveV8 => "live JavaScript objects",
            Kind::AllocatorOverhead => "allocator's overhead",
            Kind::AllocatorRetained => "freed, kept by the allocator",
            Kind::AllocatorWhole => "allocator, blocks and what it keeps",
            Kind::Untouched => "allocated, never touched",
            Kind::PythonArenas => "Python's arenas",
            Kind::V8Heap => "V8's heap",
            Kind::ThreadStacks => "stacks of threads",
            Kind::MainStack => "stack of the main thread",
            Kind::Files => "pages of mapped files",
            Kind::FileData => "written data of mapped files",
            Kind::Shared => "shared memory",
            Kind::Direct => "mapped by the program",
            Kind::Special => "the kernel's own mappings",
            Kind::Unexplained => "unexplained",
        }
    }
}

/// What one kind of memory has to do with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// By how much it changed, bytes.
    pub change_bytes: i64,
    /// How much it is at the end, where that is known.
    pub last_bytes: Option<u64>,
}

/// The books of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Resident or swapped out at the first reading, bytes.
    pub first_bytes: u64,
    /// The same at the last.
    pub last_bytes: u64,
    /// They add up to the change; the largest first, whatever its sign. None is zero.
    pub rows: Vec<Row>,
}

impl Account {
    /// By how much resident memory changed, bytes.
    pub fn change_bytes(&self) -> i64 {
        difference(self.last_bytes, self.first_bytes)
    }

    /// Change of one kind.
    pub fn change_of(&self, kind: Kind) -> i64 {
        self.rows.iter().find(|row| row.kind == kind).map_or(0, |row| row.change_bytes)
    }

    /// The part of the change that rows other than the unexplained one account for, 0 to 1; `None`
    /// where it changed by less than `least_bytes`.
    pub fn explained_share(&self, least_bytes: u64) -> Option<f64> {
        let change = self.change_bytes().unsigned_abs();
        let unexplained = self.change_of(Kind::Unexplained).unsigned_abs();
        (change >= least_bytes.max(1))
            .then(|| (1.0 - unexplained as f64 / change as f64).clamp(0.0, 1.0))
    }
}

/// `a - b` of amounts that captures may choose.
pub(super) fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}
