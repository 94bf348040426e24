//! Keeps the breakpoints of a process in place while its probes are taken out, and takes them out at
//! one go. The kernel removes a breakpoint together with the last probe of its place: it makes the
//! probe inactive, waits for a grace period of RCU under a lock, and removes the breakpoint then. A
//! thread that hits it in between finds nothing active, wants to remove it too, and waits for the
//! lock. A probe of many places at once (uprobe_multi) is never found inactive, and goes with one
//! grace period in all; so such a one is there when the others go, and goes last.
//!
//! # Sources
//! `uprobe_perf_close` in Linux kernel/trace/trace_uprobe.c; `handler_chain` (its read lock behind
//! `UPROBE_HANDLER_REMOVE`) and `register_for_each_vma` in kernel/events/uprobes.c;
//! `bpf_uprobe_unregister` in kernel/trace/bpf_trace.c.

use super::bpf_call;
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// bpf(2): BPF_PROG_LOAD and BPF_LINK_CREATE.
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// `r0 = 0; exit`.
const EMPTY: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

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

/// An empty program, for probes that only keep breakpoints in place.
pub struct Keeper {
    program: OwnedFd,
}

/// Breakpoints that stay as long as this lives.
pub struct Kept {
    _link: OwnedFd,
}

impl Keeper {
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
        let program = unsafe { bpf_call::descriptor(PROG_LOAD, &attributes) }?;
        Ok(Self { program })
    }

    /// Keeps the breakpoints at these offsets of a file, in process `tgid`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keep(&self, file: &Path, offsets: &[u64], tgid: u32) -> io::Result<Kept> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        let attributes = LinkAttributes {
            program: self.program.as_raw_fd() as u32,
            attach_type: BPF_TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            count: offsets.len() as u32,
            pid: tgid,
            ..LinkAttributes::default()
        };
        // SAFETY: the attributes point to a text and a list that outlive the call.
        let link = unsafe { bpf_call::descriptor(LINK_CREATE, &attributes) }?;
        Ok(Kept { _link: link })
    }
}
