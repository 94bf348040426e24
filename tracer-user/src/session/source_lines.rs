//! Reads, at the session's end, the lines of source code that the report points at, so that it can
//! show them, here and wherever the capture is taken. Nothing else of the files is kept.

use super::images::Images;
use crate::{
    capture::{ProcessMeta, Recording, SourceLine},
    report::{WantedLine, wanted_lines},
    target::{
        Target,
        plain_file::{self, PlainFile},
        status::Stat,
    },
};
use procfs::Current as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant, SystemTime},
};

/// Largest file that is read; more is not written by people. Bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// The same of all files together.
const MAX_ALL_BYTES: u64 = 64 << 20;
/// Longest line that is believed to be source code, in bytes: those of bundles are longer.
const MAX_LINE_BYTES: usize = 1000;
/// Characters of a line that are kept.
const MAX_CHARACTERS: usize = 160;
/// How long the files may take. They are the target's: one may lie in a file system that never
/// answers, and the report must not wait for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How exactly the kernel tells when a process was started; file systems are no worse.
const TICK: Duration = Duration::from_millis(20);
/// Ancestors that may have read a program before they forked.
const MAX_ANCESTORS: usize = 16;

/// Under which root the files of each image are.
#[derive(Debug, Default)]
pub struct SourceRoots {
    by_image: BTreeMap<u32, Root>,
}

/// Where the files of a process are.
#[derive(Clone, Debug)]
struct Root {
    tgid: u32,
    start_time_ticks: u64,
    /// Its paths mean here what they mean there.
    is_ours: bool,
}

impl Root {
    /// `None` where the process has ended and had files of its own.
    fn open(&self) -> Option<File> {
        let root = plain_file::root_of(self.tgid).filter(|_| {
            // After opening: a PID can be given away again.
            Stat::read(self.tgid).is_ok_and(|stat| stat.start_time_ticks == self.start_time_ticks)
        });
        root.or_else(|| self.is_ours.then(|| File::open("/").ok()).flatten())
    }
}

impl SourceRoots {
    /// Of all images that have stacks.
    pub fn of(images: &Images) -> Self {
        let root = |target: &Target| Root {
            tgid: target.tgid,
            start_time_ticks: target.start_time_ticks,
            is_ours: shares_our_files(target),
        };
        let by_image = images.all().map(|(image, resolver)| (image, root(resolver.target())));
        Self { by_image: by_image.collect() }
    }

    /// The lines that the report of `recording` may want to show, as far as they can be read and are
    /// those of the code that ran.
    pub fn lines(self, recording: &Recording) -> Vec<SourceLine> {
        let wanted = wanted_lines(recording);
        if wanted.is_empty() {
            return Vec::new();
        }
        let processes = recording.meta.processes.clone();
        let (sender, receiver) = channel();
        let reading = std::thread::Builder::new()
            .name("source-lines".into())
            .spawn(move || self.read(&wanted, &processes, &sender));
        let until = Instant::now() + PATIENCE;
        let next = || receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        reading.map_or_else(|_| Vec::new(), |_| std::iter::from_fn(next).collect())
    }

    /// Reads file by file.
    fn read(&self, wanted: &[WantedLine], processes: &[ProcessMeta], to: &Sender<SourceLine>) {
        let mut files: BTreeMap<(u32, &str, Option<&str>), BTreeSet<u32>> = BTreeMap::new();
        for line in wanted {
            let key = (line.image, line.file.as_str(), line.made.as_deref());
            files.entry(key).or_default().insert(line.line);
        }
        let mut bytes_left = MAX_ALL_BYTES;
        for ((image, file, made), lines) in files {
            let Some(root) = self.by_image.get(&image).and_then(Root::open) else { continue };
            let Some(since) = code_since(image, processes) else { continue };
            let Some(source) = plain_file::open(&root, Path::new(file)) else { continue };
            if !is_of_what_runs(&source, since, made.map(|made| (&root, made))) {
                continue;
            }
            let Some(bytes) = source.read(MAX_FILE_BYTES.min(bytes_left)) else { continue };
            bytes_left -= bytes.len() as u64;
            let lines: Vec<u32> = lines.into_iter().collect();
            for (line, text) in lines_of(&bytes, &lines) {
                let found = SourceLine { file: file.to_owned(), line, text };
                if to.send(found).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether the paths of a target lead to its files from here too: it has our mounts, and its program
/// is what we find under the program's path (it may have another root).
fn shares_our_files(target: &Target) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let program = target.files.values().find(|file| file.display_path == target.exe);
    let theirs = program.and_then(|file| file.elf.file().metadata().ok()).map(identity);
    let ours = std::fs::metadata(&target.exe).ok().map(identity);
    let has_our_mounts =
        |namespace: &crate::target::Namespace| namespace.kind == "mnt" && namespace.shared_with_us;
    target.namespaces.iter().any(has_our_mounts) && theirs.is_some() && theirs == ours
}

/// Whether a file still says what it said when the code that runs was read from it. One that was
/// written since, or put in the place of another (which its status says, whatever time of writing it
/// pretends), may say anything, and a wrong line is worse than none. What was made from it has to be
/// newer than it.
fn is_of_what_runs(source: &PlainFile, since: SystemTime, made: Option<(&File, &str)>) -> bool {
    let metadata = source.metadata();
    let Ok(written) = metadata.modified() else { return false };
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(u64::MAX);
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    if written > since || changed.is_none_or(|changed| changed > since) {
        return false;
    }
    let Some((root, made)) = made else { return true };
    let made = plain_file::open(root, Path::new(made));
    made.and_then(|made| made.metadata().modified().ok()).is_some_and(|made| written <= made)
}

/// When the code of an image may have been read first: when its process was started, or the oldest
/// of those that it is a fork of.
fn code_since(image: u32, processes: &[ProcessMeta]) -> Option<SystemTime> {
    let process = processes.iter().find(|process| process.images.contains(&image))?;
    let mut oldest = (process.pid, process.start_time_ticks);
    // Its first image is the one that it was forked with, or came by an exec before it was seen.
    let is_first = process.images.first() == Some(&image);
    for _ in 0..if is_first { MAX_ANCESTORS } else { 0 } {
        let Some(parent) = forked_by(oldest, processes) else { break };
        oldest = parent;
    }
    let ticks_per_second = procfs::ticks_per_second().max(1) as f64;
    let since_boot = Duration::from_secs_f64(oldest.1 as f64 / ticks_per_second);
    let uptime = procfs::Uptime::current().ok()?.uptime_duration();
    SystemTime::now().checked_sub(uptime.saturating_sub(since_boot))?.checked_add(TICK)
}

/// The process that another is a fork of, and when it was started; `None` where that called exec
/// since. Of what has ended that is not known, so a parent that was followed is taken for one.
fn forked_by((pid, ticks): (u32, u64), processes: &[ProcessMeta]) -> Option<(u32, u64)> {
    let known =
        processes.iter().find(|process| (process.pid, process.start_time_ticks) == (pid, ticks));
    let living = Stat::read(pid).ok().filter(|stat| stat.start_time_ticks == ticks);
    let parent_pid = match (living, known) {
        (Some(stat), _) => stat.parent_pid,
        (None, Some(known)) => known.parent_pid,
        (None, None) => return None,
    };
    let followed = processes.iter().find(|process| process.pid == parent_pid);
    match (stack_of(pid), stack_of(parent_pid)) {
        (Some(own), Some(parents)) if own != parents => None,
        (Some(_), Some(_)) => Some((parent_pid, Stat::read(parent_pid).ok()?.start_time_ticks)),
        _ => followed.map(|parent| (parent.pid, parent.start_time_ticks)),
    }
}

/// Where the stack of a process begins: each exec has the kernel choose anew, a fork keeps it.
fn stack_of(pid: u32) -> Option<u64> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    (stat.startstack > 1).then_some(stat.startstack)
}

/// The lines of a text (1-based, in ascending order) that are source code.
fn lines_of(bytes: &[u8], wanted: &[u32]) -> Vec<(u32, String)> {
    let mut wanted = wanted.iter().copied().peekable();
    let mut found = Vec::new();
    for (number, line) in (1_u32..).zip(bytes.split(|byte| *byte == b'\n')) {
        let Some(next) = wanted.peek() else { break };
        if *next == number {
            wanted.next();
            found.extend(shown(line).map(|text| (number, text)));
        }
    }
    found
}

/// A line without the white space around it; `None` where it is empty, or no text that people
/// write.
fn shown(line: &[u8]) -> Option<String> {
    if line.len() > MAX_LINE_BYTES {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?.trim().replace('\t', " ");
    if text.is_empty() || text.contains(char::is_control) {
        return None;
    }
    if text.chars().count() <= MAX_CHARACTERS {
        return Some(text);
    }
    let head: String = text.chars().take(MAX_CHARACTERS - 3).collect();
    Some(head + "...")
}

#[cfg(test)]
mod tests;
