//! Native addresses: which file, which function, which line. Symbols and DWARF are blazesym's
//! work; files are reached through descriptors, so that it works when the target has ended.

use super::{CapturedMapping, Observed};
use crate::stack::{Frame, FrameKind};
use crate::target::mapping::Mapping;
use crate::target::{MappedFile, Target};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Addresses that are remembered, named or refused.
const MAX_CACHED: usize = 1 << 20;
/// Longest function name that is kept, in characters: C++ templates reach kilobytes.
const MAX_NAME_CHARACTERS: usize = 1024;

/// Names native addresses of one target.
#[derive(Debug)]
pub struct Native {
    target: Target,
    /// Code mappings that went away since: recorded stacks may still point into them.
    former: Vec<Mapping>,
    symbolizer: Symbolizer,
    named: HashMap<u64, Vec<Frame>>,
    /// Pages that were looked for in vain: not worth reading the address space for again.
    strange: HashSet<u64>,
}

impl Native {
    /// For `target`.
    pub fn new(target: Target) -> Self {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .build();
        Self {
            target,
            former: Vec::new(),
            symbolizer,
            named: HashMap::new(),
            strange: HashSet::new(),
        }
    }

    /// The target as it is known now.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads the address space again if any return address is in no known code.
    pub fn learn(&mut self, return_avmas: &[u64]) -> Observed {
        let page = |avma: &u64| avma.saturating_sub(1) >> 12;
        let unknown: Vec<u64> = return_avmas
            .iter()
            .filter(|avma| {
                self.target
                    .mapping_at(avma.saturating_sub(1))
                    .is_none_or(|mapping| !mapping.executable)
            })
            .map(page)
            .filter(|page| !self.strange.contains(page))
            .collect();
        if unknown.is_empty() || !self.target.is_alive() {
            return Observed::default();
        }
        let observed = self.look_again();
        if self.strange.len() < MAX_CACHED {
            let target = &self.target;
            self.strange.extend(unknown.into_iter().filter(|page| {
                target.mapping_at(page << 12).is_none_or(|mapping| !mapping.executable)
            }));
        }
        observed
    }

    /// Reads the address space again.
    pub fn look_again(&mut self) -> Observed {
        let before = self.target.mappings.clone();
        let Ok(warnings) = self.target.refresh() else { return Observed::default() };
        if self.target.mappings.is_empty() {
            // It is ending: what was there is what stacks will be named by.
            self.target.mappings = before;
            return Observed::default();
        }
        let is_code = |mapping: &&Mapping| mapping.executable;
        let mappings_changed =
            !before.iter().filter(is_code).eq(self.target.mappings.iter().filter(is_code));
        if mappings_changed {
            let gone = |mapping: &Mapping| {
                mapping.executable
                    && mapping.file.is_some()
                    && !self.target.mappings.contains(mapping)
            };
            self.former.extend(before.into_iter().filter(gone));
            self.named.clear();
            self.strange.clear();
        }
        Observed { mappings_changed, warnings }
    }

    /// The frames at an address inside an instruction (return address minus one): the function,
    /// preceded by those that the compiler inlined into it there, innermost first. Never empty.
    pub fn name(&mut self, avma: u64) -> Vec<Frame> {
        if let Some(frames) = self.named.get(&avma) {
            return frames.clone();
        }
        let frames = self.look_up(avma);
        if self.named.len() >= MAX_CACHED {
            self.named.clear();
        }
        self.named.insert(avma, frames.clone());
        frames
    }

    fn look_up(&self, avma: u64) -> Vec<Frame> {
        let mapping = self
            .target
            .mapping_at(avma)
            .or_else(|| self.former.iter().rev().find(|mapping| mapping.contains(avma)));
        let Some(mapping) = mapping else {
            return vec![nameless("[unknown]".to_owned(), None, None)];
        };
        let offset = mapping.file_offset.saturating_add(avma - mapping.start_avma);
        let Some(file) = self.target.file_of(mapping) else {
            let name = mapping.path.display().to_string();
            let function = if name.is_empty() {
                "[anonymous code]".to_owned()
            } else {
                format!("{name}+{offset:#x}")
            };
            return vec![nameless(function, (!name.is_empty()).then_some(name), Some(offset))];
        };
        let mut bare = nameless(
            format!("{}+{offset:#x}", file.name()),
            Some(file.display_path.display().to_string()),
            Some(offset),
        );
        bare.build_id.clone_from(&file.elf.build_id);
        let named = file.elf.svma_of(offset).and_then(|svma| self.symbolize(file, svma, &bare));
        named.unwrap_or_else(|| vec![bare])
    }

    fn symbolize(&self, file: &Arc<MappedFile>, svma: u64, bare: &Frame) -> Option<Vec<Frame>> {
        let source =
            Source::Elf(Elf::new(format!("/proc/self/fd/{}", file.elf.file().as_raw_fd())));
        // A file whose DWARF is damaged is like one without.
        let symbolized = self.symbolizer.symbolize_single(&source, Input::VirtOffset(svma)).ok()?;
        match symbolized {
            Symbolized::Sym(symbol) => Some(frames_of(&symbol, bare)),
            Symbolized::Unknown(_) => None,
        }
    }

    /// The code files in the address space.
    pub fn captured(&self) -> Vec<CapturedMapping> {
        let captured = |mapping: &Mapping| CapturedMapping {
            start_avma: mapping.start_avma,
            end_avma: mapping.end_avma,
            file_offset: mapping.file_offset,
            path: mapping.path.clone(),
            build_id: self.target.file_of(mapping).and_then(|file| file.elf.build_id.clone()),
        };
        self.target.mappings.iter().filter(|mapping| mapping.executable).map(captured).collect()
    }
}

fn frames_of(symbol: &Sym<'_>, bare: &Frame) -> Vec<Frame> {
    let frame = |name: &str, code: Option<&CodeInfo<'_>>| {
        let mut frame = bare.clone();
        frame.function = exported(name).chars().take(MAX_NAME_CHARACTERS).collect();
        frame.file = code.map(|code| code.to_path().display().to_string());
        frame.line = code.and_then(|code| code.line);
        frame
    };
    let mut frames: Vec<Frame> = symbol
        .inlined
        .iter()
        .rev()
        .map(|inlined| frame(&inlined.name, inlined.code_info.as_ref()))
        .collect();
    frames.push(frame(&symbol.name, symbol.code_info.as_deref()));
    frames
}

/// glibc's debug information calls an exported function by its internal alias
/// (`__GI___strdup`); people know it by the name behind.
fn exported(name: &str) -> &str {
    name.strip_prefix("__GI_").unwrap_or(name)
}

fn nameless(function: String, module: Option<String>, offset: Option<u64>) -> Frame {
    Frame {
        kind: FrameKind::Native,
        function,
        file: None,
        line: None,
        module,
        build_id: None,
        offset,
    }
}
