//! Copies what of a process' memory holds its heap, while it runs or in one short stop.

use super::buffer::{Buffer, LeftOut, buffers};
use super::copy_error::CopyError;
use super::image::{Image, RegionKind};
use super::plan::{Plan, open_pagemap, unreadable};
use super::region::{self, Part, Parts, StackSpan};
use super::stacks::{self, StackPointer};
use super::stop::{Standing, StopError, ThreadRegisters, while_stopped};
use super::transfer::{Moved, Piece, transfer, warm};
use super::urgent::Urgent;
use crate::capture::HeapReading;
use crate::runtime::pagemap::{self, Runs};
use crate::target::{self, mapping::FileId};
use crate::units;
use std::fs::File;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Address space whose pages are looked at, bytes: more is reserved, and not touched.
pub(super) const MAX_ADDRESS_SPACE_BYTES: u64 = 256 << 30;
/// Pages that are looked at during a stop beside those that were known before.
const NEW_PAGES: u64 = 1 << 18;
/// Of the copied memory as much is read once more to learn how fast that is, bytes.
const SAMPLE_BYTES: u64 = 64 << 20;
/// Bytes of a stretch of the sample.
const SAMPLE_STRIDE_BYTES: usize = 1 << 20;
/// Longer than reading the sample can take.
const AMPLE: Duration = Duration::from_secs(60);
/// What a stop takes whatever is read: all threads have to stand, and to go on.
const STOP_LATENCY: Duration = Duration::from_millis(5);
/// The same for each thread.
const THREAD_LATENCY: Duration = Duration::from_micros(30);
/// A stop may take longer than what was measured before by one part in this many.
const ESTIMATE_MARGIN: u32 = 4;
/// Kept of the longest stop for letting all threads go.
const RELEASE_SHARE: u32 = 20;

/// A copy.
#[derive(Debug)]
pub struct Copied {
    /// The memory.
    pub image: Image,
    /// How it was read; when is for the caller to say.
    pub reading: HeapReading,
    /// Registers of all threads; none where it was not stopped.
    pub threads: Vec<ThreadRegisters>,
    /// What was left out, a sentence each.
    pub notes: Vec<String>,
}

/// A copy under way.
pub(super) struct Copy<'p> {
    plan: &'p Plan,
    pagemap: File,
    buffers: Vec<Buffer>,
    moved: Moved,
    shared_bytes: u64,
    left_out: LeftOut,
    /// Stacks as they were at the last read.
    stacks: Vec<StackSpan>,
    began: Instant,
}

impl<'p> Copy<'p> {
    /// Makes the places ready: memory that is new to us takes three times as long to read into.
    pub fn new(plan: &'p Plan) -> Result<Self, CopyError> {
        let tgid = plan.target.tgid;
        let began = Instant::now();
        let mappings = target::read_mappings(tgid)?;
        let pointers = stacks::waiting(tgid);
        let spans = stacks::spans(tgid, &pointers, &mappings);
        let Parts { parts, shared_bytes } = region::parts(&mappings, &plan.statics, &spans);
        let pagemap = open_pagemap(tgid)?;
        let mut left = MAX_ADDRESS_SPACE_BYTES / pagemap::page_bytes();
        let (mut buffers, left_out) =
            buffers(&parts, &pagemap, &mut left).map_err(|error| unreadable(tgid, error))?;
        warm(buffers.iter_mut().flat_map(Buffer::pieces).collect());
        let moved = Moved::default();
        Ok(Self { plan, pagemap, buffers, moved, shared_bytes, left_out, stacks: spans, began })
    }

    fn tgid(&self) -> u32 {
        self.plan.target.tgid
    }

    /// Reads all while the process runs.
    pub fn read_live(&mut self) -> Result<(), CopyError> {
        let pieces = self.buffers.iter_mut().flat_map(Buffer::pieces).collect();
        self.moved = transfer(self.plan.target.tgid, pieces, None);
        self.check()
    }

    /// The same, with what has been mapped or touched since the places were made.
    pub fn read_later(&mut self) -> Result<(), CopyError> {
        let began = Instant::now();
        let before = self.look();
        let new = self.new_buffers(&stacks::waiting(self.tgid()))?;
        self.buffers.extend(new);
        self.read_live()?;
        self.forget(&before);
        log::debug!("read while it runs in {:?}", began.elapsed());
        Ok(())
    }

    /// Whether what was read is this process'.
    fn check(&self) -> Result<(), CopyError> {
        let tgid = self.tgid();
        match self.moved.error {
            Some(libc::ESRCH) => Err(CopyError::Ended(tgid)),
            Some(error) => {
                let error = std::io::Error::from_raw_os_error(error);
                Err(CopyError::Denied { tgid, error })
            }
            None if !self.plan.target.is_alive() => Err(CopyError::Ended(tgid)),
            None => Ok(()),
        }
    }

    /// How long the process would be stopped.
    fn estimate(&mut self) -> Result<Duration, CopyError> {
        let length: u64 = self.buffers.iter().map(|buffer| buffer.runs().resident_bytes()).sum();
        let every = (length / SAMPLE_BYTES).max(1) as usize;
        let pieces = self.buffers.iter_mut().flat_map(Buffer::pieces);
        let stretches = pieces.flat_map(|piece| {
            let at = piece.avma;
            piece.place.chunks_mut(SAMPLE_STRIDE_BYTES).enumerate().map(move |(index, place)| {
                Piece { avma: at + (index * SAMPLE_STRIDE_BYTES) as u64, place }
            })
        });
        let sample: Vec<Piece<'_>> = stretches.step_by(every).collect();
        let sampled: u64 = sample.iter().map(|piece| piece.place.len() as u64).sum();
        // With as much time as it takes, and as urgent as it will be.
        let _urgent = Urgent::begin();
        let ample = Instant::now().checked_add(AMPLE);
        let began = Instant::now();
        self.moved = transfer(self.plan.target.tgid, sample, ample);
        let reading = began.elapsed().mul_f64(length as f64 / sampled.max(1) as f64);
        self.check()?;
        let began = Instant::now();
        let before = self.look();
        let looking = began.elapsed();
        self.forget(&before);
        let threads = stacks::threads(self.tgid()).map_or(0, |threads| threads.len());
        let threads = THREAD_LATENCY * u32::try_from(threads).unwrap_or(u32::MAX);
        let whole = reading + looking + threads;
        log::debug!(
            "estimate: {reading:?} to read {length} bytes, {looking:?} to look at their pages"
        );
        Ok(whole + whole / ESTIMATE_MARGIN + STOP_LATENCY)
    }

    /// Looks anew which pages are in memory; returns which were before.
    fn look(&mut self) -> Vec<Runs> {
        let mut looked = Vec::with_capacity(self.buffers.len());
        for buffer in &mut self.buffers {
            looked.push(buffer.look(&self.pagemap).unwrap_or_default());
        }
        looked
    }

    /// Forgets what went to pages that have left memory since.
    fn forget(&mut self, before: &[Runs]) {
        for (buffer, before) in self.buffers.iter_mut().zip(before) {
            buffer.forget(before);
        }
    }

    /// Reads all in one stop. What was not read so is given back with the reason.
    pub fn read_stopped(mut self, max_stop: Duration) -> Result<Copied, Box<(CopyError, Self)>> {
        let estimated = match self.estimate() {
            Ok(estimated) => estimated,
            Err(error) => return Err(Box::new((error, self))),
        };
        if estimated > max_stop {
            return Err(Box::new((CopyError::StopTooLong { estimated, allowed: max_stop }, self)));
        }
        let tgid = self.tgid();
        let read = while_stopped(tgid, max_stop - max_stop / RELEASE_SHARE, |standing| {
            let before = self.read_standing(standing);
            (standing.threads.clone(), before)
        });
        let ((threads, before), stop) = match read {
            Ok(read) => read,
            Err(StopError::Gone) => return Err(Box::new((CopyError::Ended(tgid), self))),
            Err(error) => return Err(Box::new((error.into(), self))),
        };
        self.forget(&before);
        if let Err(error) = self.check() {
            return Err(Box::new((error, self)));
        }
        if stop.was_cut_short || self.moved.late_bytes > 0 {
            let error = CopyError::StopOverran { allowed: max_stop, stopped: stop.length };
            return Err(Box::new((error, self)));
        }
        self.name_stacks();
        Ok(self.finish(Some(stop.length), threads))
    }

    /// Reads all anew while the process stands; which pages were in memory before.
    fn read_standing(&mut self, standing: &Standing) -> Vec<Runs> {
        let began = Instant::now();
        let faults = page_faults();
        let before = self.look();
        let looked = began.elapsed();
        if let Ok(new) = self.new_buffers(&standing.pointers) {
            self.buffers.extend(new);
        }
        let mapped = began.elapsed();
        let pieces: Vec<Piece<'_>> = self.buffers.iter_mut().flat_map(Buffer::pieces).collect();
        let count = pieces.len();
        self.moved = transfer(self.plan.target.tgid, pieces, Some(standing.until));
        log::debug!(
            "while it stood: {looked:?} to look at pages, {:?} at what is new, {:?} to read {count} pieces of {} bytes, {} page faults",
            mapped - looked,
            began.elapsed() - mapped,
            self.moved.read_bytes,
            page_faults() - faults,
        );
        before
    }

    /// Places for what has been mapped or touched since the first were made.
    fn new_buffers(&mut self, pointers: &[StackPointer]) -> Result<Vec<Buffer>, CopyError> {
        let tgid = self.tgid();
        let mappings = target::read_mappings(tgid)?;
        let spans = stacks::spans(tgid, pointers, &mappings);
        let Parts { parts, shared_bytes } = region::parts(&mappings, &self.plan.statics, &spans);
        self.shared_bytes = shared_bytes;
        let mut known: Vec<Range<u64>> = self.buffers.iter().map(Buffer::range).collect();
        known.sort_unstable_by_key(|range| range.start);
        let new: Vec<Part> = parts.iter().flat_map(|part| without(part, &known)).collect();
        let mut left = NEW_PAGES;
        let (new, left_out) =
            buffers(&new, &self.pagemap, &mut left).map_err(|error| unreadable(tgid, error))?;
        // Less is looked at than at first.
        let swapped_bytes = self.left_out.swapped_bytes.max(left_out.swapped_bytes);
        self.left_out = LeftOut { swapped_bytes, ..left_out };
        self.stacks = spans;
        Ok(new)
    }

    /// Says of stacks where they stood, and cuts them off what the kernel has merged them with:
    /// that of a thread that ran before the stop could not be told then.
    fn name_stacks(&mut self) {
        for stack in &self.stacks {
            let avma = stack.stack_pointer_avma;
            let own = RegionKind::Stack { tid: stack.tid, stack_pointer_avma: avma };
            let Some(index) = self.buffers.iter().position(|place| place.range().contains(&avma))
            else {
                continue;
            };
            match self.buffers[index].kind_mut() {
                RegionKind::Stack { tid, stack_pointer_avma } => {
                    (*tid, *stack_pointer_avma) = (stack.tid, avma);
                }
                RegionKind::Anonymous => {
                    let whole = self.buffers.swap_remove(index);
                    self.buffers.extend(whole.cut_out(&stack.range, own));
                }
                RegionKind::Static { .. } => {}
            }
        }
    }

    /// What was read.
    pub fn finish(mut self, stopped: Option<Duration>, threads: Vec<ThreadRegisters>) -> Copied {
        let files = &self.plan.target.files;
        let open = |id: FileId| files.get(&id).map(|file| file.elf.file());
        let swapped: u64 = self.buffers.iter_mut().map(|buffer| buffer.complete(open)).sum();
        let swapped = swapped.saturating_add(self.left_out.swapped_bytes);
        let mut notes = Vec::new();
        let mut note = |bytes: u64, what: &str| {
            if bytes > 0 {
                notes.push(format!("{} {what}", units::bytes(bytes)));
            }
        };
        note(
            swapped,
            "of its memory are swapped out and were not looked at; what only they point to appears to be held by nobody.",
        );
        note(self.left_out.unseen_bytes, "of reserved address space were not looked at.");
        note(
            self.shared_bytes,
            "of memory that it shares with other processes were not looked at.",
        );
        let reading = HeapReading {
            took_ns: self.began.elapsed().as_nanos() as u64,
            copied_bytes: self.moved.read_bytes,
            tracer_bytes: self.moved.read_bytes,
            stopped_ns: stopped.map(|length| length.as_nanos() as u64),
            unread_bytes: self.moved.unread_bytes.saturating_add(swapped),
            ..HeapReading::default()
        };
        let regions = self.buffers.into_iter().map(Buffer::into_region).collect();
        Copied { image: Image::new(regions), reading, threads, notes }
    }
}

/// Page faults of ours that needed no disk, so far.
fn page_faults() -> i64 {
    // SAFETY: a structure of which any bytes are a value, and which is there during the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_minflt
    }
}

/// What of a part lies in no known range; those are by address.
fn without(part: &Part, known: &[Range<u64>]) -> Vec<Part> {
    let mut rest = Vec::new();
    let mut at = part.range.start;
    let piece = |range: Range<u64>| Part {
        file: part.file.map(|(id, offset)| (id, offset + (range.start - part.range.start))),
        range,
        ..part.clone()
    };
    let behind = known.partition_point(|range| range.end <= at);
    for range in known[behind..].iter().take_while(|range| range.start < part.range.end) {
        if range.start > at {
            rest.push(piece(at..range.start));
        }
        at = at.max(range.end);
    }
    if at < part.range.end {
        rest.push(piece(at..part.range.end));
    }
    rest
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
