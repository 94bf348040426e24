//! Where the stacks of a process' threads lie, from outside. A stack that a library mapped has no
//! mapping of its own once the kernel has merged it with what lies around it; its thread's control
//! block, which lies at its end, tells where it ends. Where it begins its guard tells, which is no
//! mapping either from glibc 2.42 on, so that one may hold the stacks of many threads.

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
/// How far below a stack pointer its guard is searched, bytes: stacks of threads are 8 MiB long, if
/// nobody asks for more. The target may stand meanwhile: 5 us for each thread that has hardly touched
/// its stack, 170 us where all of this is in memory.
const GUARD_SEARCH_BYTES: u64 = 16 << 20;
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
        let lowest = mapping.start_avma.max(pointer.avma.saturating_sub(GUARD_SEARCH_BYTES));
        let guard_end = pagemap
            .as_ref()
            .and_then(|pagemap| pagemap::last_guard_end(pagemap, lowest..pointer.avma).ok()?);
        Some(StackSpan {
            range: guard_end.unwrap_or(mapping.start_avma)..end,
            tid: pointer.tid,
            stack_pointer_avma: pointer.avma,
        })
    };
    let mut spans: Vec<StackSpan> = pointers.iter().filter_map(span).collect();
    // Without a guard in between, none begins before the end of the one below.
    spans.sort_by_key(|span| span.range.end);
    let mut end_below = 0;
    for span in &mut spans {
        if end_below <= span.stack_pointer_avma {
            span.range.start = span.range.start.max(end_below);
        }
        end_below = span.range.end;
    }
    spans
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

    /// The span of a thread of ours that is about to wait.
    fn span_of(tid: u32, local_avma: u64) -> StackSpan {
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
        found.expect("its stack")
    }

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
        let span = span_of(tid, local_avma);
        assert!(span.stack_pointer_avma < local_avma);
        assert!(span.range.end - local_avma < 64 << 10, "{span:x?} {local_avma:x}");
        drop(to);
        thread.join().unwrap();
    }

    /// Bytes of a stack of ours, its guard included.
    const OWN_BYTES: usize = 1 << 20;
    const GUARD_BYTES: usize = 64 << 10;
    /// Of Linux 6.13, and of later ones the same.
    const MADV_GUARD_INSTALL: libc::c_int = 102;

    /// A thread that says where it is, and waits.
    struct Waiting {
        say: std::sync::mpsc::Sender<(u32, u64)>,
        wait: std::sync::mpsc::Receiver<()>,
    }

    extern "C" fn wait_on_stack(of: *mut libc::c_void) -> *mut libc::c_void {
        let local = 0_u64;
        // SAFETY: a box of whoever began this thread, who gave it away.
        let of = unsafe { Box::from_raw(of.cast::<Waiting>()) };
        // SAFETY: takes nothing and returns a number.
        let tid = unsafe { libc::gettid() } as u32;
        of.say.send((tid, &raw const local as u64)).unwrap();
        let _ = of.wait.recv();
        std::ptr::null_mut()
    }

    /// Begins a thread on a stack of ours. It ends when what is returned last is dropped.
    fn on_stack(start_avma: u64) -> (u32, u64, libc::pthread_t, std::sync::mpsc::Sender<()>) {
        let (say, told) = std::sync::mpsc::channel();
        let (to, wait) = std::sync::mpsc::channel();
        let of = Box::into_raw(Box::new(Waiting { say, wait }));
        // SAFETY: attributes are made before they are used; the stack is memory that nobody else
        // uses, and stays until the thread has ended.
        let thread = unsafe {
            let mut attributes = std::mem::zeroed();
            let mut thread = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
            let start = (start_avma as usize + GUARD_BYTES) as *mut libc::c_void;
            let length = OWN_BYTES - GUARD_BYTES;
            assert_eq!(libc::pthread_attr_setstack(&raw mut attributes, start, length), 0);
            let made = libc::pthread_create(
                &raw mut thread,
                &raw const attributes,
                wait_on_stack,
                of.cast(),
            );
            assert_eq!(made, 0);
            thread
        };
        let (tid, local_avma) = told.recv().unwrap();
        (tid, local_avma, thread, to)
    }

    #[test]
    fn stacks_of_one_mapping_are_told_apart() {
        // As glibc 2.42 has them: side by side, with guards that are no mappings.
        // SAFETY: new memory of its own, of which nothing else knows.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(std::ptr::null_mut(), 3 * OWN_BYTES, protection, kind, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        let places = [0, 1, 2].map(|index| start as u64 + (index * OWN_BYTES) as u64);
        let guard = |place: u64| {
            // SAFETY: inside of what was just mapped, and not used yet.
            unsafe { libc::madvise(place as *mut libc::c_void, GUARD_BYTES, MADV_GUARD_INSTALL) }
        };
        let has_guards = places.iter().all(|place| guard(*place) == 0);
        let threads = places.map(on_stack);
        for (place, (tid, local_avma, ..)) in places.iter().zip(&threads) {
            let span = span_of(*tid, *local_avma);
            let first = place + if has_guards { GUARD_BYTES as u64 } else { 0 };
            // Linux tells guards from 6.15 on; before, the stack below tells enough.
            assert!((*place..=first).contains(&span.range.start), "{span:x?} {place:x}");
            let end = place + OWN_BYTES as u64;
            assert!(span.range.contains(local_avma) && span.range.end <= end, "{span:x?}");
        }
        for (_, _, thread, to) in threads {
            drop(to);
            // SAFETY: a thread that was made above, and is waited for once.
            unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
        }
        // SAFETY: what was mapped above; its threads have ended.
        unsafe { libc::munmap(start, 3 * OWN_BYTES) };
    }
}
