//! What outlive is measured beside: other people's tools, installed where they are missing and
//! started the way their users would. One that cannot be had here is an error with the reason,
//! which becomes a line of the table.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::child::{Guarded, bound_command};
use crate::{command, debian};

/// Longest wait for a peer to be at work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks that bpftrace may hold at once; its own default of 4,096 would lose most.
const BPFTRACE_BLOCKS: &str = "1000000";

/// What memleak of bcc and libbpf-tools does, as a bpftrace script: the size waits for the call's
/// return, a map by address holds size and stack, a free takes the block out. At the end the maps
/// are thrown away, since printing them is no part of the cost.
const MEMLEAK: &str = "
uprobe:LIBC:malloc { @asked[tid] = arg0; }
uprobe:LIBC:calloc { @asked[tid] = arg0 * arg1; }
uprobe:LIBC:realloc { @asked[tid] = arg1; delete(@bytes[arg0]); delete(@stack[arg0]); }
uprobe:LIBC:memalign { @asked[tid] = arg1; }
uprobe:LIBC:aligned_alloc { @asked[tid] = arg1; }
uretprobe:LIBC:malloc, uretprobe:LIBC:calloc, uretprobe:LIBC:realloc,
uretprobe:LIBC:memalign, uretprobe:LIBC:aligned_alloc
/@asked[tid]/ {
    @bytes[retval] = @asked[tid];
    @stack[retval] = ustack;
    delete(@asked[tid]);
}
uprobe:LIBC:free { delete(@bytes[arg0]); delete(@stack[arg0]); }
interval:ms:200 { printf(\"at work\\n\"); }
END { clear(@asked); clear(@bytes); clear(@stack); }
";

/// Attaches the bpftrace script to a process.
///
/// # Errors
/// When bpftrace cannot be had or does not attach.
pub(super) fn bpftrace(pid: u32) -> Result<Guarded> {
    debian::ensure(&["bpftrace"], "a peer of the bench")?;
    let script = MEMLEAK.replace("LIBC", &libc_of(pid)?);
    let mut command = bound_command("bpftrace", "INT");
    command.env("BPFTRACE_MAP_KEYS_MAX", BPFTRACE_BLOCKS);
    command.args(["-p", &pid.to_string(), "-e", &script]);
    let mut bpftrace = Guarded::start("bpftrace", &mut command)?;
    // The timer may be in place long before the last probe is.
    for _ in 0..6 {
        bpftrace.wait_for("first lines", PATIENCE, |line| (line == "at work").then_some(()))?;
    }
    Ok(bpftrace)
}

/// The C library that a process has mapped.
fn libc_of(pid: u32) -> Result<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("reading its mappings")?;
    libc_in(&maps).with_context(|| format!("process {pid} maps no libc.so.6"))
}

fn libc_in(maps: &str) -> Option<String> {
    let paths = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| path));
    let mut libc = paths.filter(|path| path.ends_with("/libc.so.6"));
    libc.next().map(|path| format!("/{path}"))
}

/// heaptrack's reader, and what a command's environment must hold for it to be followed.
pub(super) struct Heaptrack {
    /// Reads what the target writes, as the `heaptrack` script has it done.
    pub(super) interpreter: Guarded,
    preload: PathBuf,
    pipe: PathBuf,
    _folder: TempDir,
}

impl Heaptrack {
    /// Starts the reader; the target comes next.
    ///
    /// # Errors
    /// When heaptrack cannot be had.
    pub(super) fn start() -> Result<Self> {
        debian::ensure(&["heaptrack"], "a peer of the bench")?;
        let files = ["heaptrack", "libheaptrack"].into_iter().flat_map(debian::files_of);
        let files: Vec<PathBuf> = files.map(PathBuf::from).collect();
        let named = |name: &str| {
            let found = files.iter().find(|path| path.ends_with(name)).cloned();
            found.with_context(|| format!("Debian's heaptrack has no {name}"))
        };
        let folder = tempfile::tempdir().context("making a folder for heaptrack")?;
        let pipe = folder.path().join("heaptrack.fifo");
        command::run(Command::new("mkfifo").arg(&pipe))?;
        // The shell waits for a writer, then becomes the interpreter.
        let mut interpreter = bound_command("sh", "KILL");
        interpreter
            .args(["-c", "exec \"$0\" < \"$1\" > /dev/null"])
            .arg(named("heaptrack_interpret")?)
            .arg(&pipe);
        let interpreter = Guarded::start("heaptrack's interpreter", &mut interpreter)?;
        let preload = named("libheaptrack_preload.so")?;
        Ok(Self { interpreter, preload, pipe, _folder: folder })
    }

    /// The command that starts `program` and has it followed.
    pub(super) fn follow(&self, program: &[String]) -> Command {
        let mut command = bound_command("env", "KILL");
        command
            .arg(format!("LD_PRELOAD={}", self.preload.display()))
            .arg(format!("DUMP_HEAPTRACK_OUTPUT={}", self.pipe.display()))
            .args(program);
        command
    }
}

/// `program` under valgrind's massif; what it writes at the end goes into `folder`.
///
/// # Errors
/// When valgrind cannot be had.
pub(super) fn massif(program: &[String], folder: &Path) -> Result<Command> {
    debian::ensure(&["valgrind"], "a peer of the bench")?;
    let mut command = bound_command("valgrind", "KILL");
    command.args(["-q", "--tool=massif"]);
    command.arg(format!("--massif-out-file={}", folder.join("massif.out").display()));
    command.args(program);
    Ok(command)
}

/// Has memray inject itself into a process of `python`, and write to `folder`.
///
/// # Errors
/// When it fails, with what it says.
pub(super) fn memray_attach(python: &Path, pid: u32, folder: &Path) -> Result<()> {
    debian::ensure(&["gdb"], "a peer of the bench (memray injects by gdb)")?;
    let mut command = bound_command(python, "KILL");
    command.args(["-m", "memray", "attach", "--force", "--output"]);
    command.arg(folder.join("memray.bin")).arg(pid.to_string());
    let output = command.output().context("starting memray attach")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("memray attach failed: {}", said.lines().last().unwrap_or("it says nothing"));
    }
    // It returns when it has injected what starts tracking.
    thread::sleep(Duration::from_millis(500));
    let is_tracking = fs::metadata(folder.join("memray.bin")).is_ok_and(|file| file.len() > 0);
    if !is_tracking {
        bail!("memray attach ended, and nothing is recorded");
    }
    Ok(())
}

/// A Python script under `memray run`.
pub(super) fn memray_run(python: &str, script: &str, folder: &Path) -> Vec<String> {
    let out = folder.join("memray.bin").display().to_string();
    [python, "-m", "memray", "run", "--quiet", "--force", "--output", &out, script]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::{MEMLEAK, libc_in};

    #[test]
    fn the_c_library_is_found_among_mappings() {
        let maps = "\
            55d0-55d1 r--p 00000000 fe:00 1  /usr/bin/python3.11\n\
            7f00-7f01 rw-p 00000000 00:00 0 \n\
            7f01-7f02 r-xp 00026000 fe:00 2  /usr/lib/x86_64-linux-gnu/libcrypt.so.1\n\
            7f02-7f03 r-xp 00026000 fe:00 3  /usr/lib/x86_64-linux-gnu/libc.so.6\n";
        assert_eq!(libc_in(maps).unwrap(), "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert!(libc_in("7f00-7f01 r-xp 0 0 0 /lib/ld-musl-x86_64.so.1\n").is_none());
    }

    #[test]
    fn the_script_takes_out_what_it_puts_in() {
        for map in ["@bytes", "@stack"] {
            assert!(MEMLEAK.contains(&format!("{map}[retval] = ")));
            let free = MEMLEAK.lines().find(|line| line.starts_with("uprobe:LIBC:free"));
            assert!(free.unwrap().contains(&format!("delete({map}[arg0])")));
        }
    }
}
