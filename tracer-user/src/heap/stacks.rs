//! Where the stacks of a process' threads lie, from outside. A stack that a library mapped has no
//! mapping of its own once the kernel has merged it with what lies above; its thread's control
//! block, which lies at its end, tells where it ends.

use super::region::StackSpan;
use crate::runtime::{memory, pagemap};
use crate::target::{mapping::Mapping, status::read_bounded};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Threads that are looked at.
const MAX_THREADS: usize = 65_536;
/// How far above a stack pointer the end of its stack is searched, bytes.
const SEARCH_BYTES: u64 = 8 << 20;
/// Bytes that are read at a time, a multiple of what a control block is aligned to.
const WINDOW_BYTES: u64 = 64 << 10;
/// Control blocks of glibc and musl are aligned so.
const BLOCK_ALIGN: usize = 16;
/// No control block is longer; it ends where its stack's last page does.
const BLOCK_BYTES: u64 = 2304;

/// Where a stack pointer of a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackPointer {
    /// Thread ID.
    pub tid: u32,
    /// Its stack pointer.
    pub avma: u64,
    /// Its control block, where that is known (the base of segment register fs).
    pub control_block_avma: Option<u64>,
}

/// The threads of a process, by number.
///
/// # Errors
/// When it is gone.
pub fn threads(tgid: u32) -> std::io::Result<Vec<u32>> {
    let folder = std::fs::read_dir(format!("/proc/{tgid}/task"))?;
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.parse::<u32>().ok()
    };
    Ok(folder.take(MAX_THREADS).filter_map(number).collect())
}

/// Where the stacks of threads that wait in the kernel stand; of those that run that cannot be
/// read without stopping them.
pub fn waiting(tgid: u32) -> Vec<StackPointer> {
    let pointer = |tid: u32| {
        let text = read_bounded(&format!("/proc/{tgid}/task/{tid}/syscall"), 512).ok()?;
        let text = String::from_utf8(text).ok()?;
        // The number of the call, its arguments, stack pointer and instruction pointer.
        let word = text.split_ascii_whitespace().rev().nth(1)?;
        let avma = u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
        Some(StackPointer { tid, avma, control_block_avma: None })
    };
    threads(tgid).unwrap_or_default().into_iter().filter_map(pointer).collect()
}

/// The stacks that these pointers stand in, where their ends can be told; the first thread's, which
/// has a mapping of its own, among them.
pub fn spans(tgid: u32, pointers: &[StackPointer], mappings: &[Mapping]) -> Vec<StackSpan> {
    let pagemap = File::open(Path::new("/proc").join(tgid.to_string()).join("pagemap")).ok();
    let span = |pointer: &StackPointer| {
        let behind = mappings.partition_point(|mapping| mapping.start_avma <= pointer.avma);
        let mapping = mappings.get(behind.checked_sub(1)?)?;
        let is_stack = mapping.contains(pointer.avma) && mapping.writable && !mapping.shared;
        if !is_stack {
            return None;
        }
        let end = if mapping.path.as_os_str() == "[stack]" {
            mapping.end_avma
        } else {
            let within = pointer.avma..mapping.end_avma;
            let block = match pointer.control_block_avma {
                Some(avma) if within.contains(&avma) && avma - pointer.avma < SEARCH_BYTES => avma,
                _ => find_block(tgid, pagemap.as_ref()?, within)?,
            };
            let end = block.saturating_add(BLOCK_BYTES);
            end.next_multiple_of(pagemap::page_bytes()).min(mapping.end_avma)
        };
        Some(StackSpan {
            range: mapping.start_avma..end,
            tid: pointer.tid,
            stack_pointer_avma: pointer.avma,
        })
    };
    pointers.iter().filter_map(span).collect()
}

/// The first thread control block in a range: it begins with its own address, and has it once more
/// behind another word (`tcb` and `self` of glibc's struct pthread).
fn find_block(tgid: u32, pagemap: &File, range: Range<u64>) -> Option<u64> {
    let align = BLOCK_ALIGN as u64;
    let mut at = range.start / align * align;
    let end = range.end.min(range.start.saturating_add(SEARCH_BYTES));
    while at < end {
        // Windows end at page borders, so that none is read for a part of it.
        let next = ((at + WINDOW_BYTES) / WINDOW_BYTES * WINDOW_BYTES).min(end);
        let first_page = at / pagemap::page_bytes() * pagemap::page_bytes();
        let runs = pagemap::runs(pagemap, first_page..next, true, &mut 64).ok()?;
        for run in runs.resident {
            let (start, stop) = (run.start.max(at), run.end.min(next));
            let bytes = memory::read_vec(tgid, start, stop.saturating_sub(start) as usize)?;
            let found = (0..bytes.len()).step_by(BLOCK_ALIGN).find(|offset| {
                let own = Some(start + *offset as u64);
                memory::u64_in(&bytes, *offset) == own && memory::u64_in(&bytes, offset + 16) == own
            });
            if let Some(offset) = found {
                return Some(start + offset as u64);
            }
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stacks_of_waiting_threads_end_with_their_control_blocks() {
        let (to, from) = std::sync::mpsc::channel::<()>();
        let (say, told) = std::sync::mpsc::channel::<(u32, u64)>();
        let thread = std::thread::spawn(move || {
            let local = 0_u64;
            // SAFETY: takes nothing and returns a number.
            let tid = unsafe { libc::gettid() } as u32;
            say.send((tid, &raw const local as u64)).unwrap();
            let _ = from.recv();
        });
        let (tid, local_avma) = told.recv().unwrap();
        let own = std::process::id();
        let mappings = crate::target::read_mappings(own).unwrap();
        let find = || {
            let pointers = waiting(own);
            let span = spans(own, &pointers, &mappings).into_iter().find(|span| span.tid == tid);
            span.filter(|span| span.range.contains(&local_avma))
        };
        // It may not wait yet.
        let found = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            find()
        });
        let span = found.expect("its stack");
        assert!(span.stack_pointer_avma < local_avma);
        assert!(span.range.end - local_avma < 64 << 10, "{span:x?} {local_avma:x}");
        drop(to);
        thread.join().unwrap();
    }
}
