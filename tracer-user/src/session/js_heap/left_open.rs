//! Inspectors that outlive has opened and not yet closed, on disk: should it be killed, its next
//! start finds and closes them. One small file for each, in a folder of root's.

use crate::{
    runtime::node::inspector::{self, Client, Options, enter_network},
    target::status,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

/// Where they are. Cleared by a boot, as the inspectors are.
const FOLDER: &str = "/run/outlive/inspectors";
/// Files that are looked at, and bytes of each that are read.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 4096;
/// How long a closed inspector may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// An inspector that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    boot_id: String,
    process: Process,
    /// The outlive that opened it.
    opened_by: Process,
    /// Where the process listened before.
    before: Vec<SocketAddr>,
    /// Where the inspector was seen open. If nowhere, the process may open it still.
    port: Option<u16>,
}

fn boot_id() -> String {
    let id = status::read_bounded("/proc/sys/kernel/random/boot_id", 64).unwrap_or_default();
    String::from_utf8_lossy(&id).trim().to_owned()
}

/// A process that no other can be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    start_time_ticks: u64,
}

impl Process {
    fn of(pid: u32) -> io::Result<Self> {
        let start_time_ticks = status::Stat::read(pid)?.start_time_ticks;
        Ok(Self { pid, start_time_ticks })
    }

    fn is_alive(self) -> bool {
        status::Stat::read(self.pid)
            .is_ok_and(|stat| stat.start_time_ticks == self.start_time_ticks && !stat.is_zombie())
    }
}

/// The note that an inspector is about to be opened. It stays on disk until [`Note::remove`].
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    entry: Entry,
}

impl Note {
    /// Writes one for process `tgid`, which listens at `before` so far.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn write(tgid: u32, before: &[SocketAddr]) -> io::Result<Self> {
        let folder = prepare(Path::new(FOLDER))?;
        let process = Process::of(tgid)?;
        let opened_by = Process::of(std::process::id())?;
        let entry =
            Entry { boot_id: boot_id(), process, opened_by, before: before.to_vec(), port: None };
        let path = folder.join(format!("{tgid}-{}.json", process.start_time_ticks));
        let note = Self { path, entry };
        note.save()?;
        Ok(note)
    }

    /// The inspector is open.
    pub fn is_open(&mut self, port: u16) {
        self.entry.port = Some(port);
        // At worst it is looked for once more than it must.
        let _ = self.save();
    }

    fn save(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new(FOLDER));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(serde_json::to_string(&self.entry)?.as_bytes())?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    /// The inspector is closed, or its process has ended.
    pub fn remove(self) {
        let _ = fs::remove_file(self.path);
    }
}

/// The folder, made where it is missing, and refused where others can write to it.
fn prepare(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for part in [Some(folder), folder.parent()].into_iter().flatten() {
        let metadata = fs::symlink_metadata(part)?;
        // SAFETY: takes nothing and cannot fail.
        let own = unsafe { libc::geteuid() };
        if !metadata.is_dir() || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            let reason = format!("{} is somebody else's", part.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
    }
    Ok(folder.to_owned())
}

/// Closes what an outlive that was killed has left open. The PIDs of the processes, and whether it
/// is closed now.
pub fn close_all() -> Vec<(u32, bool)> {
    // Others could have written what is believed here.
    if !Path::new(FOLDER).exists() || prepare(Path::new(FOLDER)).is_err() {
        return Vec::new();
    }
    let Ok(files) = fs::read_dir(FOLDER) else { return Vec::new() };
    let mut closed = Vec::new();
    for file in files.flatten().take(MAX_FILES) {
        let path = file.path();
        let text = status::read_bounded(&path.to_string_lossy(), MAX_BYTES).unwrap_or_default();
        let entry = serde_json::from_slice::<Entry>(&text).ok();
        let entry = entry.filter(|entry| entry.boot_id == boot_id() && entry.process.is_alive());
        let Some(Entry { process, opened_by, before, port, .. }) = entry else {
            let _ = fs::remove_file(path);
            continue;
        };
        if opened_by.is_alive() {
            continue;
        }
        // In a thread that enters the network of the process, and ends.
        let close = thread::spawn(move || close_one(process.pid, &before, port));
        match close.join() {
            Ok(Found::Closed) => {
                let _ = fs::remove_file(path);
                closed.push((process.pid, true));
            }
            Ok(Found::Nothing) if port.is_some() => {
                let _ = fs::remove_file(path);
            }
            Ok(Found::Nothing) => {}
            _ => closed.push((process.pid, false)),
        }
    }
    closed
}

enum Found {
    Closed,
    Nothing,
    Open,
}

fn close_one(tgid: u32, before: &[SocketAddr], port: Option<u16>) -> Found {
    if enter_network(tgid).is_err() {
        return Found::Open;
    }
    let told = Options::of(tgid);
    let options = Options { port: port.unwrap_or(told.port), ..told };
    let found = inspector::find(tgid, &options, Some(before));
    let Some(endpoint) = found else {
        // A program that is stopped cannot be asked what it is that listens.
        let listens = |port| inspector::listening(tgid).iter().any(|known| known.port() == port);
        return if port.is_some_and(listens) { Found::Open } else { Found::Nothing };
    };
    let closed = Client::connect(&endpoint, Arc::new(AtomicBool::new(false)))
        .and_then(|mut client| inspector::close(&mut client, inspector::CLOSES_WITHIN));
    match closed {
        Ok(()) if is_gone(tgid, endpoint.address.port()) => Found::Closed,
        _ => Found::Open,
    }
}

/// Whether process `tgid` stops listening on a port, soon.
pub fn is_gone(tgid: u32, port: u16) -> bool {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        if inspector::listening(tgid).iter().all(|address| address.port() != port) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
