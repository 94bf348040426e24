//! What SIGUSR1 would do to a process: open Node's inspector, run a handler of the program's own,
//! or kill. Told by the address of the handler, without the process taking part.

use crate::target::{
    Target,
    elf::{Elf, Table},
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use tracer_common::signals::SIGNALS;

/// `SIG_DFL` and `SIG_IGN` in the place of a handler's address.
const DEFAULT: u64 = 0;
const IGNORED: u64 = 1;
/// Symbols that only a file with Node in it has.
const NODE_START: &str = "_ZN4node5StartEiPPc";
const V8_VERSION: &str = "_ZN2v88internal7Version6major_E";
/// Parts of the names of Node's own handler and of libuv's, the one for every signal that a program
/// listens to (`process.on`).
const OPENS_INSPECTOR: &str = "StartIoThreadWakeup";
const LIBUV: &str = "uv__signal_handler";
/// What Node's handler does, and all it does.
const SEM_POST: &str = "uv_sem_post";
/// Code of a handler that is read, in bytes, and instructions of it that are followed.
const HANDLER_BYTES: u64 = 64;
const HANDLER_INSTRUCTIONS: usize = 16;

/// What SIGUSR1 would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sigusr1 {
    /// Open the inspector.
    OpensInspector,
    /// Run what the program itself has set up with `process.on('SIGUSR1')`.
    ProgramsOwn,
    /// Kill the process.
    Kills,
    /// Nothing.
    Ignored,
    /// It cannot be told.
    Unknown,
}

/// Whether `target` runs Node.
pub fn is_node(target: &Target) -> bool {
    target.files.values().any(|file| is_node_file(&file.elf))
}

fn is_node_file(elf: &Elf) -> bool {
    // Large files only: libraries are many, and none of Node's is small.
    let size: u64 = elf.segments.iter().map(|segment| segment.file_bytes).sum();
    size > 10 << 20 && elf.find_symbols(&[NODE_START, V8_VERSION]).iter().all(Option::is_some)
}

/// Judges by the handlers of all signals (`handlers[0]` is that of signal 1).
pub fn judge(target: &Target, handlers: &[u64; SIGNALS]) -> Sigusr1 {
    let handler = handlers[libc::SIGUSR1 as usize - 1];
    match handler {
        DEFAULT => return Sigusr1::Kills,
        IGNORED => return Sigusr1::Ignored,
        _ => {}
    }
    let Some(mapping) = target.mapping_at(handler) else { return Sigusr1::Unknown };
    let Some(file) = target.file_of(mapping) else { return Sigusr1::Unknown };
    let Some(svma) = target.bias_of(file).map(|bias| handler.wrapping_sub(bias)) else {
        return Sigusr1::Unknown;
    };
    match name_at(&file.elf, svma) {
        Some(name) if name.contains(LIBUV) => return Sigusr1::ProgramsOwn,
        Some(name) if name.contains(OPENS_INSPECTOR) && is_node_file(&file.elf) => {
            return Sigusr1::OpensInspector;
        }
        _ => {}
    }
    if is_node_file(&file.elf) && only_posts_semaphore(&file.elf, svma) {
        return Sigusr1::OpensInspector;
    }
    // One handler for several signals is libuv's: Node itself gives each its own.
    let same =
        |signal: &(usize, &u64)| signal.0 != libc::SIGUSR1 as usize - 1 && *signal.1 == handler;
    let is_libuv =
        file.name().starts_with("libuv.so") || handlers.iter().enumerate().any(|s| same(&s));
    if is_libuv { Sigusr1::ProgramsOwn } else { Sigusr1::Unknown }
}

/// The name of the function that begins at `svma`, in a file that has kept its names.
fn name_at(elf: &Elf, svma: u64) -> Option<String> {
    let mut found = None;
    elf.visit_symbols(Table::Full, |name, symbol| {
        let is_wanted = name.contains(OPENS_INSPECTOR) || name.contains(LIBUV);
        if symbol.svma == svma && is_wanted {
            found = Some(name.to_owned());
        }
    });
    found
}

/// Whether a function of a stripped file calls `uv_sem_post`, which Node exports, and nothing else.
fn only_posts_semaphore(elf: &Elf, svma: u64) -> bool {
    let Some(sem_post) = elf.find_symbols(&[SEM_POST])[0] else { return false };
    let Some(code) = elf.bytes_at_svma(svma, HANDLER_BYTES) else { return false };
    let mut calls = 0;
    let decoder = Decoder::with_ip(64, &code, svma, DecoderOptions::NONE);
    for instruction in decoder.into_iter().take(HANDLER_INSTRUCTIONS) {
        match instruction.flow_control() {
            FlowControl::Next if is_harmless(&instruction) => {}
            FlowControl::Call if instruction.near_branch_target() == sem_post.svma => calls += 1,
            FlowControl::UnconditionalBranch => {
                return calls == 0 && instruction.near_branch_target() == sem_post.svma;
            }
            FlowControl::Return => return calls == 1,
            _ => return false,
        }
    }
    false
}

/// What stands around a call: the argument, and the frame.
fn is_harmless(instruction: &Instruction) -> bool {
    use Mnemonic::{Add, Endbr64, Lea, Mov, Nop, Pop, Push, Sub};
    matches!(instruction.mnemonic(), Add | Endbr64 | Lea | Mov | Nop | Pop | Push | Sub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::discover;
    use std::process::{Command, Stdio};

    #[test]
    fn a_program_without_node_is_none_and_its_handlers_are_nobodys() {
        let mut cat =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (target, _) = discover(cat.id()).unwrap();
        assert!(!is_node(&target));
        let judged = |handler| {
            let mut handlers = [0; SIGNALS];
            handlers[libc::SIGUSR1 as usize - 1] = handler;
            judge(&target, &handlers)
        };
        assert_eq!(judged(0), Sigusr1::Kills);
        assert_eq!(judged(1), Sigusr1::Ignored);
        assert_eq!(judged(0x10), Sigusr1::Unknown);
        let code = target.mappings.iter().find(|mapping| mapping.executable).unwrap();
        assert_eq!(judged(code.start_avma), Sigusr1::Unknown);
        cat.kill().unwrap();
        cat.wait().unwrap();
    }
}
