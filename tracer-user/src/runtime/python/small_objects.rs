//! CPython's own allocator in a target: which functions serve small objects now, and whether
//! probes on them would see every object. Builds that were optimised by profile inline them into
//! their callers, and then no probe sees anything.

use super::{PythonRuntime, decode};
use crate::runtime::memory::{read_vec, u64_in};
use crate::target::elf::Elf;
use crate::target::{MappedFile, Target};
use std::sync::Arc;

/// Bytes of `_PyRuntime` in which its allocators lie (3.12 to 3.15: below 0x400).
const RUNTIME_BYTES: u64 = 16 << 10;
/// Words of one group: context, malloc, calloc, realloc, free.
const GROUP_BYTES: usize = 40;
/// Most code of a file that is searched for comparisons, in bytes.
const MAX_CODE_BYTES: u64 = 64 << 20;

/// What a function of the table does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// (context, size).
    Malloc,
    /// (context, count, size).
    Calloc,
    /// (context, block, size).
    Realloc,
    /// (context, block).
    Free,
}

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectFunction {
    /// What it does.
    pub role: Role,
    /// Where it is, in the file's own numbering.
    pub svma: u64,
}

/// How a target gets its small objects, as far as probes are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmallObjects {
    /// By these functions of the interpreter's file, which see every call.
    Probed(Vec<ObjectFunction>),
    /// By functions that are inlined into their callers.
    Inlined,
    /// By libc: PYTHONMALLOC=malloc is in effect.
    MallocLibc,
    /// Not known, for this reason.
    Unknown(&'static str),
}

/// One group of the table: raw memory, buffers, or objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    context: u64,
    functions: [u64; 4],
}

/// The three groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    raw: Group,
    memory: Group,
    object: Group,
}

/// How the target gets its small objects now. An interpreter that has not started yet has no
/// table: `Unknown`.
///
/// # Cost
/// Searches the interpreter's code once: about 20 ms.
pub fn find(target: &Target, runtime: &PythonRuntime) -> SmallObjects {
    let Some((file, bias, groups)) = read(target, runtime) else {
        return SmallObjects::Unknown("its allocator table was not found");
    };
    match judge(groups) {
        Some(answer) => answer,
        None => probed(target, &file, bias, groups),
    }
}

/// Whether PYTHONMALLOC=malloc is in effect; `None` when the table cannot be read (yet).
pub fn is_libc(target: &Target, runtime: &PythonRuntime) -> Option<bool> {
    let (_, _, groups) = read(target, runtime)?;
    Some(judge(groups) == Some(SmallObjects::MallocLibc))
}

/// What the table alone tells.
fn judge(groups: Groups) -> Option<SmallObjects> {
    if groups.object.functions == groups.raw.functions {
        return Some(SmallObjects::MallocLibc);
    }
    if groups.object.context != 0 || groups.memory.context != 0 {
        // tracemalloc, PYTHONMALLOC=debug, memray.
        return Some(SmallObjects::Unknown("something has put itself before its allocator"));
    }
    None
}

fn probed(target: &Target, file: &Arc<MappedFile>, bias: u64, groups: Groups) -> SmallObjects {
    const ROLES: [Role; 4] = [Role::Malloc, Role::Calloc, Role::Realloc, Role::Free];
    let mut found = Vec::new();
    for group in [groups.object, groups.memory] {
        for (role, avma) in ROLES.into_iter().zip(group.functions) {
            let own = target.mapping_at(avma).is_some_and(|mapping| mapping.file == Some(file.id));
            if !own {
                return SmallObjects::Unknown("its allocator lies outside of the interpreter");
            }
            found.push(ObjectFunction { role, svma: avma.wrapping_sub(bias) });
        }
    }
    found.sort_by_key(|function| (function.svma, function.role));
    found.dedup();
    if found.windows(2).any(|pair| pair[0].svma == pair[1].svma) {
        return SmallObjects::Unknown("two functions of its allocator are one");
    }
    if is_promoted(&file.elf, &found) {
        return SmallObjects::Inlined;
    }
    SmallObjects::Probed(found)
}

/// Whether code compares a pointer with the address of one of these functions: a promoted
/// indirect call, behind which the function's body was inlined.
fn is_promoted(elf: &Elf, functions: &[ObjectFunction]) -> bool {
    let all: Vec<u64> = functions.iter().map(|function| function.svma).collect();
    let callers = elf.find_symbols(&["PyObject_Malloc", "PyMem_Malloc"]);
    let in_callers = callers.into_iter().flatten().any(|symbol| {
        let code = elf.bytes_at_svma(symbol.svma, symbol.length_bytes.min(4096));
        decode::compares_with(&code.unwrap_or_default(), symbol.svma, &all)
    });
    // Anywhere else malloc alone is also compared with to see which allocator is in use
    // (`_PyMem_PymallocEnabled`).
    let others = functions.iter().filter(|function| function.role != Role::Malloc);
    let others: Vec<u64> = others.map(|function| function.svma).collect();
    in_callers
        || elf.segments.iter().filter(|segment| segment.executable).any(|segment| {
            let length = segment.file_bytes.min(MAX_CODE_BYTES);
            let code = elf.bytes_at_svma(segment.svma, length).unwrap_or_default();
            decode::compares_with(&code, segment.svma, &others)
        })
}

/// The interpreter's file, what to add to its addresses, and the groups.
fn read(target: &Target, runtime: &PythonRuntime) -> Option<(Arc<MappedFile>, u64, Groups)> {
    let file = target.files.values().find(|file| file.display_path == runtime.module)?.clone();
    let bias = target.bias_of(&file)?;
    let is_code =
        |avma: u64| target.mapping_at(avma).is_some_and(|mapping| mapping.executable && avma != 0);
    let groups = in_runtime(target.tgid, &file, bias, &is_code)
        .or_else(|| in_statics(target.tgid, &file, bias, &is_code))?;
    Some((file, bias, groups))
}

/// From 3.12 on they are members of `_PyRuntime`, side by side.
fn in_runtime(
    tgid: u32,
    file: &MappedFile,
    bias: u64,
    is_code: &impl Fn(u64) -> bool,
) -> Option<Groups> {
    let runtime = file.elf.find_symbols(&["_PyRuntime"])[0]?;
    let length = match runtime.length_bytes {
        0 => RUNTIME_BYTES,
        length => length.min(RUNTIME_BYTES),
    };
    let bytes = read_vec(tgid, runtime.svma.wrapping_add(bias), length as usize)?;
    (0..bytes.len()).step_by(8).find_map(|at| {
        Some(Groups {
            raw: group(&bytes, at, is_code)?,
            memory: group(&bytes, at + GROUP_BYTES, is_code)?,
            object: group(&bytes, at + 2 * GROUP_BYTES, is_code)?,
        })
    })
}

/// Before, they are variables of their own, which the public functions read.
fn in_statics(
    tgid: u32,
    file: &MappedFile,
    bias: u64,
    is_code: &impl Fn(u64) -> bool,
) -> Option<Groups> {
    let symbols = file.elf.find_symbols(&["PyMem_RawMalloc", "PyMem_Malloc", "PyObject_Malloc"]);
    let mut found = symbols.into_iter().map(|symbol| {
        let symbol = symbol?;
        let length = if symbol.length_bytes == 0 { 64 } else { symbol.length_bytes.min(512) };
        let code = file.elf.bytes_at_svma(symbol.svma, length)?;
        decode::words_read(&code, symbol.svma).into_iter().find_map(|svma| {
            // Either the context, with which the group begins, or the function behind it.
            [svma, svma.wrapping_sub(8)].into_iter().find_map(|start| {
                let bytes = read_vec(tgid, start.wrapping_add(bias), GROUP_BYTES)?;
                group(&bytes, 0, is_code)
            })
        })
    });
    Some(Groups { raw: found.next()??, memory: found.next()??, object: found.next()?? })
}

fn group(bytes: &[u8], at: usize, is_code: &impl Fn(u64) -> bool) -> Option<Group> {
    let context = u64_in(bytes, at)?;
    let mut functions = [0; 4];
    for (index, function) in functions.iter_mut().enumerate() {
        *function = u64_in(bytes, at + 8 * (index + 1)).filter(|avma| is_code(*avma))?;
    }
    (!is_code(context)).then_some(Group { context, functions })
}

#[cfg(test)]
mod tests;
