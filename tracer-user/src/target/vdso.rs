//! The code that the kernel maps into every process, read from the target's memory.

use super::elf::Elf;
use super::mapping::Mapping;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::FromRawFd as _;
use std::path::Path;

/// Largest vdso that is read, in bytes; it has two pages.
const MAX_VDSO_BYTES: u64 = 1 << 20;

/// The vdso among `mappings` of process `tgid`.
pub fn read(tgid: u32, mappings: &[Mapping]) -> Option<Elf> {
    let vdso = mappings.iter().find(|mapping| mapping.path == Path::new("[vdso]"))?;
    if vdso.length_bytes() > MAX_VDSO_BYTES {
        return None;
    }
    let mut memory = File::open(format!("/proc/{tgid}/mem")).ok()?;
    memory.seek(SeekFrom::Start(vdso.start_avma)).ok()?;
    let mut bytes = vec![0; vdso.length_bytes() as usize];
    memory.read_exact(&mut bytes).ok()?;
    let mut file = memory_file()?;
    file.write_all(&bytes).ok()?;
    Elf::read(file).ok()
}

/// A file without a name, in memory.
fn memory_file() -> Option<File> {
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(c"vdso".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a descriptor that was just opened and that nobody else owns.
    (fd >= 0).then(|| unsafe { File::from_raw_fd(fd) })
}
