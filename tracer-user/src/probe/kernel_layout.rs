//! Offsets inside kernel structures, from the running kernel's BTF.

use btf_rs::{Btf, Type};
use tracer_common::config::KernelLayout;

/// Where the running kernel publishes its types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Index of the thread-group ID in `signal_struct.pids`, whose elements are pointers (the kernel's
/// include/linux/pid_types.h).
const PIDTYPE_TGID: u32 = 1;
/// Anonymous structures nested deeper than this are not looked into.
const MAX_NESTING: u32 = 8;

/// Reads the offsets that the kernel side needs.
///
/// # Errors
/// A sentence when BTF is missing or lacks a member.
pub fn read() -> Result<KernelLayout, String> {
    let lacking = |error: &dyn std::fmt::Display| {
        format!(
            "the kernel's type information {VMLINUX_BTF} cannot be read ({error}); outlive needs a kernel built with CONFIG_DEBUG_INFO_BTF"
        )
    };
    // In one piece: the reader's own way to open a file makes a system call a field.
    let bytes = std::fs::read(VMLINUX_BTF).map_err(|error| lacking(&error))?;
    let btf = Btf::from_bytes(&bytes).map_err(|error| lacking(&error))?;
    let find = |path: &[&str]| {
        offset_of(&btf, path)
            .ok_or_else(|| format!("the kernel's type information has no {}", path.join(".")))
    };
    Ok(KernelLayout {
        task_fsbase: find(&["task_struct", "thread", "fsbase"])?,
        task_mm: find(&["task_struct", "mm"])?,
        mm_brk: find(&["mm_struct", "brk"])?,
        task_tgid: find(&["task_struct", "tgid"])?,
        task_utask: find(&["task_struct", "utask"])?,
        utask_return_instances: find(&["uprobe_task", "return_instances"])?,
        return_instance_address: find(&["return_instance", "orig_ret_vaddr"])?,
        return_instance_stack: find(&["return_instance", "stack"])?,
        return_instance_next: find(&["return_instance", "next"])?,
        task_signal: find(&["task_struct", "signal"])?,
        signal_tgid: find(&["signal_struct", "pids"])? + PIDTYPE_TGID * 8,
        pid_level: find(&["pid", "level"])?,
        pid_numbers: find(&["pid", "numbers"])?,
        namespace_inum: find(&["pid_namespace", "ns", "inum"])?,
        task_pid: find(&["task_struct", "pid"])?,
        task_sighand: find(&["task_struct", "sighand"])?,
        sighand_action: find(&["sighand_struct", "action"])?,
        reserved: 0,
    })
}

/// Byte offset of a member of a member ... of the named structure.
fn offset_of(btf: &Btf, path: &[&str]) -> Option<u32> {
    let (structure, members) = path.split_first()?;
    btf.resolve_types_by_name(structure).ok()?.into_iter().find_map(|found| {
        let mut current = found;
        let mut offset = 0;
        for member in members {
            let (at, member_type) = member_of(btf, &current, member, 0)?;
            offset += at;
            current = member_type;
        }
        Some(offset)
    })
}

/// Byte offset and type of a member, looked for inside anonymous members too.
fn member_of(btf: &Btf, structure: &Type, name: &str, nesting: u32) -> Option<(u32, Type)> {
    let (Type::Struct(found) | Type::Union(found)) = structure else { return None };
    if nesting > MAX_NESTING {
        return None;
    }
    for member in &found.members {
        let member_name = btf.resolve_name(member).unwrap_or_default();
        let offset = member.bit_offset() / 8;
        if member_name == name {
            return Some((offset, btf.resolve_chained_type(member).ok()?));
        }
        if member_name.is_empty()
            && let Ok(inner) = btf.resolve_chained_type(member)
            && let Some((at, member_type)) = member_of(btf, &inner, name, nesting + 1)
        {
            return Some((offset + at, member_type));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_running_kernel_says_where_the_thread_pointer_is() {
        if std::path::Path::new(super::VMLINUX_BTF).exists() {
            let layout = super::read().expect("layout");
            assert!(layout.task_fsbase > 0 && layout.task_mm > 0 && layout.mm_brk > 0);
        } else {
            eprintln!("skipped: this kernel has no {}", super::VMLINUX_BTF);
        }
    }
}
