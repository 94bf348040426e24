//! Where the dynamic loader can be caught when it has mapped libraries and has not run their code.

use super::entry;
use crate::target::Target;
use std::path::PathBuf;

/// A function that does nothing, which loaders call for debuggers' sake (r_brk of `<link.h>`).
const HOOK: &str = "_dl_debug_state";
/// What glibc's loader tells debuggers (struct r_debug).
const STATE: &str = "_r_debug";
/// Where r_state is in it.
const R_STATE: u64 = 24;
/// Bytes of the hook that are decoded: it does nothing.
const HOOK_BYTES: u64 = 16;
/// No such place is known (see `tracer_common::process::ProcessEntry`).
const NO_STATE: u64 = 1;

/// The loader's hook in a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderHook {
    /// Path that the kernel can open.
    pub file: PathBuf,
    /// File offset of the function.
    pub offset: u64,
    /// Address of the word that says whether the list of libraries is whole; 1 where none is known.
    pub state_avma: u64,
}

/// The hook of the loader that `target` maps; `None` for static programs.
pub fn hook(target: &Target) -> Option<LoaderHook> {
    target.files.values().filter(|file| file.name().starts_with("ld-")).find_map(|file| {
        let [function, state] = file.elf.find_symbols(&[HOOK, STATE])[..] else { return None };
        let bias = target.bias_of(file)?;
        let svma = function?.svma;
        let place = entry::choose(&file.elf.bytes_at_svma(svma, HOOK_BYTES)?, svma, 0);
        Some(LoaderHook {
            file: file.open_path.clone(),
            offset: file.elf.file_offset_of(svma)? + place.offset,
            state_avma: state
                .map_or(NO_STATE, |state| bias.wrapping_add(state.svma).wrapping_add(R_STATE)),
        })
    })
}
