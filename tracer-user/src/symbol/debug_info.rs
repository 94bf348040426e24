//! Symbols and line tables, shared by all who name addresses: a file that many processes map is
//! read once.

use crate::target::MappedFile;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Sym, Symbolized, Symbolizer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

/// What was read of files so far.
#[derive(Debug)]
pub struct DebugInfo {
    symbolizer: Symbolizer,
    /// The files that the symbolizer remembers, by the descriptors that it knows them by: one that
    /// was closed would come back as another file.
    files: RefCell<HashMap<RawFd, Arc<MappedFile>>>,
}

impl Default for DebugInfo {
    fn default() -> Self {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .build();
        Self { symbolizer, files: RefCell::default() }
    }
}

impl DebugInfo {
    /// The symbol at `svma` in `file`; `None` where none is known. A file whose DWARF is damaged is
    /// like one without.
    pub(super) fn symbol(&self, file: &Arc<MappedFile>, svma: u64) -> Option<Sym<'_>> {
        let fd = file.elf.file().as_raw_fd();
        self.files.borrow_mut().entry(fd).or_insert_with(|| Arc::clone(file));
        let source = Source::Elf(Elf::new(format!("/proc/self/fd/{fd}")));
        match self.symbolizer.symbolize_single(&source, Input::VirtOffset(svma)).ok()? {
            Symbolized::Sym(symbol) => Some(symbol),
            Symbolized::Unknown(_) => None,
        }
    }
}
