//! Frames of a site as places of a profile: at which address, in which mapping, and which frames
//! were inlined into which.

use super::message::Line;
use super::tables::Tables;
use crate::capture::{MappedFile, Recording};
use crate::report::{FrameReport, Site};
use crate::same::Same;
use crate::stack::{FrameKind, RawStack, StackId};
use std::collections::HashMap;

/// Recorded mappings by image and path.
pub(super) struct Places<'a> {
    recording: &'a Recording,
    mapped: HashMap<(u32, &'a str), Vec<&'a MappedFile>>,
}

impl<'a> Places<'a> {
    pub(super) fn of(recording: &'a Recording) -> Self {
        let mut mapped: HashMap<(u32, &str), Vec<&MappedFile>> = HashMap::new();
        for file in &recording.mappings {
            mapped.entry((file.image, file.path.as_str())).or_default().push(file);
        }
        Self { recording, mapped }
    }

    /// The mapping in which the executable of the target begins: readers take a profile's first
    /// mapping for its program.
    pub(super) fn program(&self) -> Option<&'a MappedFile> {
        let files = self.recording.mappings.iter();
        files
            .filter(|file| file.path == self.recording.meta.target.exe)
            .min_by_key(|file| (file.image, file.start_avma))
    }

    /// Places of a site's frames, leaf first.
    pub(super) fn locations(&self, tables: &mut Tables, site: &Site) -> Vec<u64> {
        let raw = u64::from_str_radix(&site.id, 16)
            .ok()
            .and_then(|id| self.recording.raw_stacks.get(&StackId(id)));
        let mut returns = raw.map_or(&[][..], |raw| &raw.native);
        let mut locations = Vec::with_capacity(site.frames.len());
        for run in site.frames.chunk_by(|a, b| is_same_address(a, b)) {
            let (mapping, address) = self.address(tables, raw, &run[0]);
            let lines: Vec<Line> = run.iter().map(|frame| tables.line(frame)).collect();
            let group = match repetitions(&mut returns, address) {
                // A recursion returns to one address again and again, each time with all that
                // was inlined there.
                Some(count) if run.len().is_multiple_of(count) => run.len() / count,
                Some(_) => 1,
                None if has_repetition(run) => 1,
                None => run.len(),
            };
            for lines in lines.chunks(group) {
                locations.push(tables.location(mapping, address, lines.to_vec()));
            }
        }
        locations
    }

    /// Mapping and address of a frame; neither for scripts and for what lies in no file.
    fn address(
        &self,
        tables: &mut Tables,
        raw: Option<&RawStack>,
        frame: &FrameReport,
    ) -> (u64, u64) {
        let (FrameKind::Native, Some(module)) = (frame.kind, frame.module.as_deref()) else {
            return (0, 0);
        };
        let offset = frame.offset.unwrap_or(0);
        let image = raw.map_or(0, |raw| raw.image);
        let files = self.mapped.get(&(image, module)).map_or(&[][..], Vec::as_slice);
        let found = files.iter().find_map(|file| {
            let avma = file.start_avma.checked_add(offset.checked_sub(file.file_offset)?)?;
            (avma < file.end_avma).then_some((file, avma))
        });
        match found {
            Some((file, avma)) => (tables.mapping(file), avma),
            None => (tables.file(module, frame.build_id.as_deref(), offset), offset),
        }
    }
}

fn is_same_address(a: &FrameReport, b: &FrameReport) -> bool {
    a.kind == FrameKind::Native
        && b.kind == FrameKind::Native
        && a.module.is_some()
        && a.offset.is_some()
        && (&a.module, a.offset) == (&b.module, b.offset)
}

/// How many return addresses in a row lead to `address`, of those that were not looked at yet;
/// `None` where none does.
fn repetitions(returns: &mut &[u64], address: u64) -> Option<usize> {
    let leads_there = |avma: &u64| avma.checked_sub(1) == Some(address);
    let begin = returns.iter().position(leads_there)?;
    let count = returns[begin..].iter().take_while(|avma| leads_there(avma)).count();
    *returns = &returns[begin + count..];
    Some(count)
}

fn has_repetition(run: &[Same<FrameReport>]) -> bool {
    run.iter()
        .enumerate()
        .any(|(index, frame)| run[..index].iter().any(|before| before.function == frame.function))
}
