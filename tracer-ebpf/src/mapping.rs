//! Mapping probes: calls that the target makes itself, outside its allocator. They are rare, so
//! each is sent to user space, where parts of mappings can be told apart.

use crate::{
    account::slot_of_stack,
    configuration::config,
    counters::count,
    lane,
    maps::EVENTS,
    process, regime,
    registers::{Registers, at_entry, at_return},
    thread::{self, ThreadState, call},
    unwind,
};
use aya_ebpf::{
    helpers::bpf_get_current_task,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    counter::Counter,
    record::{self, Header, Mapping, domain, mapping_op},
};

/// Results at and above this are negative error numbers.
const FIRST_ERROR: u64 = -4095_i64 as u64;

/// mmap (hint, length, protection, flags, ...).
#[uprobe]
pub fn mmap_enter(ctx: ProbeContext) -> u32 {
    let (sp, [_, length, prot, flags]) = at_entry(&ctx);
    enter(sp, call::MMAP, length, 0, (prot & 0xffff_ffff) | (flags << 32))
}

/// mremap (address, old length, new length, ...).
#[uprobe]
pub fn mremap_enter(ctx: ProbeContext) -> u32 {
    let (sp, [address, old_length, length, _]) = at_entry(&ctx);
    enter(sp, call::MREMAP, length, address, old_length)
}

/// brk (new break).
#[uprobe]
pub fn brk_enter(ctx: ProbeContext) -> u32 {
    let (sp, [address, ..]) = at_entry(&ctx);
    enter(sp, call::BRK, address, program_break(), 0)
}

/// sbrk (increment).
#[uprobe]
pub fn sbrk_enter(ctx: ProbeContext) -> u32 {
    let (sp, [increment, ..]) = at_entry(&ctx);
    enter(sp, call::SBRK, increment, 0, 0)
}

/// munmap (address, length). At entry: once the kernel has taken the range back, another thread
/// may be given it before a return probe runs.
#[uprobe]
pub fn munmap_enter(ctx: ProbeContext) -> u32 {
    count(Counter::MappingHits);
    if regime::leaves_mappings() {
        return 0;
    }
    let (sp, [address, length, ..]) = at_entry(&ctx);
    // What realloc gives up is not the program's to give; what free unmaps is (see `lane`).
    if lane::is_inside_allocator(sp) {
        count(Counter::NestedCalls);
        return 0;
    }
    let Some(image) = thread::image_outside_calls(sp) else { return 0 };
    // What the kernel will refuse changes nothing.
    if address & 0xfff != 0 || length == 0 {
        return 0;
    }
    let unmap =
        Mapping { op: mapping_op::UNMAP, address, length_bytes: length, ..Mapping::default() };
    send(unmap, image);
    0
}

#[inline(always)]
fn enter(sp: u64, call: u32, size_bytes: u64, old_address: u64, old_length: u64) -> u32 {
    count(Counter::MappingHits);
    if regime::leaves_mappings() {
        return 0;
    }
    if lane::is_inside_allocator(sp) {
        count(Counter::NestedCalls);
        return 0;
    }
    let Some(thread) = thread::begin(call, sp) else { return 0 };
    thread.size_bytes = size_bytes;
    thread.old_address = old_address;
    thread.old_length = old_length;
    0
}

/// Every mapping function but munmap returns through this.
#[uretprobe]
pub fn mapping_return(ctx: RetProbeContext) -> u32 {
    count(Counter::MappingHits);
    let (registers, result) = at_return(&ctx);
    let Some((thread, call)) = thread::end(registers.sp) else { return 0 };
    if regime::leaves_mappings() {
        return 0;
    }
    if let Some(mut mapping) = describe(thread, call, result) {
        mapping.stack_hash = stack_of(thread, registers);
        send(mapping, thread.image);
    }
    0
}

/// What a returned call has changed; `None` when it failed or changed nothing.
#[inline(always)]
fn describe(thread: &ThreadState, call: u32, result: u64) -> Option<Mapping> {
    if result >= FIRST_ERROR {
        return None;
    }
    let mut mapping =
        Mapping { address: result, length_bytes: thread.size_bytes, ..Mapping::default() };
    match call {
        call::MMAP => {
            mapping.op = mapping_op::MAP;
            mapping.prot = thread.old_length as u32;
            mapping.flags = (thread.old_length >> 32) as u32;
        }
        call::MREMAP => {
            mapping.op = mapping_op::REMAP;
            mapping.old_address = thread.old_address;
            mapping.old_length_bytes = thread.old_length;
        }
        call::BRK => {
            mapping.op = mapping_op::BREAK;
            // What the kernel made of the request: libc calls one below the break a success.
            mapping.address = program_break();
            if mapping.address == 0 {
                return None;
            }
            mapping.old_address = thread.old_address;
            mapping.length_bytes = 0;
        }
        call::SBRK => {
            mapping.op = mapping_op::BREAK;
            mapping.address = result.wrapping_add(thread.size_bytes);
            mapping.old_address = result;
            mapping.length_bytes = 0;
        }
        _ => return None,
    }
    let moved = call != call::BRK && call != call::SBRK || mapping.address != mapping.old_address;
    moved.then_some(mapping)
}

/// The caller's stack, made known to user space.
#[inline(always)]
fn stack_of(thread: &mut ThreadState, registers: Registers) -> u64 {
    let Some(births) = regime::present() else { return 0 };
    thread.births = births;
    unwind::walk(thread, registers, domain::MMAP);
    slot_of_stack(thread);
    thread.stack.stack_hash
}

#[inline(always)]
fn send(mut mapping: Mapping, image: u16) {
    mapping.header = Header { kind: record::kind::MAPPING, tid: thread::current_tid() };
    mapping.image = u32::from(image);
    if EVENTS.output::<Mapping>(&mapping, 0).is_err() {
        count(Counter::MappingEventsLost);
    }
}

/// The program break before the call (`mm_struct.brk`).
#[inline(always)]
fn program_break() -> u64 {
    // SAFETY: returns the current task, which is alive.
    let task = unsafe { bpf_get_current_task() };
    process::pointer(task, config!(kernel.task_mm))
        .and_then(|mm| process::pointer(mm, config!(kernel.mm_brk)))
        .unwrap_or(0)
}
