//! Native addresses: which file, which function, which line. Symbols and DWARF are blazesym's
//! work; files are reached through descriptors, so that it works when the target has ended.

use super::allowance::{Allowance, MAPPINGS};
use super::former::Former;
use super::{CapturedMapping, DebugInfo, Observed};
use crate::same::Same;
use crate::stack::{Frame, FrameKind};
use crate::target::Target;
use crate::target::mapping::Mapping;
use blazesym::symbolize::{CodeInfo, Sym};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

/// Addresses that are remembered, named or refused.
const MAX_CACHED: usize = 1 << 20;
/// Longest function name that is kept, in characters: C++ templates reach kilobytes.
const MAX_NAME_CHARACTERS: usize = 1024;

/// Names native addresses of one target.
#[derive(Debug)]
pub struct Native {
    target: Target,
    /// Code mappings that went away since.
    former: Former,
    debug_info: Rc<DebugInfo>,
    named: HashMap<u64, Vec<Same<Frame>>>,
    /// Pages that were looked for in vain: not worth reading the address space for again.
    strange: HashSet<u64>,
    allowance: Allowance,
    /// A stack led to unknown code when nothing was left to read the address space for.
    is_behind: bool,
}

impl Native {
    /// For `target`.
    pub fn new(target: Target, debug_info: Rc<DebugInfo>) -> Self {
        Self {
            target,
            former: Former::default(),
            debug_info,
            named: HashMap::new(),
            strange: HashSet::new(),
            allowance: Allowance::new(MAPPINGS, Instant::now()),
            is_behind: false,
        }
    }

    /// The target as it is known now.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads the address space again if any return address is in no known code, and too much time
    /// has not gone into that already.
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
        if unknown.is_empty() {
            return Observed::default();
        }
        let began = Instant::now();
        if !self.allowance.is_left(began) {
            self.is_behind = true;
            return Observed::default();
        }
        if !self.target.is_alive() {
            return Observed::default();
        }
        let observed = self.look_again();
        self.allowance.spend(began.elapsed(), Instant::now());
        if self.strange.len() < MAX_CACHED {
            let target = &self.target;
            self.strange.extend(unknown.into_iter().filter(|page| {
                target.mapping_at(page << 12).is_none_or(|mapping| !mapping.executable)
            }));
        }
        observed
    }

    /// Whether stacks led to code that is still unknown since there was no time to read.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Reads the address space again.
    pub fn look_again(&mut self) -> Observed {
        self.is_behind = false;
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
                    && self.target.mapping_at(mapping.start_avma) != Some(mapping)
            };
            before.into_iter().filter(gone).for_each(|mapping| self.former.add(mapping));
            self.named.clear();
            self.strange.clear();
        }
        Observed { mappings_changed, warnings }
    }

    /// The frames at an address inside an instruction (return address minus one): the function,
    /// preceded by those that the compiler inlined into it there, innermost first. Never empty.
    pub fn name(&mut self, avma: u64) -> Vec<Same<Frame>> {
        if let Some(frames) = self.named.get(&avma) {
            return frames.clone();
        }
        let frames: Vec<_> = self.look_up(avma).into_iter().map(Same::from).collect();
        if self.named.len() >= MAX_CACHED {
            self.named.clear();
        }
        self.named.insert(avma, frames.clone());
        frames
    }

    /// Whether an address lies in anonymous code, which is a JIT's.
    pub fn is_anonymous(&self, avma: u64) -> bool {
        let mapping = self.target.mapping_at(avma).or_else(|| self.former.at(avma));
        mapping.is_some_and(|mapping| {
            let name = mapping.path.as_os_str().as_encoded_bytes();
            mapping.executable
                && mapping.file.is_none()
                && (name.is_empty() || name.starts_with(b"[anon:"))
        })
    }

    fn look_up(&self, avma: u64) -> Vec<Frame> {
        let Some(mapping) = self.target.mapping_at(avma).or_else(|| self.former.at(avma)) else {
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
        let symbol = file.elf.svma_of(offset).and_then(|svma| self.debug_info.symbol(file, svma));
        symbol.map_or_else(|| vec![bare.clone()], |symbol| frames_of(&symbol, &bare))
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
    Frame { module, offset, ..Frame::bare(FrameKind::Native, function) }
}
