//! How a thread's `PyThreadState` is found: by pthread key, by thread-local words, by the word of
//! the GIL's holder, whichever the build has.

use super::decode;
use super::thread_word::{ThreadLocal, thread_local, word_of_runtime};
use crate::runtime::memory::{read_vec, u32_in, u64_in};
use crate::target::elf::Symbol;
use crate::target::{MappedFile, Target};
use tracer_common::python::{PythonLayout, TSS_GLIBC, TSS_MUSL};

/// Largest pthread key that exists (`PTHREAD_KEYS_MAX` of glibc).
const MAX_KEY: u32 = 1024;
/// Largest number of a module with thread-local storage that is believed.
const MAX_TLS_MODULE: u64 = 4096;
/// A thread-local word further than this from its block or thread pointer is not believed, bytes.
const MAX_TLS_OFFSET: i64 = 1 << 20;

/// The functions whose code tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Getters {
    /// `PyGILState_GetThisThreadState`: the thread's own state.
    pub own: Option<Symbol>,
    /// `_PyThreadState_UncheckedGet`: the state of the GIL's holder (3.11 and earlier).
    pub holder: Option<Symbol>,
    /// `PyThreadState_GetUnchecked`, `_PyThreadState_GetCurrent`: the same, by thread (3.12 and
    /// later).
    pub current: Option<Symbol>,
}

/// Reads code and memory of one interpreter.
pub struct Finder<'a> {
    /// The process.
    pub target: &'a Target,
    /// The interpreter's file.
    pub file: &'a MappedFile,
    /// From the file's numbering to addresses.
    pub bias: u64,
    /// `_PyRuntime`.
    pub runtime: Symbol,
}

impl Finder<'_> {
    /// Enters into `layout` every way that was found; false when there is none.
    pub fn find(&self, getters: &Getters, layout: &mut PythonLayout) -> bool {
        let is_musl = self.target.files.values().any(|file| file.name().starts_with("ld-musl"));
        layout.how = if is_musl { TSS_MUSL } else { TSS_GLIBC };
        layout.tss_avma = getters.own.and_then(|own| self.key_avma(own)).unwrap_or(0);
        layout.current_avma = getters.holder.and_then(|it| self.holder_avma(it)).unwrap_or(0);
        if let Some((module, offset)) = getters.current.and_then(|it| self.thread_local(it)) {
            layout.tls_module = module;
            layout.tls_offset = offset;
            if layout.tss_avma == 0
                && let Some((own_module, own_offset)) =
                    getters.own.and_then(|own| self.thread_local(own))
                && own_module == module
            {
                layout.gilstate_tls_offset = own_offset;
            }
        }
        let has_tls = layout.tls_module != 0 || layout.tls_offset != 0;
        layout.tss_avma != 0 || layout.current_avma != 0 || has_tls
    }

    /// Address, in the target, of the key of the thread state: `{int is_initialized; int key}`.
    fn key_avma(&self, own: Symbol) -> Option<u64> {
        let svma = decode::key_svma(&self.code(own)?, own.svma, self.runtime.svma)?;
        // The key is a member of _PyRuntime: anything else is a misread.
        let inside = svma.checked_sub(self.runtime.svma)?;
        if inside + 8 > self.runtime.length_bytes.max(8) {
            return None;
        }
        let avma = svma.wrapping_add(self.bias);
        // A runtime that has not started yet has no key; one with a wild key is none.
        let live = read_vec(self.target.tgid, avma, 8)?;
        let (initialized, key) = (u32_in(&live, 0)?, u32_in(&live, 4)?);
        (initialized <= 1 && (initialized == 0 || key < MAX_KEY)).then_some(avma)
    }

    /// Address, in the target, of `_PyRuntime.gilstate.tstate_current`.
    fn holder_avma(&self, holder: Symbol) -> Option<u64> {
        let runtime = self.runtime;
        let range = runtime.svma..runtime.svma.saturating_add(runtime.length_bytes);
        let svma = word_of_runtime(&self.code(holder)?, holder.svma, range)?;
        Some(svma.wrapping_add(self.bias))
    }

    /// Module (0: none, relative to the thread pointer) and offset of a thread-local word.
    fn thread_local(&self, getter: Symbol) -> Option<(u32, i64)> {
        let read = |svma: u64, at: usize| {
            let bytes = read_vec(self.target.tgid, svma.wrapping_add(self.bias), 16)?;
            u64_in(&bytes, at)
        };
        let fixed = |offset: i64| (-MAX_TLS_OFFSET..0).contains(&offset).then_some((0, offset));
        match thread_local(&self.code(getter)?, getter.svma)? {
            ThreadLocal::Fixed(offset) => fixed(offset),
            ThreadLocal::OffsetAt(svma) => fixed(read(svma, 0)?.cast_signed()),
            // Where the argument is a pointer, blocks are not static, and the key has to serve.
            ThreadLocal::Descriptor(svma) => fixed(read(svma, 8)?.cast_signed()),
            ThreadLocal::Pair { svma, displacement } => {
                let (module, offset) = (read(svma, 0)?, read(svma, 8)?);
                let offset = offset.cast_signed().checked_add(displacement)?;
                // Module 0: the dynamic linker has not come to it yet.
                ((1..=MAX_TLS_MODULE).contains(&module) && (0..MAX_TLS_OFFSET).contains(&offset))
                    .then_some((module as u32, offset))
            }
        }
    }

    fn code(&self, function: Symbol) -> Option<Vec<u8>> {
        let length = if function.length_bytes == 0 { 128 } else { function.length_bytes.min(256) };
        self.file.elf.bytes_at_svma(function.svma, length)
    }
}
