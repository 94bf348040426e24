//! The allocator's functions, as the program finds them.
//!
//! Those that are called all the time decide in assembly whether there is anything to do, so that
//! a block that is not drawn costs a few instructions on top of glibc's function. The others, and
//! what was decided to be looked at, go through a frame of their own (`framed!`) to Rust. A frame
//! leaves behind where its caller goes on, so that the kernel walks the stack from there and never
//! sees this library.
//!
//! While glibc runs in a call that may map memory, the thread notes its stack pointer: mappings that
//! are made below it are the allocator's, whose blocks are followed, and not the program's.

use crate::draw::draws;
use crate::drawn::{COUNTERS, DRAWN};
use crate::shared::ORDER;
use crate::site;
use crate::thread::CONTROL;
use core::arch::{global_asm, naked_asm};
use core::ffi::{c_int, c_void};

// Where glibc's functions are, once the loader has been here; 0 where there is no such name.
global_asm!(
    ".section .data.rel.ro.outlive_lane,\"aw\",@progbits",
    ".balign 8",
    ".weak __libc_malloc, __libc_calloc, __libc_realloc, __libc_free, __libc_memalign",
    ".weak __libc_valloc, __libc_pvalloc, __errno_location, __isoc23_strtol",
    "outlive_lane_malloc: .quad __libc_malloc",
    "outlive_lane_calloc: .quad __libc_calloc",
    "outlive_lane_realloc: .quad __libc_realloc",
    "outlive_lane_free: .quad __libc_free",
    "outlive_lane_memalign: .quad __libc_memalign",
    "outlive_lane_valloc: .quad __libc_valloc",
    "outlive_lane_pvalloc: .quad __libc_pvalloc",
    "outlive_lane_errno: .quad __errno_location",
    "outlive_lane_since_2_38: .quad __isoc23_strtol",
    ".globl outlive_lane_malloc, outlive_lane_calloc, outlive_lane_realloc, outlive_lane_free",
    ".globl outlive_lane_memalign, outlive_lane_valloc, outlive_lane_pvalloc",
    ".globl outlive_lane_errno, outlive_lane_since_2_38",
    ".hidden outlive_lane_malloc, outlive_lane_calloc, outlive_lane_realloc, outlive_lane_free",
    ".hidden outlive_lane_memalign, outlive_lane_valloc, outlive_lane_pvalloc",
    ".hidden outlive_lane_errno, outlive_lane_since_2_38",
    ".text",
);

unsafe extern "C" {
    #[link_name = "outlive_lane_malloc"]
    static MALLOC: unsafe extern "C" fn(usize) -> *mut c_void;
    #[link_name = "outlive_lane_calloc"]
    static CALLOC: unsafe extern "C" fn(usize, usize) -> *mut c_void;
    #[link_name = "outlive_lane_realloc"]
    static REALLOC: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
    #[link_name = "outlive_lane_memalign"]
    static MEMALIGN: unsafe extern "C" fn(usize, usize) -> *mut c_void;
    #[link_name = "outlive_lane_valloc"]
    static VALLOC: unsafe extern "C" fn(usize) -> *mut c_void;
    #[link_name = "outlive_lane_pvalloc"]
    static PVALLOC: unsafe extern "C" fn(usize) -> *mut c_void;
    #[link_name = "outlive_lane_errno"]
    static ERRNO: unsafe extern "C" fn() -> *mut c_int;
    #[link_name = "outlive_lane_since_2_38"]
    static SINCE_2_38: usize;
}

/// Where a call of the program's goes on; what a frame of `framed!` holds.
#[repr(C)]
struct Caller {
    bp: u64,
    ip: u64,
}

const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

/// A function of the program's that goes to Rust in any case, with the frame behind its arguments
/// (`$last` is the register of the argument after the last one).
macro_rules! framed {
    ($name:ident, $body:ident, $last:literal $(, $symbol:literal)?) => {
        #[unsafe(naked)]
        $(#[cfg_attr(lane_library, unsafe(export_name = $symbol))])?
        unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset rbp, -16",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                "mov rax, qword ptr [rip + outlive_lane_thread@GOTTPOFF]",
                "mov qword ptr fs:[rax + 16], rbp",
                concat!("mov ", $last, ", rbp"),
                "call {body}",
                "mov rcx, qword ptr [rip + outlive_lane_thread@GOTTPOFF]",
                "mov qword ptr fs:[rcx + 16], 0",
                "pop rbp",
                ".cfi_def_cfa rsp, 8",
                "ret",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
}

/// Counts the bytes in register `$size` down and goes on to `$real` when the block is not drawn;
/// to `2:` when it is, or when that must be looked at. Nothing is changed then. The offsets are
/// those of `LaneThread`.
macro_rules! count_down {
    ($size:literal, $real:literal) => {
        concat!(
            "mov rcx, qword ptr [rip + outlive_lane_thread@GOTTPOFF]\n",
            "mov r10, qword ptr [rip + {control} + {order}]\n",
            "cmp r10, qword ptr fs:[rcx]\n",
            "jne 2f\n",
            "mov r10, qword ptr fs:[rcx + 8]\n",
            "sub r10, ",
            $size,
            "\n",
            "jb 2f\n",
            "mov qword ptr fs:[rcx + 8], r10\n",
            "mov qword ptr fs:[rcx + 16], rsp\n",
            "sub rsp, 8\n",
            ".cfi_adjust_cfa_offset 8\n",
            "call qword ptr [rip + ",
            $real,
            "]\n",
            "add rsp, 8\n",
            ".cfi_adjust_cfa_offset -8\n",
            "mov rcx, qword ptr [rip + outlive_lane_thread@GOTTPOFF]\n",
            "mov qword ptr fs:[rcx + 16], 0\n",
            "ret",
        )
    };
}

/// Goes to `2:` when the block whose address is in rdi may be a drawn one (`drawn::counter_of`).
macro_rules! look_at_filter {
    () => {
        concat!(
            "mov rax, rdi\n",
            "mov rcx, rdi\n",
            "shr rax, 4\n",
            "shr rcx, 22\n",
            "xor eax, ecx\n",
            "and eax, {mask}\n",
            "lea rcx, [rip + {drawn}]\n",
            "cmp byte ptr [rcx + rax], 0\n",
            "jne 2f",
        )
    };
}

#[unsafe(naked)]
#[cfg_attr(lane_library, unsafe(export_name = "malloc"))]
unsafe extern "C" fn malloc() {
    naked_asm!(
        ".cfi_startproc",
        count_down!("rdi", "outlive_lane_malloc"),
        "2: jmp {slow}",
        ".cfi_endproc",
        control = sym CONTROL,
        order = const ORDER,
        slow = sym malloc_slow,
    )
}

#[unsafe(naked)]
#[cfg_attr(lane_library, unsafe(export_name = "calloc"))]
unsafe extern "C" fn calloc() {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, rdi",
        "mul rsi",
        "jo 2f",
        count_down!("rax", "outlive_lane_calloc"),
        "2: jmp {slow}",
        ".cfi_endproc",
        control = sym CONTROL,
        order = const ORDER,
        slow = sym calloc_slow,
    )
}

#[unsafe(naked)]
#[cfg_attr(lane_library, unsafe(export_name = "realloc"))]
unsafe extern "C" fn realloc() {
    naked_asm!(
        ".cfi_startproc",
        look_at_filter!(),
        count_down!("rsi", "outlive_lane_realloc"),
        "2: jmp {slow}",
        ".cfi_endproc",
        control = sym CONTROL,
        order = const ORDER,
        drawn = sym DRAWN,
        mask = const COUNTERS - 1,
        slow = sym realloc_slow,
    )
}

/// free under one of its names. It may unmap memory, which is told whoever does it; so nothing is
/// noted, and glibc's own returns to the program.
macro_rules! freeing {
    ($name:ident, $symbol:literal) => {
        #[unsafe(naked)]
        #[cfg_attr(lane_library, unsafe(export_name = $symbol))]
        unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                look_at_filter!(),
                "jmp qword ptr [rip + outlive_lane_free]",
                "2: push rdi",
                ".cfi_adjust_cfa_offset 8",
                "call {look}",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "jmp qword ptr [rip + outlive_lane_free]",
                ".cfi_endproc",
                drawn = sym DRAWN,
                mask = const COUNTERS - 1,
                look = sym freed,
            )
        }
    };
}

freeing!(free, "free");
freeing!(cfree, "cfree");
freeing!(free_sized, "free_sized");
freeing!(free_aligned_sized, "free_aligned_sized");

framed!(malloc_slow, malloc_body, "rsi");
framed!(calloc_slow, calloc_body, "rdx");
framed!(realloc_slow, realloc_body, "rdx");
framed!(reallocarray, reallocarray_body, "rcx", "reallocarray");
framed!(posix_memalign, posix_memalign_body, "rcx", "posix_memalign");
framed!(memalign, memalign_body, "rdx", "memalign");
framed!(aligned_alloc, aligned_alloc_body, "rdx", "aligned_alloc");
framed!(valloc, valloc_body, "rsi", "valloc");
framed!(pvalloc, pvalloc_body, "rsi", "pvalloc");

unsafe extern "C" fn malloc_body(size: usize, caller: &Caller) -> *mut c_void {
    // SAFETY: glibc's own function, with the caller's arguments; so below.
    given(size, caller, || unsafe { MALLOC(size) })
}

unsafe extern "C" fn calloc_body(items: usize, size: usize, caller: &Caller) -> *mut c_void {
    // A product that overflows is refused.
    // SAFETY: as above.
    given(items.wrapping_mul(size), caller, || unsafe { CALLOC(items, size) })
}

unsafe extern "C" fn realloc_body(old: *mut c_void, size: usize, caller: &Caller) -> *mut c_void {
    let address = old as u64;
    let is_held = address != 0 && DRAWN.hold(address);
    if is_held {
        // Before glibc gives the address up: another thread may be handed it at once.
        // SAFETY: a no-op.
        unsafe { site::death(address, 1) };
    }
    let order = draws(size as u64);
    // SAFETY: as above.
    let block = unsafe { REALLOC(old, size) };
    if is_held {
        // Of size 0 it is a free.
        let lives = block.is_null() && size != 0;
        if lives {
            DRAWN.keep(address);
        } else {
            DRAWN.let_go(address);
        }
        // SAFETY: as above.
        unsafe { site::settle(u64::from(lives)) };
    }
    born(block, size, order, caller)
}

unsafe extern "C" fn reallocarray_body(
    old: *mut c_void,
    items: usize,
    size: usize,
    caller: &Caller,
) -> *mut c_void {
    match items.checked_mul(size) {
        // SAFETY: as above.
        Some(bytes) => unsafe { realloc_body(old, bytes, caller) },
        None => refused(ENOMEM),
    }
}

unsafe extern "C" fn posix_memalign_body(
    result: *mut *mut c_void,
    alignment: usize,
    size: usize,
    caller: &Caller,
) -> c_int {
    if !alignment.is_power_of_two() || alignment < size_of::<usize>() {
        return EINVAL;
    }
    let order = draws(size as u64);
    // SAFETY: as above.
    let block = unsafe { MEMALIGN(alignment, size) };
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: the program's own place for it.
    unsafe { *result = born(block, size, order, caller) };
    0
}

unsafe extern "C" fn memalign_body(alignment: usize, size: usize, caller: &Caller) -> *mut c_void {
    // SAFETY: as above.
    given(size, caller, || unsafe { MEMALIGN(alignment, size) })
}

/// glibc's is memalign, which rounds an alignment up; from 2.38 on it refuses one that is no power
/// of two.
unsafe extern "C" fn aligned_alloc_body(
    alignment: usize,
    size: usize,
    caller: &Caller,
) -> *mut c_void {
    // SAFETY: a word that the loader has written.
    if !alignment.is_power_of_two() && unsafe { SINCE_2_38 } != 0 {
        return refused(EINVAL);
    }
    // SAFETY: as above.
    unsafe { memalign_body(alignment, size, caller) }
}

unsafe extern "C" fn valloc_body(size: usize, caller: &Caller) -> *mut c_void {
    // SAFETY: as above.
    given(size, caller, || unsafe { VALLOC(size) })
}

unsafe extern "C" fn pvalloc_body(size: usize, caller: &Caller) -> *mut c_void {
    // SAFETY: as above.
    given(size, caller, || unsafe { PVALLOC(size) })
}

/// A block that may be a drawn one is about to be freed.
extern "C" fn freed(address: u64) {
    if address != 0 && DRAWN.remove(address) {
        // SAFETY: a no-op.
        unsafe { site::death(address, 0) };
    }
}

/// What `allocate` of glibc's gives, said to be born if it is drawn.
fn given(size: usize, caller: &Caller, allocate: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let order = draws(size as u64);
    born(allocate(), size, order, caller)
}

/// What glibc has given is drawn by `order`, or not at all: says so. What it has refused is not.
///
/// Whether a block is drawn is decided before glibc is called: from then on the kernel side knows
/// where threads note that they are inside it.
fn born(block: *mut c_void, size: usize, order: Option<u64>, caller: &Caller) -> *mut c_void {
    let (address, size) = (block as u64, size as u64);
    let Some(order) = order.filter(|_| !block.is_null()) else { return block };
    if DRAWN.insert(address) {
        // As it is when the allocator's function has returned.
        let sp = core::ptr::from_ref(caller) as u64 + size_of::<Caller>() as u64;
        // SAFETY: a no-op.
        unsafe { site::birth(address, size, order, caller.ip, sp, caller.bp) };
    } else {
        CONTROL.count_set_full();
    }
    block
}

fn refused(error: c_int) -> *mut c_void {
    // SAFETY: glibc's own, which gives the thread's place for it.
    unsafe { *ERRNO() = error };
    core::ptr::null_mut()
}
