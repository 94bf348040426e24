//! The target: one running process, its address space, its files and what stands in the way of
//! tracing it. Reads /proc and ELF files; attaches nothing and decides nothing about probes.

mod children;
pub mod code_range;
pub mod elf;
mod error;
pub mod find;
pub mod function_table;
pub mod kernel;
pub mod mapping;
pub mod memory_limits;
pub mod pid_namespace;
pub mod plain_file;
mod seccomp;
pub mod status;
mod vdso;

pub use children::children;
pub use code_range::{PlannedRange, TableKey, code_ranges, fitting, keep_most_useful};
pub use error::TargetError;
pub use find::{find_by_name, find_by_unit};
pub use status::Namespace;

use crate::printable::printable;
use crate::warning::Warning;
use elf::{Elf, ElfError};
use mapping::{FileId, Mapping};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mapped code files that are opened; each costs a descriptor, and 1024 are usual for a process.
const MAX_FILES: usize = 512;
/// Code files that are kept open though they are mapped no more: all of a program that called exec.
const MAX_UNMAPPED_FILES: usize = MAX_FILES;
/// Largest maps file that is read, in bytes.
const MAX_MAPS_BYTES: u64 = 64 << 20;

/// A file that the target maps as code, open, so that it stays readable when the target is gone.
#[derive(Debug)]
pub struct MappedFile {
    /// Identity.
    pub id: FileId,
    /// Path as the target sees it.
    pub display_path: PathBuf,
    /// Path by which the kernel finds the very same file from here, as long as this is held: that of
    /// the open handle. A path through /proc/PID would end with the process.
    pub open_path: PathBuf,
    /// Its ELF headers, and the open handle.
    pub elf: Elf,
}

impl MappedFile {
    /// Its file name.
    pub fn name(&self) -> String {
        self.display_path
            .file_name()
            .unwrap_or(self.display_path.as_os_str())
            .to_string_lossy()
            .into_owned()
    }
}

/// A process that can be traced.
#[derive(Clone, Debug)]
pub struct Target {
    /// Process ID in the PID namespace of outlive.
    pub tgid: u32,
    /// Path of its program, as it sees it.
    pub exe: PathBuf,
    /// Its arguments.
    pub cmdline: Vec<String>,
    /// Its address space, sorted by address.
    pub mappings: Vec<Mapping>,
    /// The code files in it, by identity.
    pub files: BTreeMap<FileId, Arc<MappedFile>>,
    /// The code that the kernel maps into it.
    pub vdso: Option<Arc<Elf>>,
    /// Number of its threads.
    pub thread_count: u32,
    /// Its control group, and the container that name reveals.
    pub cgroup: Option<String>,
    /// Container ID (64 hex digits) where the control group names one.
    pub container: Option<String>,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
    /// Seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// Whether that may kill its threads at probes, on this kernel.
    pub seccomp_stops_probes: bool,
    /// Real user ID.
    pub uid: u32,
    /// Start time in clock ticks since boot: with `tgid` it names one process for ever.
    pub start_time_ticks: u64,
}

impl Target {
    /// The mapping that holds `avma`.
    pub fn mapping_at(&self, avma: u64) -> Option<&Mapping> {
        let behind = self.mappings.partition_point(|mapping| mapping.start_avma <= avma);
        self.mappings[..behind].last().filter(|mapping| mapping.contains(avma))
    }

    /// The code file behind `mapping`.
    pub fn file_of(&self, mapping: &Mapping) -> Option<&Arc<MappedFile>> {
        self.files.get(mapping.file.as_ref()?)
    }

    /// What must be added to an address in `file`'s own numbering to get one in the target.
    pub fn bias_of(&self, file: &MappedFile) -> Option<u64> {
        let mapping = self
            .mappings
            .iter()
            .find(|mapping| mapping.file == Some(file.id) && mapping.executable)?;
        Some(mapping.start_avma.wrapping_sub(file.elf.code_svma_of(mapping.file_offset)?))
    }

    /// Whether the process that was discovered still runs (a PID can be given away again).
    pub fn is_alive(&self) -> bool {
        status::Stat::read(self.tgid)
            .is_ok_and(|stat| stat.start_time_ticks == self.start_time_ticks && !stat.is_zombie())
    }

    /// Its child `tgid`, just forked: another process with the same files.
    ///
    /// # Errors
    /// [`TargetError`] when the child is gone, or its files are not those of this process.
    pub fn forked(&self, tgid: u32) -> Result<Self, TargetError> {
        let stat =
            status::Stat::read(tgid).map_err(|error| TargetError::from_io(tgid, "stat", error))?;
        let mappings = read_mappings(tgid)?;
        let mut code =
            mappings.iter().filter(|mapping| mapping.executable && mapping.file.is_some());
        let is_ours = |mapping: &Mapping| {
            self.mapping_at(mapping.start_avma).is_some_and(|known| {
                (known.file, known.file_offset) == (mapping.file, mapping.file_offset)
            })
        };
        if mappings.is_empty() || stat.is_zombie() || !code.all(is_ours) {
            return Err(TargetError::Exited(tgid));
        }
        let (cgroup, container) = status::control_group(tgid);
        Ok(Self {
            tgid,
            mappings,
            cgroup,
            container,
            cmdline: status::command_line(tgid),
            namespaces: status::namespaces(tgid),
            start_time_ticks: stat.start_time_ticks,
            ..self.clone()
        })
    }

    /// Whether the process still maps the code that it was discovered with: it has not called exec
    /// since.
    pub fn keeps_its_code(&self) -> bool {
        let Ok(now) = read_mappings(self.tgid) else { return false };
        let code =
            self.mappings.iter().filter(|mapping| mapping.executable && mapping.file.is_some());
        let same = |mapping: &&Mapping| {
            now.iter()
                .any(|other| (other.start_avma, other.file) == (mapping.start_avma, mapping.file))
        };
        let (kept, all) = (code.clone().filter(same).count(), code.count());
        // A library may have been closed meanwhile; an exec moves everything.
        kept * 2 > all
    }

    /// Reads the address space again, and opens the files that are new in it. Files that went
    /// away are kept, since stacks that were recorded may still name them; up to a number of them,
    /// since a program may load new ones for ever.
    ///
    /// # Errors
    /// [`TargetError`] when the process is gone or may not be read any more; the old state stays.
    pub fn refresh(&mut self) -> Result<Vec<Warning>, TargetError> {
        let mut warnings = self.look_again()?;
        if self.mappings.is_empty() {
            // It is ending: what was there is what stacks will be named by.
            return Ok(warnings);
        }
        let mapped = self.mapped_files();
        let gone = self.files.keys().filter(|id| !mapped.contains(id)).copied();
        let forgotten: Vec<FileId> = gone.skip(MAX_UNMAPPED_FILES).collect();
        if !forgotten.is_empty() {
            self.files.retain(|id, _| !forgotten.contains(id));
            warnings.push(Warning::new(
                "files-forgotten",
                format!("The process has unmapped more than {MAX_UNMAPPED_FILES} code files; stacks through some of them stay without names."),
                "",
            ));
        }
        Ok(warnings)
    }

    fn mapped_files(&self) -> BTreeSet<FileId> {
        self.mappings.iter().filter_map(|mapping| mapping.file).collect()
    }

    fn look_again(&mut self) -> Result<Vec<Warning>, TargetError> {
        self.mappings = read_mappings(self.tgid)?;
        if self.vdso.is_none() {
            self.vdso = vdso::read(self.tgid, &self.mappings).map(Arc::new);
        }
        let mut warnings = Vec::new();
        let mapped = self.mapped_files();
        let mut open_count = self.files.keys().filter(|id| mapped.contains(id)).count();
        for mapping in self.mappings.iter().filter(|mapping| mapping.executable) {
            let Some(id) = mapping.file else { continue };
            if self.files.contains_key(&id) {
                continue;
            }
            if open_count >= MAX_FILES {
                warnings.push(Warning::new(
                    "too-many-files",
                    format!("The process maps more than {MAX_FILES} code files; the rest stay without names and probes."),
                    "",
                ));
                break;
            }
            match open_mapped(self.tgid, mapping, id) {
                Ok(Some(file)) => {
                    self.files.insert(id, Arc::new(file));
                    open_count += 1;
                }
                Ok(None) => {}
                Err(reason) => warnings.push(Warning::new(
                    "file-unreadable",
                    format!("{} is mapped as code but {reason}; its functions stay without names and probes.", mapping.path.display()),
                    "Run outlive as root, outside of containers.",
                )),
            }
        }
        Ok(warnings)
    }
}

/// Whether the first thread of process `tgid` has ended while others go on.
pub fn has_lost_first_thread(tgid: u32) -> bool {
    status::Stat::read(tgid).is_ok_and(|stat| stat.is_zombie())
        && std::fs::read_dir(format!("/proc/{tgid}/task"))
            .is_ok_and(|threads| threads.take(2).count() > 1)
}

/// Finds out what there is to know about process `pid` (of this PID namespace).
///
/// # Errors
/// [`TargetError`], each a sentence: what is wrong, why, and what to do.
///
/// # Cost
/// A few milliseconds: the maps file and the headers of every mapped code file.
pub fn discover(pid: u32) -> Result<(Target, Vec<Warning>), TargetError> {
    discover_beside(pid, &BTreeMap::new())
}

/// As [`discover`]; the files that are open already are not opened again.
///
/// # Errors
/// As [`discover`].
pub fn discover_beside(
    pid: u32,
    open: &BTreeMap<FileId, Arc<MappedFile>>,
) -> Result<(Target, Vec<Warning>), TargetError> {
    let mut warnings = Vec::new();
    let status = status::Status::read(pid).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => TargetError::NoSuchProcess(pid),
        _ => TargetError::from_io(pid, "status", error),
    })?;
    let tgid = status.tgid;
    if tgid == std::process::id() {
        return Err(TargetError::Itself(pid));
    }
    if tgid != pid {
        warnings.push(Warning::new(
            "thread-id",
            format!("{pid} is a thread of process {tgid}; the whole process is traced."),
            "",
        ));
    }
    let stat =
        status::Stat::read(tgid).map_err(|error| TargetError::from_io(tgid, "stat", error))?;
    if stat.is_zombie() {
        return Err(TargetError::Zombie { pid: tgid, name: status.name });
    }
    if stat.is_kernel_thread() {
        return Err(TargetError::KernelThread { pid: tgid, name: status.name });
    }
    let exe = std::fs::read_link(format!("/proc/{tgid}/exe"))
        .map_err(|error| TargetError::from_io(tgid, "exe", error))?;
    check_program(tgid, &exe)?;
    let (cgroup, container) = status::control_group(tgid);
    let mut target = Target {
        tgid,
        exe: without_deleted(exe),
        cmdline: status::command_line(tgid),
        mappings: Vec::new(),
        files: open.clone(),
        vdso: None,
        thread_count: status.threads,
        cgroup,
        container,
        namespaces: status::namespaces(tgid),
        seccomp_mode: status.seccomp,
        seccomp_stops_probes: status.seccomp != 0 && seccomp::filters_stop_probes(),
        uid: status.uid,
        start_time_ticks: stat.start_time_ticks,
    };
    warnings.extend(target.look_again()?);
    let mapped = target.mapped_files();
    target.files.retain(|id, _| mapped.contains(id));
    if target.mappings.is_empty() {
        return Err(TargetError::Exited(tgid));
    }
    Ok((target, warnings))
}

fn check_program(pid: u32, exe: &Path) -> Result<(), TargetError> {
    let file = File::open(format!("/proc/{pid}/exe"))
        .map_err(|error| TargetError::from_io(pid, "exe", error))?;
    let exe = printable(&exe.to_string_lossy());
    match Elf::read(file) {
        Ok(_) => Ok(()),
        Err(ElfError::OtherMachine(machine)) => {
            Err(TargetError::OtherArchitecture { pid, exe, machine })
        }
        Err(error) => Err(TargetError::Program { pid, exe, error }),
    }
}

fn without_deleted(exe: PathBuf) -> PathBuf {
    exe.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from).unwrap_or(exe)
}

/// The address space of process `tgid`, by address.
///
/// # Errors
/// [`TargetError`] when it cannot be read.
pub fn read_mappings(tgid: u32) -> Result<Vec<Mapping>, TargetError> {
    let text = status::read_bounded(&format!("/proc/{tgid}/maps"), MAX_MAPS_BYTES)
        .map_err(|error| TargetError::from_io(tgid, "maps", error))?;
    Ok(mapping::parse(&text))
}

/// Opens the file behind `mapping`: by its path when that still names the same file, else by the
/// kernel's link. `None` for what is no ELF (a JIT's perf map, a database mapped executable).
fn open_mapped(tgid: u32, mapping: &Mapping, id: FileId) -> Result<Option<MappedFile>, String> {
    let by_path = mapping::through_root(tgid, &mapping.path);
    let by_link = mapping::through_map_files(tgid, mapping);
    let same = |metadata: &Metadata| {
        metadata.ino() == id.inode
            && libc::major(metadata.dev()) == id.major
            && libc::minor(metadata.dev()) == id.minor
    };
    let candidate = if mapping.deleted { None } else { open_regular(&by_path).ok().flatten() };
    let file = match candidate {
        Some((file, metadata)) if same(&metadata) => file,
        other => match (open_regular(&by_link), other) {
            (Ok(Some((file, _))), _) => file,
            // Some file systems (btrfs, overlayfs) number devices differently in maps and stat.
            (Err(_), Some((file, metadata))) if metadata.ino() == id.inode => file,
            (Err(error), _) => return Err(format!("cannot be opened ({error})")),
            (Ok(None), _) => return Ok(None),
        },
    };
    match Elf::read(file) {
        Ok(elf) => {
            let open_path = PathBuf::from(format!("/proc/self/fd/{}", elf.file().as_raw_fd()));
            Ok(Some(MappedFile { id, display_path: mapping.path.clone(), open_path, elf }))
        }
        Err(ElfError::NotElf) => Ok(None),
        Err(error) => Err(format!("is unusable: {error}")),
    }
}

/// Opens a regular file; `None` for anything else: opening a device or a pipe can block or act. What
/// the path names may be exchanged at any time, so it is looked at by a handle that opens nothing,
/// and what that handle holds is opened.
fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let handle = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let metadata = handle.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    Ok(Some((file, metadata)))
}

#[cfg(test)]
mod tests;
