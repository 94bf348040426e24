//! Spares the target the kernel's grace period when its last probe at a place goes. Taking one out
//! first makes it inactive, then waits for a grace period of RCU, then removes the breakpoint; a
//! thread that hits it in between waits for all of that, 8 to 60 ms. The kernel does not wait where
//! another probe was placed a moment before: so one is, where no process can hit it.
//!
//! # Sources
//! `uprobe_perf_close` in Linux kernel/trace/trace_uprobe.c; `handler_chain` (its read lock behind
//! `UPROBE_HANDLER_REMOVE`) and `register_for_each_vma` (`percpu_down_write`) in
//! kernel/events/uprobes.c; `rcu_sync_enter` in kernel/rcu/sync.c.

use std::{
    ffi::CString,
    io::{self, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// bpf(2): BPF_PROG_LOAD and BPF_LINK_CREATE.
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// `r0 = 0; exit`.
const EMPTY: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
/// A no-op of one byte, which nothing ever runs.
const CODE: [u8; 16] = [0x90; 16];

/// bpf_attr of BPF_PROG_LOAD, up to the attach type.
#[repr(C)]
#[derive(Default)]
struct ProgramAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// bpf_attr of BPF_LINK_CREATE for uprobe_multi.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    counters: u64,
    cookies: u64,
    count: u32,
    probe_flags: u32,
    pid: u32,
    padding: u32,
}

/// A file that nobody maps, and an empty program.
pub struct Grace {
    program: OwnedFd,
    file: std::fs::File,
}

/// A probe where nothing runs. Dropping it takes a grace period, for which nobody else waits.
pub struct Idle {
    _link: OwnedFd,
}

impl Grace {
    /// # Errors
    /// What the kernel says; before Linux 6.6 it has no such probes.
    pub fn new() -> io::Result<Self> {
        let license = c"GPL";
        let attributes = ProgramAttributes {
            kind: BPF_PROG_TYPE_KPROBE,
            instruction_count: EMPTY.len() as u32,
            instructions: EMPTY.as_ptr() as u64,
            license: license.as_ptr() as u64,
            attach_type: BPF_TRACE_UPROBE_MULTI,
            ..ProgramAttributes::default()
        };
        // SAFETY: the attributes point to instructions and a text that outlive the call.
        let program = unsafe { descriptor(PROG_LOAD, &attributes) }?;
        // SAFETY: a name that ends in 0; the descriptor that comes back is nobody else's.
        let file = unsafe {
            let number = libc::memfd_create(c"outlive".as_ptr(), libc::MFD_CLOEXEC);
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(number)
        };
        let mut file = std::fs::File::from(file);
        file.write_all(&CODE)?;
        Ok(Self { program, file })
    }

    /// Waits for a grace period; the kernel waits for none in the next few milliseconds.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> io::Result<Idle> {
        let path = CString::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let offsets = [0_u64];
        let attributes = LinkAttributes {
            program: self.program.as_raw_fd() as u32,
            attach_type: BPF_TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            count: offsets.len() as u32,
            pid: std::process::id(),
            ..LinkAttributes::default()
        };
        // SAFETY: the attributes point to a text and a list that outlive the call.
        let link = unsafe { descriptor(LINK_CREATE, &attributes) }?;
        Ok(Idle { _link: link })
    }
}

/// A bpf(2) command that answers with a descriptor.
///
/// # Safety
/// `attributes` are those of the command, and what they point to is there.
unsafe fn descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises; a descriptor that comes back is nobody else's.
    unsafe {
        let attributes = std::ptr::from_ref(attributes);
        let number = libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>());
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(number as i32))
    }
}
