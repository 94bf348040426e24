//! Source maps.

use super::heap::Heap;
use super::script::{Place, Script};

/// Where the original of a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Original {
    /// Its file.
    pub(super) file: String,
    /// 1-based.
    pub(super) line: u32,
    /// The function's name there, where the map has one.
    pub(super) name: Option<String>,
}

/// The source maps of one process.
#[derive(Debug)]
pub(super) struct SourceMaps {
    tgid: u32,
}

impl SourceMaps {
    pub(super) fn new(tgid: u32) -> Self {
        Self { tgid }
    }

    pub(super) fn original(
        &mut self,
        _heap: &Heap,
        _key: (u64, i32),
        _script: &Script,
        _place: Place,
    ) -> Option<Original> {
        let _ = self.tgid;
        None
    }
}
